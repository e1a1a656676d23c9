//! A batch as kernels see it: slots, page tables and tiles of attention among the uploads.

use inferno_model::batch::{Batch, PAGE_LEN};

use crate::device::Gpu;
use crate::kernels::params::word;
use crate::recorder::Recorder;

/// Positions in a partition of attention; `attend.wgsl` has the same.
pub(crate) const PARTITION_LEN: usize = 256;

/// In place of a page, where there is none; kernels have the same.
const NO_PAGE: u32 = u32::MAX;

/// Where the uploads of the current batch are. Layers share them.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    batch: Batch,
    generation: u64,
    /// Of the rows.
    pub(crate) positions: usize,
    /// By cache group: slots of the rows, and page tables of the spans.
    groups: Vec<Group>,
    /// Those made so far.
    tiles: Vec<Tiles>,
}

#[derive(Debug, Clone)]
struct Group {
    slots: usize,
    /// One per span: where page 0 of its table is among the uploads. Where pages are missing at the front this may be
    /// before the first upload, as a negative number in two's complement: kernels add a page's index to it.
    tables: Vec<u32>,
    /// If it has recurrent layers that were asked for: the spans' states.
    states: Option<usize>,
}

/// The tiles of a batch for one group and size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiles {
    group: usize,
    rows_each: usize,
    /// Where they are, and how many.
    pub(crate) at: usize,
    pub(crate) n: usize,
}

impl Placed {
    /// Makes sure that `batch` and nothing else is uploaded.
    pub(crate) fn place(&mut self, recorder: &mut Recorder, gpu: &mut Gpu, batch: &Batch, n_groups: usize) {
        if self.generation == recorder.generation() && self.groups.len() == n_groups && self.batch == *batch {
            return;
        }
        self.batch.clone_from(batch);
        self.generation = recorder.generation();
        self.tiles.clear();
        self.groups.clear();
        self.positions = recorder.upload(gpu, batch.positions());
        let mut words = Vec::new();
        for group in 0..n_groups {
            words.clear();
            for span in batch.spans() {
                let slot = |row: usize| batch.slot(span, group, batch.positions()[row] as usize).0;
                words.extend(span.rows.clone().map(slot));
            }
            let slots = recorder.upload(gpu, &words);
            words.clear();
            let mut tables = Vec::new();
            for span in batch.spans() {
                let table = batch.page_table(span, group);
                tables.push(word(words.len()).wrapping_sub(word(table.first_page)));
                let end_page = (span.start + span.rows.len()).div_ceil(PAGE_LEN);
                words.extend(table.range(table.first_page..end_page).iter().map(|page| page.0));
            }
            let at = word(recorder.upload(gpu, &words));
            tables.iter_mut().for_each(|table| *table = table.wrapping_add(at));
            self.groups.push(Group { slots, tables, states: None });
        }
    }

    /// Where the rows' slots in a cache group are.
    pub(crate) fn slots(&self, group: usize) -> usize {
        self.groups[group].slots
    }

    /// Where the spans are for recurrent layers of a cache group: for each its first row, its number of rows, and the pages of its
    /// state, the first of which is [`NO_PAGE`] at the start of a sequence.
    pub(crate) fn states(&mut self, recorder: &mut Recorder, gpu: &mut Gpu, group: usize) -> usize {
        if let Some(at) = self.groups[group].states {
            return at;
        }
        let mut words = Vec::new();
        for span in self.batch.spans() {
            let (before, after) = self.batch.states(span, group);
            words.extend([span.rows.start, span.rows.len()].map(word));
            words.extend([before.map_or(NO_PAGE, |page| page.0), after.0]);
        }
        let at = recorder.upload(gpu, &words);
        self.groups[group].states = Some(at);
        at
    }

    /// Tiles of up to `rows_each` rows.
    pub(crate) fn tiles(
        &mut self,
        recorder: &mut Recorder,
        gpu: &mut Gpu,
        group: usize,
        rows_each: usize,
    ) -> Tiles {
        let made = self.tiles.iter().find(|t| t.group == group && t.rows_each == rows_each);
        if let Some(tiles) = made {
            return *tiles;
        }
        let mut words = Vec::new();
        for (span, &table) in self.batch.spans().iter().zip(&self.groups[group].tables) {
            for first in (0..span.rows.len()).step_by(rows_each) {
                let n_rows = rows_each.min(span.rows.len() - first);
                words.extend([span.rows.start + first, n_rows, span.start + first].map(word));
                words.push(table);
            }
        }
        let tiles = Tiles { group, rows_each, at: recorder.upload(gpu, &words), n: words.len() / 4 };
        self.tiles.push(tiles);
        tiles
    }
}
