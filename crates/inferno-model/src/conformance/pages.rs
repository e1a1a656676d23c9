//! Pages that were copied to bytes and put back in other places.

use inferno_format::Gguf;

use super::{Precision, Results, compare, delta_net_layers, latent_layers};
use crate::architecture::Architecture;
use crate::backend::{Backend, KvType};
use crate::batch::{Batch, PAGE_LEN, PageId, Want};
use crate::model::{KvRoom, Model};
use crate::transformer::Transformer;

/// Pages of the pool.
const N_PAGES: usize = 6;

/// A sequence goes on from pages that were written back elsewhere, to the bit: of keys and values, of latent rows and of states.
pub(super) fn pages_are_the_same_elsewhere<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    new: impl Fn() -> B,
) {
    for kv_type in KvType::ALL {
        move_pages(new(), &delta_net_layers(false), kv_type);
    }
    move_pages(new(), &latent_layers(true), KvType::F16);
}

fn move_pages<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    backend: B,
    file: &Gguf,
    kv_type: KvType,
) {
    let arch = Architecture::read(file, None).expect("a model that loads");
    let (n_groups, vocab_size) = (arch.cache_groups.len(), arch.vocab_size);
    let room = KvRoom { n_pages: vec![N_PAGES; n_groups], kv_type };
    let mut model = Transformer::load(file, arch, backend, &room).expect("a model that loads");
    let run = |tokens: &[u32], start: usize, table: &[PageId], model: &mut dyn Model| -> Results {
        let mut batch = Batch::default();
        batch.push(tokens, start, &vec![table; n_groups], Want::Logits);
        let output = model.step(&batch).expect("a step");
        let logits = output.logits(tokens.len() - 1).expect("wanted").to_vec();
        vec![(format!("pages of {kv_type:?}"), vocab_size, logits)]
    };
    let tokens: Vec<u32> = (0..2 * PAGE_LEN + 3).map(|i| (i * 7 % vocab_size) as u32).collect();
    let (prompt, rest) = tokens.split_at(2 * PAGE_LEN);
    let [here, there] = [[0, 1, 2], [5, 3, 4]].map(|table| table.map(PageId));
    run(prompt, 0, &here, &mut model);
    let mut copies = Vec::new();
    for (group, page) in (0..n_groups).flat_map(|group| here[..2].iter().map(move |&page| (group, page))) {
        let pages = model.page_bytes().expect("a backend copies pages");
        let mut bytes = vec![0; pages.n_bytes(group)];
        pages.read(group, page, &mut bytes).expect("a device that lives");
        copies.push(bytes);
    }
    let expected = run(rest, 2 * PAGE_LEN, &here, &mut model);
    // Others take the pages.
    run(&vec![1; 3 * PAGE_LEN], 0, &here, &mut model);
    for ((group, page), bytes) in
        (0..n_groups).flat_map(|group| there[..2].iter().map(move |&page| (group, page))).zip(&copies)
    {
        let pages = model.page_bytes().expect("a backend copies pages");
        pages.write(group, page, bytes).expect("a device that lives");
    }
    compare(&run(rest, 2 * PAGE_LEN, &there, &mut model), &expected, Precision::Bits);
}
