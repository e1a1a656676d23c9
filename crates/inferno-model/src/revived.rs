//! A model whose device may die: it is loaded anew, and the engine goes on.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::architecture::Architecture;
use crate::batch::{Batch, PageId};
use crate::error::{LoadError, StepError};
use crate::heartbeat::Heartbeat;
use crate::model::{Chaining, DraftBlock, Model, PageBytes};
use crate::output::Output;

/// Loads the model, on a device that is opened anew.
pub type Loading = Box<dyn FnMut() -> Result<Box<dyn Model>, LoadError> + Send>;

/// A model around one that is loaded again after a step that failed. What was stored of keys and values is lost: that a
/// step failed tells the caller so.
pub struct Revived {
    model: Option<Box<dyn Model>>,
    arch: Architecture,
    heartbeat: Option<Arc<Heartbeat>>,
    load: Loading,
    chooses: bool,
    chains: bool,
    drafts: bool,
    /// Placement of the pages and bytes of each by cache group, where they can be copied.
    page_bytes: Option<(String, Vec<usize>)>,
    chain: Vec<Option<u32>>,
    /// Of a model that is gone.
    nothing: Output,
}

impl Revived {
    /// `model`, in whose place there is what `load` gives after every step that fails.
    pub fn new(mut model: Box<dyn Model>, load: Loading) -> Revived {
        let (chains, drafts) = (model.chaining().is_some(), model.draft_block().is_some());
        let (arch, heartbeat, chooses) = (model.architecture().clone(), model.heartbeat(), model.chooses());
        let groups = 0..arch.cache_groups.len();
        let page_bytes = model.page_bytes().map(|pages| {
            let n_bytes = groups.map(|group| pages.n_bytes(group)).collect();
            (pages.placement(), n_bytes)
        });
        let (chain, nothing) = Default::default();
        Revived {
            model: Some(model),
            arch,
            heartbeat,
            load,
            chooses,
            chains,
            drafts,
            page_bytes,
            chain,
            nothing,
        }
    }

    fn revive(&mut self) -> Result<&mut Box<dyn Model>, StepError> {
        if self.model.is_none() {
            let Revived { load, heartbeat, .. } = self;
            let lost = |e| StepError { what: format!("it is lost and cannot be opened again: {e}") };
            let mut model = alive(heartbeat.as_deref(), load).map_err(lost)?;
            if let Some(heartbeat) = heartbeat {
                model.beat(Arc::clone(heartbeat));
            }
            self.model = Some(model);
        }
        Ok(self.model.as_mut().expect("just loaded"))
    }
}

/// Does something that takes longer than a layer, and shows that it is at work, for an hour at most.
fn alive<T>(heartbeat: Option<&Heartbeat>, work: impl FnOnce() -> T) -> T {
    let Some(heartbeat) = heartbeat else { return work() };
    std::thread::scope(|scope| {
        let (done, wait) = channel::<()>();
        scope.spawn(move || {
            for _ in 0..3600 {
                heartbeat.beat();
                if wait.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        let result = work();
        drop(done);
        result
    })
}

impl Model for Revived {
    fn architecture(&self) -> &Architecture {
        &self.arch
    }

    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError> {
        if let Err(e) = self.revive()?.step(batch) {
            // What it has on the device is given back before it is loaded again.
            self.model = None;
            return Err(e);
        }
        Ok(self.output())
    }

    fn output(&self) -> &Output {
        self.model.as_ref().map_or(&self.nothing, |model| model.output())
    }

    fn chooses(&self) -> bool {
        self.chooses
    }

    fn chaining(&mut self) -> Option<&mut dyn Chaining> {
        if self.chains { Some(self) } else { None }
    }

    fn draft_block(&mut self) -> Option<&mut dyn DraftBlock> {
        if self.drafts { Some(self) } else { None }
    }

    fn page_bytes(&mut self) -> Option<&mut dyn PageBytes> {
        if self.page_bytes.is_some() { Some(self) } else { None }
    }

    fn heartbeat(&self) -> Option<Arc<Heartbeat>> {
        self.heartbeat.clone()
    }

    fn beat(&mut self, heartbeat: Arc<Heartbeat>) {
        if let Some(model) = &mut self.model {
            model.beat(Arc::clone(&heartbeat));
        }
        self.heartbeat = Some(heartbeat);
    }
}

impl Chaining for Revived {
    fn chain(&mut self, batch: &Batch, n: usize) -> Result<&[Option<u32>], StepError> {
        let chaining = self.revive()?.chaining();
        let Some(chaining) = chaining else {
            return Err(StepError { what: "the model that was loaded again cannot chain steps".into() });
        };
        match chaining.chain(batch, n).map(<[_]>::to_vec) {
            Ok(tokens) => self.chain = tokens,
            Err(e) => {
                self.model = None;
                return Err(e);
            }
        }
        Ok(&self.chain)
    }
}

impl Revived {
    /// The draft layer of the model while it is there. A device that fails here fails the model's next step too, which tells the
    /// caller that all pages are lost: until then the model stays.
    fn block(&mut self) -> Result<&mut dyn DraftBlock, StepError> {
        let block = self.model.as_mut().and_then(|model| model.draft_block());
        block.ok_or_else(|| StepError { what: "the device is lost, and the draft layer with it".into() })
    }
}

impl DraftBlock for Revived {
    fn hidden(&mut self, out: &mut Vec<f32>) -> Result<(), StepError> {
        self.block()?.hidden(out)
    }

    fn draft_step(
        &mut self,
        batch: &Batch,
        hidden: &[f32],
        out: &mut Vec<f32>,
    ) -> Result<&Output, StepError> {
        self.block()?.draft_step(batch, hidden, out)
    }
}

impl Revived {
    /// The pages of the model while it is there. A device that fails here fails the next step too, which tells the caller that
    /// all pages are lost: until then the model stays.
    fn pages(&mut self) -> Result<&mut dyn PageBytes, StepError> {
        let pages = self.model.as_mut().and_then(|model| model.page_bytes());
        pages.ok_or_else(|| StepError { what: "the device is lost, and its pages with it".into() })
    }
}

impl PageBytes for Revived {
    fn placement(&self) -> String {
        self.page_bytes.as_ref().map(|(placement, _)| placement.clone()).unwrap_or_default()
    }

    fn n_bytes(&self, group: usize) -> usize {
        self.page_bytes.as_ref().map_or(0, |(_, n_bytes)| n_bytes[group])
    }

    fn read(&mut self, group: usize, page: PageId, out: &mut [u8]) -> Result<(), StepError> {
        self.pages()?.read(group, page, out)
    }

    fn write(&mut self, group: usize, page: PageId, bytes: &[u8]) -> Result<(), StepError> {
        self.pages()?.write(group, page, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_long_sees_a_beat_every_second() {
        let heartbeat = Heartbeat::default();
        let result = alive(Some(&heartbeat), || {
            std::thread::sleep(Duration::from_millis(1100));
            7
        });
        assert_eq!(result, 7);
        assert!(heartbeat.count() >= 2, "{}", heartbeat.count());
        assert_eq!(alive(None, || 8), 8);
    }
}
