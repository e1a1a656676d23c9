//! What takes the place of `gpu.rs` in builds that cannot use a GPU.

use anyhow::{Result, ensure};
use inferno_model::architecture::Architecture;
use inferno_model::error::LoadError;
use inferno_model::profile::Profile;
use inferno_model::transformer::{KvRoom, Model};

use crate::commands::note;
use crate::kv_memory::KvSpace;

use super::{BackendChoice, Compute, GpuLayers, Opened};

const LACK: &str = "this build uses no GPU, whether or not the machine has one: `--features wgpu` of cargo makes one that does";

/// There is none.
pub(crate) enum Opening {}

impl Opening {
    pub(crate) fn name(&self) -> &str {
        match *self {}
    }

    pub(crate) fn n_threads(&self) -> usize {
        match *self {}
    }

    pub(crate) fn kv_space(&self, _: &Architecture, _: u64) -> Option<KvSpace> {
        match *self {}
    }
}

impl Opened {
    pub(crate) fn load_on_gpu(
        &self,
        _: &Architecture,
        opening: Opening,
        _: &KvRoom,
        _: Option<Profile>,
    ) -> Result<Box<dyn Model>, LoadError> {
        match opening {}
    }
}

/// Why there are none.
pub(crate) fn devices() -> Vec<String> {
    vec![LACK.into()]
}

impl Compute {
    /// # Errors
    /// A GPU is asked for. Mere numbers of layers on it are not enough to refuse, as in llama.cpp.
    pub(crate) fn open_gpu(&self) -> Result<Option<Opening>> {
        ensure!(self.backend != BackendChoice::Wgpu && self.device.is_none(), LACK);
        if matches!(self.gpu_layers, GpuLayers::Last(1..)) {
            note(&format!("warning: {LACK}; all layers are computed by the processor"));
        }
        Ok(None)
    }
}

/// There is none to be measured.
pub(crate) enum GpuRead {}

impl GpuRead {
    pub(crate) fn n_bytes(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn measure(&mut self) -> f64 {
        match *self {}
    }
}

pub(crate) fn gpu_read(_: &Compute, _: usize) -> Result<Option<GpuRead>> {
    Ok(None)
}
