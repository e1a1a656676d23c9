//! Stages: a model cut by layers, each part on a device of its own. Hidden rows cross from stage to stage by way of the host.

use std::ops::Range;
use std::sync::Arc;

use crate::architecture::Architecture;
use crate::batch::{Batch, PageId};
use crate::error::StepError;
use crate::heartbeat::Heartbeat;
use crate::model::{Model, PageBytes};
use crate::output::Output;

/// Some layers of a model on one device. A stage with all of them is the model; else its [`Model::step`] and what else needs
/// both ends of the model are for [`Pipeline`] to call in order.
pub trait Stage: Model {
    /// Runs the layers: on `hidden` (n_rows, dim), or in the first stage on the batch's tokens with `None`. `out` gets the
    /// hidden rows after them, (n_rows, dim).
    ///
    /// # Panics
    /// There are no hidden rows, and the stage is not the first one.
    fn forward(&mut self, batch: &Batch, hidden: Option<&[f32]>, out: &mut Vec<f32>)
    -> Result<(), StepError>;
    /// As [`Model::step`], from the hidden rows (n_rows, dim) that the stage before gave.
    ///
    /// # Panics
    /// The stage is not the last one.
    fn step_from(&mut self, batch: &Batch, hidden: &[f32]) -> Result<&Output, StepError>;
}

/// The feed-forward networks of some layers on a device of their own, while the mixers of these layers are elsewhere.
pub trait FfnStage: Send {
    /// Whether it has the network of layer `layer`.
    fn has(&self, layer: usize) -> bool;
    /// Adds what the network of layer `layer` gives to the hidden rows (n_rows, dim).
    fn forward(&mut self, layer: usize, hidden: &mut Vec<f32>) -> Result<(), StepError>;
}

/// A model in several stages.
pub struct Pipeline {
    /// All but the last; there is at least one.
    stages: Vec<Box<dyn Stage>>,
    last: Box<dyn Stage>,
    /// Rows that a stage reads, and rows that it writes.
    rows: [Vec<f32>; 2],
    /// By stage the placement of pages, and the bytes of each by cache group, where all stages can copy theirs.
    page_bytes: Option<Vec<(String, Vec<usize>)>>,
}

impl Pipeline {
    /// A model from its stages, in order. One stage alone is the model.
    ///
    /// # Panics
    /// There is no stage.
    pub fn of(mut stages: Vec<Box<dyn Stage>>) -> Box<dyn Model> {
        let mut last = stages.pop().expect("a model has a stage");
        if stages.is_empty() {
            return last;
        }
        if let Some(heartbeat) = last.heartbeat() {
            stages.iter_mut().for_each(|stage| stage.beat(Arc::clone(&heartbeat)));
        }
        let groups = 0..last.architecture().cache_groups.len();
        let page_bytes = stages.iter_mut().chain([&mut last]).map(|stage| {
            let pages = stage.page_bytes()?;
            Some((pages.placement(), groups.clone().map(|group| pages.n_bytes(group)).collect()))
        });
        let page_bytes = page_bytes.collect();
        Box::new(Pipeline { stages, last, rows: Default::default(), page_bytes })
    }

    /// Every stage's pages, and where they are in those of the model.
    fn pages(&mut self, group: usize) -> impl Iterator<Item = (&mut dyn PageBytes, Range<usize>)> {
        let Pipeline { stages, last, page_bytes, .. } = self;
        let mut end = 0;
        let stages = stages.iter_mut().chain([last]).zip(page_bytes.iter().flatten());
        stages.filter_map(move |(stage, (_, n_bytes))| {
            let start = end;
            end += n_bytes[group];
            Some((stage.page_bytes()?, start..end))
        })
    }
}

/// A page is its parts on the stages, end to end.
impl PageBytes for Pipeline {
    fn placement(&self) -> String {
        let each = self.page_bytes.iter().flatten().map(|(placement, _)| placement.as_str());
        each.collect::<Vec<&str>>().join(", ")
    }

    fn n_bytes(&self, group: usize) -> usize {
        self.page_bytes.iter().flatten().map(|(_, n_bytes)| n_bytes[group]).sum()
    }

    fn read(&mut self, group: usize, page: PageId, out: &mut [u8]) -> Result<(), StepError> {
        self.pages(group).try_for_each(|(pages, part)| pages.read(group, page, &mut out[part]))
    }

    fn write(&mut self, group: usize, page: PageId, bytes: &[u8]) -> Result<(), StepError> {
        self.pages(group).try_for_each(|(pages, part)| pages.write(group, page, &bytes[part]))
    }
}

impl Model for Pipeline {
    fn architecture(&self) -> &Architecture {
        self.last.architecture()
    }

    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError> {
        let [hidden, next] = &mut self.rows;
        for (i, stage) in self.stages.iter_mut().enumerate() {
            stage.forward(batch, (i > 0).then_some(hidden.as_slice()), next)?;
            std::mem::swap(hidden, next);
        }
        self.last.step_from(batch, hidden)
    }

    fn output(&self) -> &Output {
        self.last.output()
    }

    fn chooses(&self) -> bool {
        self.last.chooses()
    }

    fn page_bytes(&mut self) -> Option<&mut dyn PageBytes> {
        if self.page_bytes.is_some() { Some(self) } else { None }
    }

    fn heartbeat(&self) -> Option<Arc<Heartbeat>> {
        self.last.heartbeat()
    }

    fn beat(&mut self, heartbeat: Arc<Heartbeat>) {
        self.stages.iter_mut().for_each(|stage| stage.beat(Arc::clone(&heartbeat)));
        self.last.beat(heartbeat);
    }
}
