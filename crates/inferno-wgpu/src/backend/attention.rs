//! Attention: in which tiles, and in how many parts.

use inferno_model::backend::Attention;
use inferno_model::batch::Batch;

use super::Wgpu;
use crate::batch::PARTITION_LEN;
use crate::buffer::{Buffer, storages};
use crate::device::Storage;
use crate::kernels::params::{self, word};
use crate::kernels::{Heads, Kernel, MATRIX_QUERIES, Sums, attend_quantizes, attends_by_matrices, queries};
use crate::kv::{KvLayout, KvPool};
use crate::matrix::Weight;
use crate::recorder::{Bound, Grid, VECTOR};

mod check;

/// Bytes that split attention may take for its parts; beyond them partitions are gone through one after the other.
const PART_BYTES: usize = 64 << 20;
/// Workgroups of `attend` from which on the device is busy without splitting.
const BUSY_GROUPS: usize = 512;

/// Partitions from which on they are attended to at the same time: two of them take a workgroup no longer than a merge.
const FEWEST_PARTS: usize = 3;

/// Projections of heads that attention itself norms, rotates and stores.
pub(super) struct OwnHeads<'a> {
    pub(super) params: params::Heads,
    pub(super) k: &'a Buffer,
    pub(super) v: &'a Buffer,
    /// Of queries and of keys.
    pub(super) norms: Option<[&'a Storage; 2]>,
}

impl Wgpu {
    /// The size of the cooperative matrices that attend to such keys and values, whatever the rows; `None` if it is vectors.
    fn matrices(&self, layout: KvLayout) -> Option<u32> {
        self.attention_matrices.filter(|_| attends_by_matrices(layout))
    }

    /// Whether attention can prepare heads: if each row is the only one of its sequence, and a workgroup has all queries of a key head.
    pub(super) fn can_prepare_heads(&self, pool: &KvPool, batch: &Batch, attention: &Attention) -> bool {
        let layout = pool.groups[attention.layer.group].layout;
        let n_heads_each = attention.n_heads / attention.n_kv_heads;
        let most = match self.matrices(layout) {
            Some(_) => MATRIX_QUERIES as usize,
            None => queries(layout)[1] as usize,
        };
        !layout.is_latent && n_heads_each <= most && batch.spans().iter().all(|span| span.rows.len() == 1)
    }

    /// [`Backend::attend`](inferno_model::backend::Backend::attend), in one kernel or in two, of stored heads or of others.
    pub(super) fn attend_to(
        &mut self,
        out: &mut Buffer,
        q: &Buffer,
        pool: &KvPool,
        batch: &Batch,
        (attention, sinks): (&Attention, Option<&Weight>),
        heads: Option<OwnHeads<'_>>,
    ) {
        let layout = pool.groups[attention.layer.group].layout;
        let matrices = self.matrices(layout);
        let Wgpu { gpu, recorder, placed, s, .. } = self;
        placed.place(recorder, gpu, batch, pool.groups.len());
        out.resize(gpu, recorder, q.n_rows);
        let Attention { n_heads, value_width, .. } = *attention;
        let n_heads_each = n_heads / attention.n_kv_heads;

        // Tiles of many rows where a sequence has many; those of one row have no room for others.
        let [few, many] = queries(layout).map(|n| n as usize);
        let longest = batch.spans().iter().map(|span| span.rows.len()).max().unwrap_or(0);
        let n_queries = match longest {
            _ if matrices.is_some() => MATRIX_QUERIES as usize,
            1 => n_heads_each.next_power_of_two().min(many),
            _ if longest * n_heads_each > few => many,
            _ => few,
        };
        let n_heads_here = n_heads_each.min(n_queries);
        let tiles = placed.tiles(recorder, gpu, attention.layer.group, n_queries / n_heads_here);
        let n_groups = attention.n_kv_heads * n_heads_each.div_ceil(n_heads_here);

        // In partitions at the same time where few workgroups would have long ways to go.
        let end = batch.positions().iter().max().map_or(0, |&p| p as usize + 1);
        let n_parts = end.div_ceil(PARTITION_LEN);
        let part_words = 4 + value_width.next_multiple_of(VECTOR);
        let part_bytes = 4 * q.n_rows * n_heads * n_parts * part_words;
        let is_split =
            n_parts >= FEWEST_PARTS && tiles.n * n_groups < BUSY_GROUPS && part_bytes <= PART_BYTES;
        if is_split {
            s.parts.reserve(gpu, recorder, part_bytes / 4);
        }
        let (out_storage, from) = storages!(out, q);
        let window = attention.window.unwrap_or(0);
        let own = heads.as_ref().map_or_else(params::Heads::default, |heads| heads.params);
        let params = params::Attend {
            tiles: word(tiles.at),
            n_kv_heads: word(attention.n_kv_heads),
            n_heads_each: word(n_heads_each),
            n_heads_here: word(n_heads_here),
            q_stride: word(q.stride()),
            out_stride: word(out.stride()),
            scale: attention.scale,
            softcap: attention.softcap.unwrap_or(0.0),
            window: word(window),
            n_parts: word(n_parts),
            k_stride: own.k_stride,
            v_stride: own.v_stride,
            n_pairs: own.n_pairs,
            cos: own.cos,
            sin: own.sin,
            is_adjacent: own.is_adjacent,
            slots: own.slots,
            eps: own.eps,
        };
        let keys = pool.layer(attention.layer);
        let has_sinks = sinks.is_some();
        let sums = if is_split { Sums::Parts } else { Sums::Whole { has_sinks } };
        let prepared = match &heads {
            None => Heads::Stored,
            Some(heads) => Heads::Own { is_normed: heads.norms.is_some() },
        };
        let kernel = match matrices {
            Some(size) => Kernel::AttendMatrices(layout, size, prepared, sums),
            None => Kernel::Attend(layout, n_queries as u32, prepared, sums),
        };
        let heads = heads.map(|OwnHeads { k, v, norms, .. }| {
            let [q_norm, k_norm] = norms.map_or([None; 2], |norms| norms.map(Some));
            [k.storage(), v.storage(), q_norm, k_norm]
        });
        let heads = Bound::new([Some(keys)]).and(heads.into_iter().flatten());
        let heads = heads.iter().copied();

        let quantizes = attend_quantizes(layout.value_width);
        let room = s.inputs.room(gpu, recorder, out);
        let quantized = if quantizes { &room[..] } else { &[] };
        let sinks = sinks.map(|sinks| Some(sinks.vector()));
        let last = quantized.iter().copied().chain(sinks);
        if is_split {
            let parts = storages!(s.parts);
            let buffers = Bound::new([Some(from), None, Some(parts)]).and(heads);
            recorder.dispatch(gpu, kernel, &buffers, &params, &Grid::Box(tiles.n, n_groups, n_parts));
            let params = params::AttendMerge {
                n_rows: word(q.n_rows),
                n_heads: word(n_heads),
                stride: word(out.stride()),
                window: word(window),
                n_parts: word(n_parts),
                positions: word(placed.positions),
            };
            let grid = Grid::Threads(q.n_rows * n_heads * value_width.div_ceil(VECTOR));
            let kernel = Kernel::AttendMerge(layout.value_width, has_sinks);
            let buffers = Bound::new([Some(out_storage), Some(parts), None]).and(last);
            recorder.dispatch(gpu, kernel, &buffers, &params, &grid);
        } else {
            let buffers = Bound::new([Some(from), None, Some(out_storage)]).and(last).and(heads);
            recorder.dispatch(gpu, kernel, &buffers, &params, &Grid::Box(tiles.n, n_groups, 1));
        }
        if quantizes {
            recorder.note_quantized(out_storage);
        }
    }
}
