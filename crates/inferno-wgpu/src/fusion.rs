//! Operations that wait for the next one, as they may be one dispatch with it: a sum that is normed next, heads that are
//! normed, rotated and stored. What comes in another order is dispatched one by one, with the same bits.

use crate::device::{Gpu, Storage};
use crate::kernels::Kernel;
use crate::recorder::{Grid, Params, Recorder};

/// Heads are normed and rotated, queries and keys.
const MOST_HEAD_OPS: usize = 4;

/// Operations in the order they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Fusion {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    op: Op,
    /// What it writes.
    x: Storage,
    /// What it is when it is dispatched alone.
    kernel: Kernel,
    other: Option<Storage>,
    params: Params,
    grid: Grid,
}

/// What one of them does to `x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Op {
    Add,
    HeadNorm {
        eps: f32,
    },
    Rope {
        /// Numbers from a row to the next.
        stride: usize,
        n_heads: usize,
        rotation: Rotation,
    },
}

/// By which angles heads are rotated: `kernels/rope.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotation {
    pub(crate) n_rows: usize,
    pub(crate) head_dim: usize,
    pub(crate) n_pairs: usize,
    pub(crate) cos: usize,
    pub(crate) sin: usize,
    pub(crate) is_adjacent: bool,
}

/// Heads that are about to be stored.
pub(crate) struct Heads {
    pub(crate) q: Storage,
    pub(crate) q_stride: usize,
    pub(crate) n_q_heads: usize,
    pub(crate) rotation: Rotation,
    /// Weights of queries and of keys, and what is added to the mean of squares.
    pub(crate) norm: Option<(Storage, Storage, f32)>,
}

impl Fusion {
    /// Lets an operation wait: the kernel's buffers are `x` and `other`.
    pub(crate) fn wait(
        &mut self,
        (gpu, recorder): (&Gpu, &mut Recorder),
        op: Op,
        (kernel, x, other): (Kernel, &Storage, Option<&Storage>),
        params: Params,
        grid: Grid,
    ) {
        let goes_on = op != Op::Add && self.waiting.len() < MOST_HEAD_OPS;
        if !goes_on || self.waiting.iter().any(|w| w.op == Op::Add) {
            self.settle(gpu, recorder);
        }
        self.waiting.push(Waiting { op, x: x.clone(), kernel, other: other.cloned(), params, grid });
    }

    /// Records what waits, one by one.
    pub(crate) fn settle(&mut self, gpu: &Gpu, recorder: &mut Recorder) {
        for Waiting { x, kernel, other, params, grid, .. } in self.waiting.drain(..) {
            recorder.dispatch(gpu, kernel, &[Some(&x), other.as_ref()], &params, &grid);
        }
    }

    /// What has to be added to `x` before it is normed into `out`, if that is all that waits.
    pub(crate) fn take_addend(&mut self, x: &Storage, out: &Storage) -> Option<Storage> {
        let [w] = self.waiting.as_slice() else { return None };
        // A kernel does not read what it writes under another name.
        if w.op != Op::Add || w.x.id != x.id || w.other.as_ref()?.id == out.id {
            return None;
        }
        self.waiting.pop()?.other
    }

    /// What has to be done to keys in `k` and to queries, if that is all that waits.
    pub(crate) fn take_heads(&mut self, k: &Storage) -> Option<Heads> {
        let (norms, [q, keys]) = self.waiting.split_last_chunk::<2>()?;
        let Op::Rope { stride: q_stride, n_heads: n_q_heads, rotation } = q.op else { return None };
        let Op::Rope { rotation: of_keys, .. } = keys.op else { return None };
        if rotation != of_keys || keys.x.id != k.id || q.x.id == k.id {
            return None;
        }
        let norm = match norms {
            [] => None,
            [q_norm, k_norm] if q_norm.x.id == q.x.id && k_norm.x.id == k.id => {
                match (q_norm.op, k_norm.op) {
                    (Op::HeadNorm { eps }, Op::HeadNorm { eps: of_keys }) if eps == of_keys => {
                        Some((q_norm.other.clone()?, k_norm.other.clone()?, eps))
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        let q = q.x.clone();
        self.waiting.clear();
        Some(Heads { q, q_stride, n_q_heads, rotation, norm })
    }
}
