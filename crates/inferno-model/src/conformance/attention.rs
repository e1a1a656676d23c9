//! Attention against the reference: widths and numbers of heads, types of storage, windows, and pools of several groups.

use std::ops::Range;

use inferno_format::DType;

use super::{Noise, Precision, Results, buffer, compare, latent, read, upload, upload_rows};
use crate::architecture::CacheGroup;
use crate::backend::{Attention, Backend, KvShape, KvType, LayerIdx};
use crate::batch::{Batch, PAGE_LEN, PageId, PageTable, Want};

/// Query heads, key heads, numbers in a key and numbers in a value.
type Heads = [usize; 4];

/// Keys are wider than values, or narrower; the last ones are those of multi-head latent attention.
const UNEQUAL: [(Heads, Spans); 4] =
    [([4, 2, 24, 16], LONG), ([3, 1, 7, 40], LONG), ([2, 1, 16, 64], LONG), ([1, 1, 576, 512], SHORT)];

/// Of two sequences: where the keys end, and for how many of the last rows there are queries.
type Spans = [(usize, usize); 2];

const LONG: Spans = [(1070, 37), (40, 40)];
const SHORT: Spans = [(70, 70), (40, 1)];

/// Keys and values of two sequences in a shuffled pool.
struct Pool<B: Backend> {
    pool: B::KvPool,
    spans: Spans,
    groups: Vec<Group>,
}

/// A cache group, and queries of its layers.
struct Group {
    /// Of its first layer.
    attention: Attention,
    tables: [Vec<PageId>; 2],
    /// (rows of both sequences, n_heads × key_width)
    q: Vec<f32>,
}

impl<B: Backend> Pool<B> {
    /// A pool of groups with these heads. Group `i` of `n` has layers `i` and `n + i`, the more pages the higher `i` is, and
    /// pages in an order of its own.
    fn new(b: &mut B, heads: &[Heads], kv_type: KvType, spans: Spans) -> Pool<B> {
        // One page is left over; one holds positions past the end of the first sequence.
        let n_pages = spans.map(|(len, _)| len.div_ceil(PAGE_LEN));
        let total = |group: usize| n_pages[0] + n_pages[1] + 2 + group;
        let layers = |group: usize| [group, heads.len() + group];
        let group = |(i, &[_, n, key, value]): (usize, &Heads)| {
            (CacheGroup::pages(layers(i).to_vec(), [n, key, value], None), total(i))
        };
        let groups = heads.iter().enumerate().map(group).collect();
        let mut pool = b.kv_pool(&KvShape { groups, kv_type }).expect("a small pool");

        let mut noise = Noise(77);
        let n_rows = spans[0].1 + spans[1].1;
        let groups =
            heads.iter().enumerate().map(|(group, &[n_heads, n_kv_heads, key_width, value_width])| {
                // Odd ids from above, then even ones from below.
                let total = total(group) as u32;
                let mut ids =
                    (0..total).rev().filter(|i| i % 2 == 1).chain((0..total).step_by(2)).skip(group);
                let layer = LayerIdx { layer: group, group };
                let (scale, softcap, window) = (0.9, None, None);
                Group {
                    attention: Attention {
                        layer,
                        n_heads,
                        n_kv_heads,
                        key_width,
                        value_width,
                        scale,
                        softcap,
                        window,
                    },
                    tables: n_pages.map(|n| ids.by_ref().take(n).map(PageId).collect()),
                    q: noise.numbers(n_rows * n_heads * key_width),
                }
            });
        let groups: Vec<Group> = groups.collect();
        for (i, (len, _)) in spans.into_iter().enumerate() {
            let mut fill = Batch::default();
            let n_stored = len.next_multiple_of(PAGE_LEN);
            let tables: Vec<&[PageId]> = groups.iter().map(|group| &group.tables[i][..]).collect();
            fill.push(&vec![0; n_stored], 0, &tables, Want::Nothing);
            for (group, Group { attention, .. }) in groups.iter().enumerate() {
                for layer in layers(group) {
                    let [k, v] = [attention.key_width, attention.value_width].map(|head| {
                        let width = attention.n_kv_heads * head;
                        let mut data = noise.numbers(n_stored * width);
                        // What lies behind the last position is no number: no row may look at it.
                        data[len * width..].fill(f32::NAN);
                        upload_rows(b, width, data)
                    });
                    b.store_kv(&mut pool, LayerIdx { layer, group }, &k, &v, &fill);
                }
            }
        }
        Pool { pool, spans, groups }
    }

    /// Rows `rows` of each sequence's queries, in one batch. Page tables begin where windows do.
    fn attend(&self, b: &mut B, attention: &Attention, has_sinks: bool, rows: [Range<usize>; 2]) -> Vec<f32> {
        let Attention { layer, n_heads, key_width, value_width, window, .. } = *attention;
        let group = &self.groups[layer.group];
        let mut batch = Batch::default();
        let mut q = Vec::new();
        let (mut first, width) = (0, n_heads * key_width);
        for (i, (rows, (len, n_rows))) in rows.into_iter().zip(self.spans).enumerate() {
            let start = len - n_rows + rows.start;
            let tables: Vec<PageTable<'_>> = (self.groups.iter().enumerate())
                .map(|(g, Group { tables, .. })| {
                    let window = window.filter(|_| g == layer.group);
                    let first_page = window.map_or(0, |window| (start + 1).saturating_sub(window)) / PAGE_LEN;
                    PageTable { first_page, pages: &tables[i][first_page..] }
                })
                .collect();
            if !rows.is_empty() {
                batch.push(&vec![0; rows.len()], start, &tables, Want::Logits);
                q.extend_from_slice(&group.q[(first + rows.start) * width..(first + rows.end) * width]);
            }
            first += n_rows;
        }
        let q = upload_rows(b, width, q);
        let mut out = buffer(b, n_heads * value_width);
        let sinks = has_sinks.then(|| sinks(b, n_heads));
        b.attend(&mut out, &q, &self.pool, &batch, attention, sinks.as_ref());
        read(b, &out)
    }

    fn all_rows(&self) -> [Range<usize>; 2] {
        self.spans.map(|(_, n_rows)| 0..n_rows)
    }
}

/// Below all scores, among them, and above them.
fn sinks<B: Backend>(b: &mut B, n_heads: usize) -> B::Weight {
    let numbers = (0..n_heads).map(|head| [0.4f32, 20.0, -90.0, 2.0][head % 4]);
    upload(b, DType::F32, [1, 1, n_heads], numbers.flat_map(f32::to_le_bytes).collect())
}

/// A softcap and a window.
type Case = (Option<f32>, Option<usize>);

/// Attention of heads to keys and values of one type: every case, with sinks and without in turn.
fn attend<B: Backend>(
    b: &mut B,
    (heads, kv_type, spans): (Heads, KvType, Spans),
    cases: &[Case],
    all: &mut Results,
) {
    let pool = Pool::new(b, &[heads], kv_type, spans);
    for (i, &(softcap, window)) in cases.iter().enumerate() {
        let has_sinks = (i + heads[0]) % 2 == 1;
        let attention = Attention { softcap, window, ..pool.groups[0].attention };
        let name = format!(
            "attend heads {heads:?} {kv_type:?} softcap {softcap:?} window {window:?} sinks {has_sinks}"
        );
        all.push((name, heads[0] * heads[3], pool.attend(b, &attention, has_sinks, pool.all_rows())));
    }
}

/// Attention of every kind to keys and values of one type, by name.
pub(super) fn attention<B: Backend>(b: &mut B, kv_type: KvType) -> Results {
    let mut all = Results::new();
    let cases = [(None, None), (Some(0.8), None), (None, Some(9)), (Some(0.8), Some(33))];
    attend(b, ([6, 2, 16, 16], kv_type, SHORT), &cases, &mut all);
    attend(b, ([2, 1, 80, 80], kv_type, LONG), &[(None, None), (Some(5.0), Some(600))], &mut all);
    if matches!(kv_type, KvType::F16 | KvType::Bf16) {
        for [n_heads, n_kv_heads, width] in
            [[3, 3, 8], [4, 2, 64], [7, 1, 96], [4, 4, 128], [2, 1, 256], [2, 2, 20], [2, 1, 7]]
        {
            let cases = [(None, None), (None, Some(1)), (None, Some(530))];
            attend(b, ([n_heads, n_kv_heads, width, width], kv_type, LONG), &cases, &mut all);
        }
    }
    for (i, (heads, spans)) in UNEQUAL.into_iter().enumerate() {
        // Kernels differ in both; each pair is one to compile.
        if [types(i), types(i + 2)].contains(&kv_type) {
            let cases = [(None, None), (Some(5.0), Some(spans[0].0 / 2))];
            attend(b, (heads, kv_type, spans), &cases, &mut all);
        }
    }
    groups(b, kv_type, &mut all);
    latent::attention(b, kv_type, &mut all);
    all
}

/// Attention to keys and values of one type in narrow heads, and for two types in heads whose keys and values differ.
pub(super) fn few_attention<B: Backend>(b: &mut B, kv_type: KvType) -> Results {
    let mut all = Results::new();
    attend(b, ([6, 2, 16, 16], kv_type, SHORT), &[(None, None), (Some(0.8), Some(33))], &mut all);
    let unequal = match kv_type {
        // Several partitions.
        KvType::F32 => Some(UNEQUAL[0]),
        // Wider than the memory of a GPU's workgroup.
        KvType::Bf16 => Some(UNEQUAL[3]),
        KvType::F16 | KvType::Q8_0 => None,
    };
    if let Some((heads, spans)) = unequal {
        attend(b, (heads, kv_type, spans), &[(None, None)], &mut all);
    }
    all
}

/// Types of storage in turn.
fn types(i: usize) -> KvType {
    KvType::ALL[i % KvType::ALL.len()]
}

/// Groups of different heads and widths in one pool: each layer reads what was stored for it.
fn groups<B: Backend>(b: &mut B, kv_type: KvType, all: &mut Results) {
    let pool = Pool::new(b, &[[4, 2, 24, 16], [2, 1, 192, 128], [6, 3, 64, 128]], kv_type, SHORT);
    for (group, window) in pool.groups.iter().zip([None, Some(40), Some(9)]) {
        let LayerIdx { layer: first, group: idx } = group.attention.layer;
        for layer in [first, pool.groups.len() + first] {
            let layer = LayerIdx { layer, group: idx };
            let attention = Attention { layer, window, ..group.attention };
            let width = attention.n_heads * attention.value_width;
            let name = format!("attend {kv_type:?} {layer:?} of a pool of groups");
            all.push((name, width, pool.attend(b, &attention, false, pool.all_rows())));
        }
    }
}

/// A row alone, among some of its sequence and among all of both gives the same bits.
pub(super) fn rows_attend_alone_as_together<B: Backend>(b: &mut B) {
    for (i, (heads, spans)) in UNEQUAL.into_iter().enumerate() {
        let kv_type = types(i);
        let pool = Pool::new(b, &[heads], kv_type, spans);
        let attention = Attention { softcap: Some(4.0), ..pool.groups[0].attention };
        let width = heads[0] * heads[3];
        let has_sinks = i % 2 == 0;
        let together = pool.attend(b, &attention, has_sinks, pool.all_rows());
        let [first, second] = spans.map(|(_, n_rows)| n_rows);
        for rows in [[0..1, 0..0], [17..18, 0..0], [0..0, second - 1..second], [18..first, 0..1]] {
            let found = pool.attend(b, &attention, has_sinks, rows.clone());
            let name = format!("attend heads {heads:?} {kv_type:?}, rows {rows:?} of two sequences");
            let [rows, others] = rows;
            let expected = [rows, first + others.start..first + others.end]
                .map(|rows| &together[rows.start * width..rows.end * width])
                .concat();
            compare(&[(name.clone(), width, found)], &[(name, width, expected)], Precision::Bits);
        }
    }
}
