//! The backends of this build, and the flags that choose between them.

use anyhow::{Context, Result, ensure};
use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::error::LoadError;
use inferno_model::model::{KvRoom, Model};
use inferno_model::profile::Profile;

use super::{BACKENDS, BackendChoice, Compute, GpuLayers, HAS_GPUS, Opened, Target};
use crate::commands::note;
use crate::kv_memory::KvSpace;

/// A device that the flags select; `None` if they select none of a backend.
pub(super) type Selected<T> = Result<Option<Box<T>>>;

/// A backend that is compiled in. Another one is a file with these three functions and a line in [`BACKENDS`].
pub(super) struct Compiled {
    /// A line about every device of its own.
    pub(super) devices: fn() -> Vec<String>,
    /// Opens the devices that the flags select; `None` if they select none of this backend.
    pub(super) open: fn(&Compute) -> Selected<dyn Opening>,
    /// Memory of the device, of this many bytes, that the flags select; `None` if they select none of this backend, or the
    /// processor's memory.
    pub(super) streaming_read: fn(&Compute, usize) -> Selected<dyn DeviceRead>,
}

const LACK: &str = "this build uses no GPU, whether or not the machine has one: `--features wgpu` of cargo makes one that does";

/// Devices that are open for one model.
pub(super) trait Opening {
    /// Instruction set or GPUs, for reports.
    fn name(&self) -> String;
    /// Threads of the processor that compute.
    fn n_threads(&self) -> usize;
    /// The type of keys and values that takes half of F32.
    fn half_kv(&self) -> KvType;
    /// Whether all memory for keys and values is taken when the model is loaded.
    fn takes_kv_in_advance(&self) -> bool;
    /// Memory that the weights of `file` leave for keys and values; `None` if the system does not say.
    fn kv_space(&self, arch: &Architecture, file: &Gguf) -> Option<KvSpace>;
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
    pub(crate) fn device_read(&self, n_bytes: usize) -> Result<Option<Box<dyn DeviceRead>>> {
        BACKENDS.iter().find_map(|backend| (backend.streaming_read)(self, n_bytes).transpose()).transpose()
    }
}
