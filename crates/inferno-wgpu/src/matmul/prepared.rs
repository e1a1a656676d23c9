//! Products of a single row that every workgroup prepares for itself: norms, gates and quantization take no dispatch of their own.
//!
//! A row is a few kilobytes, which stay in a cache; a dispatch takes longer than to compute it a thousand times.

use inferno_model::architecture::Activation;

use super::{Inputs, n_together, several};
use crate::buffer::{Buffer, storages};
use crate::device::Gpu;
use crate::kernels::params::{Product, word};
use crate::kernels::{Few, Glu, Kernel, Prepared};
use crate::layout::Layout;
use crate::matrix::Weight;
use crate::recorder::{Bound, Grid, Recorder};

/// Bytes of a row that a workgroup may keep: two or more such workgroups fit a multiprocessor of most devices.
const ROW_BYTES: usize = 16 << 10;
/// Workgroups of a product, from which on each has several panels: more of them would read the row more often than hide latency.
const MOST_WORKGROUPS: usize = 1024;
/// Threads of a workgroup at least, which prepare the row together.
const LEAST_THREADS: u32 = 128;

/// Where the row comes from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// The norm of a row, which is left in `normed` too.
    Norm { x: &'a Buffer, weight: &'a Weight, eps: f32, normed: &'a Buffer },
    /// Gates that are activated, and multiplied by `up` if it is there.
    Gates { gate: &'a Buffer, up: Option<&'a Buffer>, activation: Activation },
    /// A row as it is.
    Row(&'a Buffer),
}

/// Whether every workgroup of products with these matrices can prepare its input.
pub(crate) fn fits(n_rows: usize, weights: &[&Weight]) -> bool {
    let row_bytes = |weight: &&Weight| {
        weight.n_blocks()
            * match weight.layout {
                Layout::Floats(_) => 128,
                Layout::Integers(_) => 40,
            }
    };
    n_rows == 1 && weights.iter().all(|weight| row_bytes(weight) <= ROW_BYTES)
}

impl Inputs {
    /// Every out (1, rows of its matrix) = the row × its matrix transposed; or the sum of both, where it `adds` to a single one.
    pub(crate) fn multiply_prepared(
        &mut self,
        gpu: &mut Gpu,
        recorder: &mut Recorder,
        (outs, weights, source): (&mut [&mut Buffer], &[&Weight], Source<'_>),
        adds: bool,
    ) {
        let (mut outs, mut weights) = (outs, weights);
        while !weights.is_empty() {
            let n = n_together(weights);
            let (outs_now, outs_later) = outs.split_at_mut(n);
            let (weights_now, weights_later) = weights.split_at(n);
            self.multiply_prepared_together(gpu, recorder, (outs_now, weights_now, source), adds);
            (outs, weights) = (outs_later, weights_later);
        }
    }

    fn multiply_prepared_together(
        &mut self,
        gpu: &mut Gpu,
        recorder: &mut Recorder,
        (outs, weights, source): (&mut [&mut Buffer], &[&Weight], Source<'_>),
        adds: bool,
    ) {
        for (out, weight) in outs.iter_mut().zip(weights) {
            super::check_shape(out, weight, source.row());
            out.resize(gpu, recorder, 1);
        }
        let weight = weights[0];
        let few = self.tuning.few(gpu, &mut recorder.pipelines, weight.layout);
        let few = Few { threads: few.threads.max(LEAST_THREADS), ..few };
        let (prepared, sources) = source.buffers();
        let kernel = Kernel::MatmulPrepared(
            weight.layout,
            few,
            weights.len() as u8,
            prepared,
            word(weight.n_blocks()),
        );
        for part in &weight.parts {
            let (params, others) = several(outs, weights, part, adds);
            let n_panels = params.n_panels as usize;
            let panels_each = n_panels.div_ceil(MOST_WORKGROUPS);
            let params = source.params(Product { panels_each: word(panels_each), ..params });
            let buffers = Bound::new([Some(&part.storage), Some(storages!(outs[0]))]);
            let buffers = buffers.and(sources.iter().copied()).and(others);
            let grid = Grid::Groups(n_panels.div_ceil(panels_each));
            recorder.dispatch(gpu, kernel, &buffers, &params, &grid);
        }
    }
}

impl<'a> Source<'a> {
    /// A buffer of the row's shape.
    fn row(self) -> &'a Buffer {
        match self {
            Source::Norm { x, .. } | Source::Row(x) => x,
            Source::Gates { gate, .. } => gate,
        }
    }

    /// The kernel's word for it, and its buffers.
    fn buffers(self) -> (Prepared, Bound<'a>) {
        match self {
            Source::Norm { x, weight, normed, .. } => {
                (Prepared::Norm, Bound::new([x.storage(), Some(weight.vector()), normed.storage()]))
            }
            Source::Gates { gate, up: None, .. } => {
                (Prepared::Gates(Glu::Alone), Bound::new([gate.storage()]))
            }
            Source::Gates { gate, up: Some(up), .. } => {
                (Prepared::Gates(Glu::Gated), Bound::new([gate.storage(), up.storage()]))
            }
            Source::Row(x) => (Prepared::Row, Bound::new([x.storage()])),
        }
    }

    fn params(self, params: Product) -> Product {
        match self {
            Source::Norm { x, eps, .. } => Product { width: word(x.width), eps, ..params },
            Source::Gates { gate, activation, .. } => {
                Product { width: word(gate.width), activation: Some(activation).into(), ..params }
            }
            Source::Row(_) => params,
        }
    }
}
