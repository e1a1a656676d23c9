//! Tokens that a device chooses, and steps that it chains.

use inferno_format::{DType, Gguf};

use super::{Noise, buffer, read, upload_rows};
use crate::architecture::Architecture;
use crate::backend::{Backend, KvType};
use crate::batch::{Batch, PageId, Want};
use crate::model::{KvRoom, Model};
use crate::output::{Output, RowOutput};
use crate::sample::{Pick, SampleSpec, argmax};
use crate::transformer::Transformer;

/// Tokens that a device chooses are those of [`Pick::choose`], and embedding them is embedding them.
pub(super) fn choices<B: Backend>(b: &mut B) {
    let mut noise = Noise(9);
    for vocab_size in [40, 900, 5003] {
        let n_rows = 7;
        let mut data = noise.numbers(n_rows * vocab_size);
        data.iter_mut().for_each(|x| *x *= 9.0);
        // Ties, infinities and what is no number.
        data[vocab_size + 7] = 20.0;
        data[vocab_size + 5] = 20.0;
        data[2 * vocab_size + 3] = f32::INFINITY;
        data[3 * vocab_size..4 * vocab_size].fill(f32::NAN);
        data[4 * vocab_size + 1..5 * vocab_size].fill(f32::NEG_INFINITY);
        data[5 * vocab_size..5 * vocab_size + 20].fill(f32::NAN);
        data[6 * vocab_size..].fill(f32::NEG_INFINITY);
        data[6 * vocab_size] = f32::NAN;
        let x = upload_rows(b, vocab_size, data.clone());
        let mut picks = Vec::new();
        for i in 0..60 {
            let row = [5, 0, 1, 0, 2, 3, 4, 0, 6, 5, 1, 0, 2][i % 13];
            let spec = SampleSpec {
                top_k: [0, 40, 2, 0, 64, 1, 0, 7][i % 8],
                top_p: if i % 5 == 3 { 0.7 } else { 1.0 },
                min_p: if i % 7 == 3 { 0.1 } else { 0.0 },
                temperature: if i % 6 == 0 { 0.0 } else { 0.3 + 0.05 * i as f32 },
                seed: 11 * i as u64,
                choice_idx: 0,
            };
            picks.push(Pick::new(row, spec, i as u32));
        }
        let choose = |pick: &Pick| pick.choose(&data[pick.row * vocab_size..][..vocab_size]);
        let expected: Vec<f32> = picks.iter().map(|p| choose(p).map_or(-1.0, |token| token as f32)).collect();
        let mut chosen = buffer(b, 1);
        let (first, rest) = picks.split_at(5);
        let sampling = b.device_sampling().expect("a device that samples");
        sampling.choose(&mut chosen, 0, picks.len(), &x, first);
        sampling.choose(&mut chosen, first.len(), picks.len(), &x, rest);
        assert_eq!(read(b, &chosen), expected, "choose from {vocab_size}");

        let (mut out, mut plain) = (buffer(b, 64), buffer(b, 64));
        let table = noise.tensor(b, DType::Q8_0, [1, vocab_size, 64]);
        let tokens: Vec<u32> = expected[7..].iter().map(|&token| token as u32).collect();
        let sampling = b.device_sampling().expect("a device that samples");
        sampling.embed_chosen(&mut out, &table, &chosen, 7..picks.len(), 0.5);
        b.embed(&mut plain, &table, &tokens, 0.5);
        assert_eq!(read(b, &out), read(b, &plain), "embed_chosen");
    }
}

/// Three sequences that go on step by step, and in chains: equal tokens. Another one between them wants logits in every
/// call, so that it is in the first step of a chain only: equal logits. A model with per-layer embeddings chains no steps.
pub(super) fn chains_choose_what_steps_do<B: Backend + Send>(
    new: &impl Fn() -> B,
    file: &Gguf,
    kv_type: KvType,
) where
    B::Weight: Send,
    B::Buffer: Send,
    B::KvPool: Send,
{
    const STARTS: [usize; 4] = [1, 30, 20, 9];
    /// The one that wants logits.
    const HOST: usize = 1;
    const N_STEPS: usize = 12;
    let chains = Architecture::read(file, None).expect("a model that loads").per_layer.is_none();
    // Tokens of the others by step, and logits by call.
    let run = |lengths: &[usize]| -> (Vec<Option<u32>>, Vec<Vec<f32>>) {
        let arch = Architecture::read(file, None).expect("a model that loads");
        let (n_groups, vocab_size) = (arch.cache_groups.len(), arch.vocab_size as u64);
        let room = KvRoom { n_pages: vec![2 * STARTS.len(); n_groups], kv_type };
        let mut model = Transformer::load(file, arch, new(), &room).expect("a model that loads");
        assert_eq!(
            model.chaining().is_some(),
            chains,
            "a model whose tokens the host does not look up chains"
        );
        let mut noise = Noise(3);
        let pages: Vec<[PageId; 2]> = (0..STARTS.len() as u32).map(|i| [PageId(i), PageId(i + 4)]).collect();
        let want = |i: usize| {
            let (top_k, temperature, top_p) =
                [(0, 0.8, 0.9), (0, 0.0, 1.0), (0, 0.0, 1.0), (40, 0.8, 1.0)][i];
            let spec = SampleSpec { top_k, temperature, top_p, seed: i as u64, ..SampleSpec::GREEDY };
            if i == HOST { Want::Logits } else { Want::Sample(spec) }
        };
        let mut batch = Batch::default();
        for (i, (&n, table)) in STARTS.iter().zip(&pages).enumerate() {
            let prompt: Vec<u32> = (0..n).map(|_| (noise.next() % vocab_size) as u32).collect();
            batch.push(&prompt, 0, &vec![&table[..]; n_groups], want(i));
        }
        let output = model.step(&batch).expect("a step");
        let ends = STARTS.iter().scan(0, |end, n| {
            *end += n;
            Some(*end - 1)
        });
        let ends: Vec<usize> = ends.collect();
        let others = (0..STARTS.len()).filter(|&i| i != HOST);
        let mut tokens: Vec<Option<u32>> = others.clone().map(|i| token_of(output, ends[i])).collect();
        let mut rows = vec![output.logits(ends[HOST]).expect("a row that wants logits").to_vec()];
        let mut n_done = 0;
        for (n_calls, &length) in lengths.iter().enumerate() {
            let mut batch = Batch::default();
            let mut last = tokens[tokens.len() - others.clone().count()..].to_vec();
            last.insert(HOST, rows.last().map(|row| argmax(row)));
            for (i, table) in pages.iter().enumerate() {
                let token = last[i].expect("a model whose logits are numbers");
                let position = STARTS[i] + if i == HOST { n_calls } else { n_done };
                batch.push(&[token], position, &vec![&table[..]; n_groups], want(i));
            }
            if length == 1 {
                let output = model.step(&batch).expect("a step");
                tokens.extend(others.clone().map(|row| token_of(output, row)));
            } else {
                let chaining = model.chaining().expect("a model that chains");
                tokens.extend_from_slice(chaining.chain(&batch, length).expect("steps"));
            }
            rows.push(model.output().logits(HOST).expect("a row that wants logits").to_vec());
            n_done += length;
        }
        (tokens, rows)
    };
    let (stepwise, rows) = run(&[1; N_STEPS]);
    if !chains {
        return;
    }
    for lengths in [&[N_STEPS][..], &[2, 1, 5, 4]] {
        let (tokens, rows_of_chains) = run(lengths);
        assert_eq!(tokens, stepwise, "chains of {lengths:?} steps");
        assert_eq!(rows_of_chains, rows[..=lengths.len()], "logits beside chains of {lengths:?} steps");
    }
}

fn token_of(output: &Output, row: usize) -> Option<u32> {
    match output.get(row) {
        Some(RowOutput::Token(token)) => Some(token),
        _ => None,
    }
}
