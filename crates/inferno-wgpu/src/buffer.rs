//! Activations on the device.

use inferno_model::backend::Activations;

use crate::device::{Gpu, Storage};
use crate::layout::BLOCK;
use crate::recorder::Recorder;

/// Activations: (n_rows, width), every row filled up with zeros to whole blocks.
#[derive(Debug, Default)]
pub struct Buffer {
    pub(crate) width: usize,
    pub(crate) n_rows: usize,
    storage: Option<Storage>,
}

impl Buffer {
    pub(crate) fn new(width: usize) -> Buffer {
        Buffer { width, ..Buffer::default() }
    }

    /// Numbers from a row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.width.next_multiple_of(BLOCK)
    }

    /// Numbers of all rows, filled up.
    pub(crate) fn len(&self) -> usize {
        self.n_rows * self.stride()
    }

    /// `None` if it never had rows, or found no memory: there is nothing to do with it then.
    pub(crate) fn storage(&self) -> Option<&Storage> {
        self.storage.as_ref()
    }

    /// The same numbers as rows of `width`, of which every row has a whole number, without anything that fills them up.
    pub(crate) fn view(&self, width: usize) -> Buffer {
        assert!(self.stride() == self.width && width.is_multiple_of(BLOCK), "rows end to end");
        Buffer { width, n_rows: self.n_rows * (self.width / width), storage: self.storage.clone() }
    }

    /// Room for `n_rows`, which hold anything.
    pub(crate) fn resize(&mut self, gpu: &mut Gpu, recorder: &mut Recorder, n_rows: usize) {
        self.n_rows = n_rows;
        let n_bytes = 4 * self.len() as u64;
        if self.storage.as_ref().is_some_and(|s| s.n_bytes >= n_bytes) || n_rows == 0 {
            return;
        }
        if let Some(old) = self.storage.take() {
            recorder.forget(old.id);
            gpu.release(old);
        }
        match gpu.storage(n_bytes, &|| format!("{n_rows} rows of activations")) {
            Ok(storage) => self.storage = Some(storage),
            Err(e) => gpu.failure.note(e.what),
        }
    }

    /// The same for rows of another width.
    pub(crate) fn reshape(&mut self, gpu: &mut Gpu, recorder: &mut Recorder, width: usize, n_rows: usize) {
        if width != self.width
            && let Some(old) = self.storage.take()
        {
            // What fills up its rows need not be zero where others begin.
            recorder.forget(old.id);
            gpu.release(old);
        }
        self.width = width;
        self.resize(gpu, recorder, n_rows);
    }

    /// Room for `n` words in no rows.
    pub(crate) fn reserve(&mut self, gpu: &mut Gpu, recorder: &mut Recorder, n: usize) {
        self.width = n.max(1);
        self.resize(gpu, recorder, 1);
    }
}

impl Activations for Buffer {
    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn width(&self) -> usize {
        self.width
    }
}

/// The storages of buffers, or an early return if one has none.
macro_rules! storages {
    ($buffer:expr) => {
        match $buffer.storage() {
            Some(storage) => storage,
            None => return,
        }
    };
    ($($buffer:expr),+) => {
        ($(storages!($buffer)),+)
    };
}
pub(crate) use storages;
