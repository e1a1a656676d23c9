//! The backends of this build, and the flags that choose between them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, ensure};
use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::conformance::Group;
use inferno_model::error::LoadError;
use inferno_model::model::{KvRoom, Model};
use inferno_model::profile::Profile;
use serde_json::{Value as Json, json};

use super::{BACKENDS, BackendChoice, Compute, GpuLayers, HAS_GPUS, Opened, Target};
use crate::commands::note;
use crate::kv_memory::KvSpace;

/// Devices whose operations are checked.
pub(super) type CheckedDevices = Result<Vec<Box<dyn Checked>>>;

/// A device that the flags select; `None` if they select none of a backend.
pub(super) type Selected<T> = Result<Option<Box<T>>>;

/// A backend that is compiled in. Another one is a file with these three functions and a line in [`BACKENDS`].
pub(super) struct Compiled {
    /// A line about every device of its own.
    pub(super) devices: fn() -> Vec<String>,
    /// Opens the devices that the flags select; `None` if they select none of this backend.
    pub(super) open: fn(&Compute) -> Selected<dyn Opening>,
    /// Memory of the device, of this many bytes or as many as are right for it, that the flags select; `None` if they select none
    /// of this backend, or the processor's memory.
    pub(super) streaming_read: fn(&Compute, Option<usize>) -> Selected<dyn DeviceRead>,
    /// Measures the devices, other than the processor, that the flags select.
    pub(super) limits: fn(&Compute) -> Result<Vec<DeviceLimits>>,
    /// The devices whose operations are checked, by the flags: each instruction set, and each GPU.
    pub(super) checked: fn(&Compute) -> CheckedDevices,
}

const LACK: &str = "this build uses no GPU, whether or not the machine has one: `--features wgpu` of cargo makes one that does";

/// Devices that are open for one model.
pub(super) trait Opening {
    /// Instruction set or GPUs, for reports.
    fn name(&self) -> String;
    /// Definitions that bits depend on, beside the name: those that only some devices have.
    fn numerics(&self) -> String {
        String::new()
    }
    /// Threads of the processor that compute.
    fn n_threads(&self) -> usize;
    /// The type of keys and values that takes half of F32.
    fn half_kv(&self) -> KvType;
    /// Whether all memory for keys and values is taken when the model is loaded.
    fn takes_kv_in_advance(&self) -> bool;
    /// Memory that the weights of `file` leave for keys and values; `None` if the system does not say.
    fn kv_space(&self, arch: &Architecture, file: &Gguf) -> Option<KvSpace>;
    /// Counters of the dispatches on each device; none for the processor.
    fn dispatches(&self) -> Vec<Arc<AtomicU64>> {
        Vec::new()
    }
    /// Free memory of the devices that take the weights; `None` for the processor, or if a device does not say.
    fn device_bytes(&self) -> Option<u64> {
        None
    }
    /// Loads the model.
    fn load(
        self: Box<Self>,
        opened: &Opened,
        arch: &Architecture,
        room: &KvRoom,
        profile: Option<Profile>,
    ) -> Result<Box<dyn Model>, LoadError>;
}

/// Memory of a device that a benchmark reads.
pub(crate) trait DeviceRead {
    /// Bytes that are read.
    fn n_bytes(&self) -> usize;
    /// Bytes per second, the most of some reads.
    fn measure(&mut self) -> f64;
}

/// A device whose operations are compared with the reference's.
pub(crate) trait Checked: Send + Sync {
    /// Instruction set or GPU.
    fn name(&self) -> String;
    /// Checks a group of operations.
    ///
    /// # Errors
    /// The difference: the operation, its shape, and the numbers.
    fn check(&self, group: Group) -> Result<(), String>;
}

/// Measured limits of a device beside the processor.
#[derive(Debug, Clone)]
pub(crate) struct DeviceLimits {
    pub(crate) name: String,
    pub(crate) driver: String,
    /// Seconds of an empty dispatch that waits for the one before: by the host's clock, and by the device's if it has one.
    pub(crate) dispatch_by_host: f64,
    pub(crate) dispatch_by_device: Option<f64>,
    /// The one of them that counts.
    pub(crate) dispatch: f64,
    /// Bytes per second of a streaming read.
    pub(crate) read: f64,
    /// Multiplications and additions per second, and what multiplies.
    pub(crate) flop: f64,
    pub(crate) matrices: String,
}

impl DeviceLimits {
    pub(crate) fn to_json(&self) -> Json {
        json!({
            "device": self.name,
            "driver": self.driver,
            "empty_dispatch_us": 1e6 * self.dispatch,
            "empty_dispatch_us_by_host": 1e6 * self.dispatch_by_host,
            "empty_dispatch_us_by_device": self.dispatch_by_device.map(|time| 1e6 * time),
            "read_gb_per_s": self.read / 1e9,
            "matrices": self.matrices,
            "matrix_gflop_per_s": self.flop / 1e9,
        })
    }
}

impl std::fmt::Display for DeviceLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micro = |time: f64| format!("{:.2} µs", 1e6 * time);
        let by_device = self.dispatch_by_device.map(|time| format!(" ({} by its own clock)", micro(time)));
        write!(
            f,
            "{}: an empty dispatch {}{}; reads {:.1} GB/s; {:.0} GFLOP/s in {}",
            self.name,
            micro(self.dispatch_by_host),
            by_device.unwrap_or_default(),
            self.read / 1e9,
            self.flop / 1e9,
            self.matrices
        )
    }
}

/// A line about every device beside the processor, or the reason why this build has none.
pub(crate) fn devices() -> Vec<String> {
    if HAS_GPUS {
        BACKENDS.iter().flat_map(|backend| (backend.devices)()).collect()
    } else {
        vec![LACK.into()]
    }
}

impl Compute {
    /// Opens the devices that the flags select. A GPU that cannot be opened is warned of, and the processor takes its place.
    pub(crate) fn target(&self) -> Result<Target> {
        if !HAS_GPUS {
            // Numbers of layers are no reason to refuse, as in llama.cpp.
            ensure!(self.backend != BackendChoice::Wgpu && self.device.is_none(), LACK);
            if matches!(self.gpu_layers, GpuLayers::Last(1..)) || !self.tensor_split.is_empty() {
                note(&format!("warning: {LACK}; all layers are computed by the processor"));
            }
        }
        let opening = BACKENDS.iter().find_map(|backend| (backend.open)(self).transpose());
        let opening = opening.context("this build has no backend for this machine")??;
        Ok(Target { kv: self.kv, opening })
    }

    /// Memory of the selected device; `None` if the processor computes.
    pub(crate) fn device_read(&self, n_bytes: Option<usize>) -> Result<Option<Box<dyn DeviceRead>>> {
        BACKENDS.iter().find_map(|backend| (backend.streaming_read)(self, n_bytes).transpose()).transpose()
    }
    /// Measures the selected devices beside the processor, in a second or two each.
    pub(crate) fn device_limits(&self) -> Result<Vec<DeviceLimits>> {
        let of_backends =
            BACKENDS.iter().map(|backend| (backend.limits)(self)).collect::<Result<Vec<_>>>()?;
        Ok(of_backends.concat())
    }
    /// The devices to check: what `--isa`, `--device` and `--backend` name, else all.
    pub(crate) fn checked(&self) -> CheckedDevices {
        let mut all = Vec::new();
        for backend in BACKENDS.iter().rev() {
            all.extend((backend.checked)(self)?);
        }
        Ok(all)
    }
}
