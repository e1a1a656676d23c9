//! Draft layers for multi-token prediction.

use inferno_format::{DType, Gguf, NewTensor, Value, dequantize};
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::{Batch, PageId, Want};
use inferno_model::drafted::{DraftError, Drafted};
use inferno_model::model::{KvRoom, Model};
use inferno_model::reference::Reference;
use inferno_model::sample::argmax;
use inferno_model::transformer::Transformer;
use inferno_model::weights::{Share, Tensors, WeightBytes};

use crate::bad_models::Parts;

const DIM: usize = 64;
const PAGES: [PageId; 1] = [PageId(0)];

/// The golden model with a draft layer, which is its last layer once more. `eh_proj` copies the left or the right
/// half of its input, as `is_left` says, and ignores the other half.
fn with_draft_layer(is_left: bool) -> Parts {
    let mut parts = Parts::of("qwen3");
    let n_layers = parts.metadata.opt_u32("qwen3.block_count").unwrap().unwrap();
    let last = format!("blk.{}.", n_layers - 1);
    let copies: Vec<(NewTensor, Vec<u8>)> = parts
        .tensors
        .iter()
        .filter_map(|(tensor, bytes)| {
            let name = format!("blk.{n_layers}.{}", tensor.name.strip_prefix(&last)?);
            Some((NewTensor { name, ..tensor.clone() }, bytes.clone()))
        })
        .collect();
    parts.tensors.extend(copies);
    let mut put = |name: &str, dims: &[usize], numbers: Vec<f32>| {
        let name = format!("blk.{n_layers}.nextn.{name}.weight");
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        parts.tensors.push((NewTensor { name, dtype: DType::F32, dims: dims.into() }, bytes));
    };
    let taken = |i: usize| i % (2 * DIM) == i / (2 * DIM) + if is_left { 0 } else { DIM };
    put("eh_proj", &[2 * DIM, DIM], (0..2 * DIM * DIM).map(|i| f32::from(u8::from(taken(i)))).collect());
    for name in ["enorm", "hnorm"] {
        put(name, &[DIM], (0..DIM).map(|i| 0.5 + i as f32 / 100.0).collect());
    }
    put("shared_head_norm", &[DIM], vec![2.0; DIM]);
    parts.metadata.set("qwen3.block_count", Value::U32(n_layers + 1));
    parts.metadata.set("qwen3.nextn_predict_layers", Value::U32(1));
    parts
}

fn load(file: &Gguf) -> Transformer<Reference> {
    let arch = Architecture::read(file, Some(32)).unwrap().with_draft_block().unwrap();
    assert_eq!(arch.dim, DIM);
    let room = KvRoom { n_pages: vec![1], kv_type: KvType::F32 };
    Transformer::load(file, arch, Reference::default(), &room).unwrap()
}

/// Logits of the draft layer for each token, and its hidden rows, in steps of `n` rows.
fn draft(model: &mut dyn Model, tokens: &[u32], hidden: &[f32], n: usize) -> [Vec<f32>; 2] {
    let (mut logits, mut rows) = (Vec::new(), Vec::new());
    for start in (0..tokens.len()).step_by(n) {
        let end = tokens.len().min(start + n);
        let mut batch = Batch::default();
        batch.push_each(&tokens[start..end], start, &[&PAGES[..]], &vec![Want::Logits; end - start]);
        let (block, mut out) = (model.draft_block().unwrap(), Vec::new());
        let output = block.draft_step(&batch, &hidden[start * DIM..end * DIM], &mut out).unwrap();
        (0..end - start).for_each(|row| logits.extend_from_slice(output.logits(row).unwrap()));
        rows.extend(out);
    }
    [logits, rows]
}

/// The first columns of `eh_proj` multiply the normed embedding of the next token, the others the normed hidden row.
#[test]
fn a_draft_layer_sees_the_next_token_and_the_hidden_row() {
    let (left, right) = (with_draft_layer(true).file(), with_draft_layer(false).file());
    let (tokens, others) = ([7, 1, 200, 30, 7], [9, 9, 8, 0, 3]);
    let table = left.tensor("token_embd.weight").unwrap();
    let mut embeddings = vec![0.0; table.n_elements()];
    dequantize(table.dtype, &left.read(table).unwrap(), &mut embeddings).unwrap();
    let rows = |tokens: &[u32]| -> Vec<f32> {
        tokens.iter().flat_map(|&t| embeddings[t as usize * DIM..][..DIM].to_vec()).collect()
    };
    let [by_token, hidden] = draft(&mut load(&left), &tokens, &rows(&others), tokens.len());
    let by_hidden_row = draft(&mut load(&right), &others, &rows(&tokens), tokens.len());
    assert_eq!([&by_token, &hidden], [&by_hidden_row[0], &by_hidden_row[1]]);
    for n in [1, 2] {
        assert_eq!(draft(&mut load(&left), &tokens, &rows(&others), n), [by_token.clone(), hidden.clone()]);
    }
    let n = by_token.len() / tokens.len();
    assert!(hidden.iter().all(|x| x.is_finite()) && by_token[..n] != by_token[n..2 * n]);
}

#[test]
fn hidden_rows_are_those_that_the_output_matrix_multiplies() {
    let file = with_draft_layer(true).file();
    let mut model = load(&file);
    let mut batch = Batch::default();
    batch.push(&[5, 6, 7], 0, &[&PAGES[..]], Want::Logits);
    let logits = model.step(&batch).unwrap().logits(2).unwrap().to_vec();
    let mut hidden = Vec::new();
    model.draft_block().unwrap().hidden(&mut hidden).unwrap();
    assert_eq!(hidden.len(), 3 * DIM);
    let output = file.tensor("output.weight").or(file.tensor("token_embd.weight")).unwrap();
    let mut matrix = vec![0.0; output.n_elements()];
    dequantize(output.dtype, &file.read(output).unwrap(), &mut matrix).unwrap();
    for (row, logit) in matrix.chunks_exact(DIM).zip(logits) {
        let product: f32 = row.iter().zip(&hidden[2 * DIM..]).map(|(a, b)| a * b).sum();
        assert!((product - logit).abs() < 1e-4, "{product} and {logit}");
    }
}

#[test]
fn a_draft_layer_is_loaded_where_it_is_asked_for() {
    let mut parts = with_draft_layer(true);
    let file = parts.file();
    let plain = Architecture::read(&file, None).unwrap();
    let with = plain.clone().with_draft_block().unwrap();
    let more = WeightBytes::of(&with, &file).all - WeightBytes::of(&plain, &file).all;
    let of_layer =
        parts.tensors.iter().filter(|(t, _)| t.name.contains(&format!("blk.{}.", plain.layers.len())));
    assert_eq!(more, of_layer.map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    let room = KvRoom { n_pages: vec![1], kv_type: KvType::F32 };
    let model = Transformer::load(&file, plain.clone(), Reference::default(), &room).unwrap();
    assert_eq!(Drafted::with_own_layer(Box::new(model), 1).err(), Some(DraftError::NoLayer));

    let error = |file: &Gguf| {
        let arch = Architecture::read(file, None).unwrap().with_draft_block().unwrap();
        Transformer::load(file, arch, Reference::default(), &room).err().unwrap().to_string()
    };
    let name = format!("blk.{}.nextn.eh_proj.weight", plain.layers.len());
    parts.tensor(&name).0.dims = vec![DIM, 2 * DIM];
    let message = format!("tensor `{name}` has shape [{DIM}, {}], expected [{}, {DIM}]", 2 * DIM, 2 * DIM);
    assert_eq!(error(&parts.file()), message);
    parts.tensors.retain(|(t, _)| t.name != name);
    assert_eq!(
        error(&parts.file()),
        format!("tensor `{name}` is missing, expected shape [{}, {DIM}]", 2 * DIM)
    );
    let without = Parts::of("qwen3").file();
    let refusal = Architecture::read(&without, None).unwrap().with_draft_block().unwrap_err();
    assert!(refusal.to_string().contains("`qwen3.nextn_predict_layers`"), "{refusal}");
}

/// A draft model looks at its output matrix in fewer bits, and at the rows of the best tokens as they are.
#[test]
fn a_draft_model_has_the_logits_of_its_best_tokens() {
    let file = Parts::of("qwen3").file();
    let arch = Architecture::read(&file, Some(64)).unwrap();
    let room = KvRoom { n_pages: vec![2], kv_type: KvType::F32 };
    let steps = |tensors: Tensors<'_>| {
        let (mut tensors, share) = (tensors, Share::whole(&arch));
        let mut model = Transformer::load_share(&mut tensors, share, Reference::default(), &room).unwrap();
        let tokens: Vec<u32> = (0..64).map(|i| i * 37 % arch.vocab_size as u32).collect();
        let mut batch = Batch::default();
        batch.push_each(&tokens, 0, &[&[PageId(0), PageId(1)][..]], &[Want::Logits; 64]);
        let output = model.step(&batch).unwrap();
        (0..64).map(|row| output.logits(row).unwrap().to_vec()).collect::<Vec<_>>()
    };
    let exact = steps(Tensors::new(&file, &arch));
    let drafts = steps(Tensors::new(&file, &arch).of_draft_model());
    assert_ne!(exact, drafts);
    for (exact, drafted) in exact.iter().zip(&drafts) {
        let best = argmax(exact);
        assert_eq!(argmax(drafted), best);
        assert!((drafted[best as usize] - exact[best as usize]).abs() < 1e-4);
    }
}
