//! A model loaded stage by stage.

use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::Backend;
use inferno_model::error::LoadError;
use inferno_model::model::{KvRoom, Model};
use inferno_model::profile::{Profile, Profiled};
use inferno_model::stage::{FfnStage, Pipeline, Stage};
use inferno_model::transformer::Transformer;
use inferno_model::weights::{Share, Tensors};

/// The stages of a model that are loaded so far.
pub(super) struct Stages<'a> {
    pub(super) tensors: Tensors<'a>,
    room: &'a KvRoom,
    /// Gets the time of every operation of all stages.
    pub(super) profile: Option<Profile>,
    stages: Vec<Box<dyn Stage>>,
}

impl<'a> Stages<'a> {
    pub(super) fn new(
        file: &'a Gguf,
        arch: &'a Architecture,
        room: &'a KvRoom,
        profile: Option<Profile>,
    ) -> Self {
        Stages { tensors: Tensors::new(file, arch), room, profile, stages: Vec::new() }
    }

    /// Loads the next layers onto `backend`; `ffns` has the feed-forward networks that `share` leaves out.
    pub(super) fn push<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send + 'static>(
        &mut self,
        share: Share,
        backend: B,
        ffns: Option<Box<dyn FfnStage>>,
    ) -> Result<(), LoadError> {
        let stage: Box<dyn Stage> = match &self.profile {
            None => self.stage(share, backend, ffns)?,
            Some(profile) => {
                let backend = Profiled::new(backend, profile.clone());
                self.stage(share, backend, ffns)?
            }
        };
        self.stages.push(stage);
        Ok(())
    }

    fn stage<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send + 'static>(
        &mut self,
        share: Share,
        backend: B,
        ffns: Option<Box<dyn FfnStage>>,
    ) -> Result<Box<dyn Stage>, LoadError> {
        let stage = Transformer::load_share(&mut self.tensors, share, backend, self.room)?;
        Ok(match ffns {
            Some(ffns) => Box::new(stage.with_ffns(ffns)),
            None => Box::new(stage),
        })
    }

    /// The model, when every layer is loaded.
    pub(super) fn finish(self) -> Result<Box<dyn Model>, LoadError> {
        self.tensors.finish()?;
        Ok(Pipeline::of(self.stages))
    }
}
