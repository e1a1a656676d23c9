//! Both ends of a step: rows of the embedding table for tokens, and tokens that are chosen from logits.

use std::ops::Range;

use inferno_model::backend::DeviceSampling;
use inferno_model::sample::{Pick, SampleSpec, as_share};

use super::Wgpu;
use crate::buffer::{Buffer, storages};
use crate::kernels::Kernel;
use crate::kernels::params::{self, word};
use crate::layout::PANEL;
use crate::matrix::Weight;
use crate::recorder::Grid;

impl Wgpu {
    /// out = the rows of the table for tokens among the uploads, or those chosen.
    pub(super) fn embed_from(
        &mut self,
        out: &mut Buffer,
        table: &Weight,
        chosen: Option<&Buffer>,
        tokens: Range<usize>,
        scale: f32,
    ) {
        out.resize(&mut self.gpu, &mut self.recorder, tokens.len());
        let storage = storages!(out);
        let (kernel, source) = match chosen {
            None => (Kernel::Embed(table.layout), None),
            Some(chosen) => (Kernel::EmbedChosen(table.layout), Some(storages!(chosen))),
        };
        for part in &table.parts {
            let params = params::Embed {
                n_rows: word(tokens.len()),
                n_blocks: word(table.n_blocks()),
                panel_len: word(table.panel_len()),
                first_panel: word(part.first),
                first: word(part.panels.start * PANEL),
                n_here: word(part.panels.len() * PANEL),
                tokens: word(tokens.start),
                scale,
            };
            let grid = Grid::Threads(tokens.len() * table.n_blocks());
            let buffers = [Some(&part.storage), Some(storage), source];
            self.recorder.dispatch(&self.gpu, kernel, &buffers, &params, &grid);
        }
    }
}

impl DeviceSampling<Weight, Buffer> for Wgpu {
    fn choose(&mut self, out: &mut Buffer, first: usize, total: usize, x: &Buffer, picks: &[Pick]) {
        out.resize(&mut self.gpu, &mut self.recorder, total);
        let words = |(i, pick): (usize, &Pick)| {
            let SampleSpec { top_p, min_p, temperature, .. } = pick.spec;
            let ints = [first + i, pick.row, pick.spec.n_candidates().unwrap_or(0)].map(|n| n as u32);
            let floats = [top_p, min_p, temperature, pick.number].map(f32::to_bits);
            let shares = [top_p, pick.number].map(as_share);
            [&ints[..], &[u32::from(pick.spec.is_greedy())], &floats, &shares].concat()
        };
        let (to, from) = storages!(out, x);
        for (kernel, is_from_all) in [(Kernel::Choose, false), (Kernel::ChooseFromAll, true)] {
            let of_kind = |(_, pick): &(usize, &Pick)| pick.spec.n_candidates().is_none() == is_from_all;
            let picks: Vec<(usize, &Pick)> = picks.iter().enumerate().filter(of_kind).collect();
            let n = picks.len();
            let words: Vec<u32> = picks.into_iter().flat_map(words).collect();
            let at = self.recorder.upload(&mut self.gpu, &words);
            let params = params::Choose {
                n_picks: word(n),
                vocab_size: word(x.width),
                stride: word(x.stride()),
                picks: word(at),
                out_stride: word(out.stride()),
            };
            let buffers = [Some(to), Some(from), None];
            self.recorder.dispatch(&self.gpu, kernel, &buffers, &params, &Grid::Groups(n));
        }
    }

    fn embed_chosen(
        &mut self,
        out: &mut Buffer,
        table: &Weight,
        chosen: &Buffer,
        rows: Range<usize>,
        scale: f32,
    ) {
        self.embed_from(out, table, Some(chosen), rows, scale);
    }
}
