//! Recurrent layers: states that are continued in any chunks and from any page, and parts of layers that no golden has.

use inferno_format::{DType, Gguf, GgufWriter, Metadata, NewTensor, Value};
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::model::{KvRoom, Model};
use inferno_model::reference::Reference;
use inferno_model::transformer::Transformer;
use xtask::testing::Random;

use crate::bad_models::Parts;
use crate::run;

fn golden(name: &str) -> Gguf {
    Gguf::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap()
}

/// More than two pages of tokens.
fn prompt(name: &str) -> Vec<u32> {
    xtask::testing::golden(name).prompt.into_iter().cycle().take(135).collect()
}

fn bits(logits: &[Vec<f32>]) -> Vec<u32> {
    logits.iter().flatten().map(|x| x.to_bits()).collect()
}

#[test]
fn a_sequence_has_the_same_bits_in_chunks_of_any_length() {
    for name in ["nemotron-h", "lfm2"] {
        let (file, prompt) = (golden(name), prompt(name));
        let whole = bits(&run::load(&file, 160).unwrap().append(&prompt));
        for chunk in [1, 63, 64, 65] {
            let mut sequence = run::load(&file, 160).unwrap();
            let found: Vec<Vec<f32>> =
                prompt.chunks(chunk).flat_map(|tokens| sequence.append(tokens)).collect();
            assert!(bits(&found) == whole, "{name} in chunks of {chunk}");
        }
    }
}

/// Steps that continue a page leave it as it is: it can be continued again, by several sequences in one step.
#[test]
fn sequences_that_fork_continue_the_same_state() {
    const SHARED: usize = 2 * PAGE_LEN;
    for name in ["nemotron-h", "lfm2"] {
        let (file, prompt) = (golden(name), prompt(name));
        let expected = bits(&run::load(&file, 160).unwrap().append(&prompt[..SHARED + 9])[SHARED..]);
        let arch = Architecture::read(&file, None).unwrap();
        let n_groups = arch.cache_groups.len();
        let room = KvRoom { n_pages: vec![8; n_groups], kv_type: KvType::F32 };
        let mut model = Transformer::load(&file, arch, Reference::default(), &room).unwrap();
        let table = |last: u32| [7, 3, last].map(PageId);
        let mut batch = Batch::default();
        batch.push(&prompt[..SHARED], 0, &vec![&table(0)[..2]; n_groups], Want::Nothing);
        model.step(&batch).unwrap();
        let tails = [prompt[SHARED..SHARED + 9].to_vec(), vec![5; 4]];
        for _ in 0..2 {
            let mut batch = Batch::default();
            for (tokens, last) in tails.iter().zip([1, 6]) {
                let wants = vec![Want::Logits; tokens.len()];
                batch.push_each(tokens, SHARED, &vec![table(last).as_slice(); n_groups], &wants);
            }
            let output = model.step(&batch).unwrap();
            let found: Vec<Vec<f32>> = (0..9).map(|row| output.logits(row).unwrap().to_vec()).collect();
            assert!(bits(&found) == expected, "{name}");
        }
    }
}

/// A model of one layer with tensors that are made up. Norms are near one, and what decays is below zero.
fn made_up(family: &str, keys: &[(&str, Value)], tensors: &[(&str, &[usize])]) -> Gguf {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::String(family.into()));
    for (key, value) in keys {
        metadata.set(format!("{family}.{key}"), value.clone());
    }
    let tensor = |(name, dims): &(&str, &[usize])| NewTensor {
        name: (*name).into(),
        dtype: DType::F32,
        dims: dims.to_vec(),
    };
    let tensors: Vec<NewTensor> = tensors.iter().map(tensor).collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &tensors).unwrap();
    for tensor in &tensors {
        // The same numbers under a name, whatever else is in the file.
        let name = tensor.name.trim_end_matches(".weight");
        let mut random =
            Random(name.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte)));
        let offset = if name.ends_with("norm") {
            1.0
        } else if name.ends_with("ssm_a") {
            -1.0
        } else {
            0.0
        };
        let number = || offset + (random.below(2001) as f32 - 1000.0) / 4000.0;
        let numbers: Vec<f32> = std::iter::repeat_with(number).take(tensor.dims.iter().product()).collect();
        writer.append(&tensor.name, &inferno_format::quantize(DType::F32, &numbers).unwrap()).unwrap();
    }
    Gguf::from_bytes(writer.finish().unwrap()).unwrap()
}

const DIM: usize = 32;

const COMMON: &[(&str, u32)] = &[
    ("block_count", 1),
    ("context_length", 128),
    ("embedding_length", DIM as u32),
    ("feed_forward_length", 40),
    ("vocab_size", 50),
    ("attention.head_count", 4),
    ("attention.head_count_kv", 2),
    ("attention.key_length", 12),
    ("attention.value_length", 12),
];

const SSM: &[(&str, u32)] = &[
    ("ssm.conv_kernel", 4),
    ("ssm.inner_size", 48),
    ("ssm.state_size", 10),
    ("ssm.time_step_rank", 4),
    ("ssm.group_count", 2),
];

const ENDS: &[(&str, &[usize])] = &[("token_embd.weight", &[DIM, 50]), ("output_norm.weight", &[DIM])];

const FFN: &[(&str, &[usize])] = &[
    ("blk.0.attn_norm.weight", &[DIM]),
    ("blk.0.ffn_gate.weight", &[DIM, 40]),
    ("blk.0.ffn_up.weight", &[DIM, 40]),
    ("blk.0.ffn_down.weight", &[40, DIM]),
];

const ATTENTION: &[(&str, &[usize])] = &[
    ("blk.0.attn_q.weight", &[DIM, 48]),
    ("blk.0.attn_k.weight", &[DIM, 24]),
    ("blk.0.attn_v.weight", &[DIM, 24]),
    ("blk.0.attn_output.weight", &[48, DIM]),
];

const MAMBA2: &[(&str, &[usize])] = &[
    ("blk.0.ssm_in.weight", &[DIM, 48 + 48 + 40 + 4]),
    ("blk.0.ssm_conv1d.weight", &[4, 88]),
    ("blk.0.ssm_conv1d.bias", &[88]),
    ("blk.0.ssm_dt.bias", &[4]),
    ("blk.0.ssm_a", &[1, 4]),
    ("blk.0.ssm_d", &[1, 4]),
    ("blk.0.ssm_out.weight", &[48, DIM]),
];

fn keys(numbers: &[&[(&'static str, u32)]]) -> Vec<(&'static str, Value)> {
    let numbers = numbers.iter().flat_map(|numbers| numbers.iter());
    let numbers = numbers.map(|&(key, n)| (key, Value::U32(n)));
    numbers.chain([("attention.layer_norm_rms_epsilon", Value::F32(1e-5))]).collect()
}

/// Without what one mixer gives a layer of Falcon-H1 is one with the other mixer alone.
#[test]
fn attention_and_mamba_beside_each_other_are_both_added() {
    let tokens: Vec<u32> = (0..40).map(|i| i * 7 % 50).collect();
    let logits = |file: &Gguf| bits(&run::load(file, 64).unwrap().append(&tokens));
    let both = [ENDS, FFN, &[("blk.0.ffn_norm", &[DIM])], ATTENTION, MAMBA2].concat();
    let falcon = made_up("falcon-h1", &keys(&[COMMON, SSM]), &both);
    let without = |name: &str| {
        let mut parts = Parts::of_file(&falcon);
        parts.tensor(name).1.fill(0);
        logits(&parts.file())
    };
    let norm: &[(&str, &[usize])] = &[("blk.0.ffn_norm.weight", &[DIM])];
    let attention = made_up("exaone", &keys(&[COMMON]), &[ENDS, FFN, norm, ATTENTION].concat());
    assert!(without("blk.0.ssm_out.weight") == logits(&attention), "attention alone");
    let ssm_norm: &[(&str, &[usize])] = &[("blk.0.ssm_norm.weight", &[24, 2])];
    let heads: &[(&str, u32)] = &[("attention.head_count_kv", 0)];
    let with_norm =
        |family: &str, heads: &[(&'static str, u32)], more: &[(&'static str, &'static [usize])]| {
            let parts = [ENDS, FFN, ssm_norm, MAMBA2, more].concat();
            made_up(family, &keys(&[COMMON, SSM, heads]), &parts)
        };
    let mamba = with_norm("granitehybrid", heads, norm);
    let falcon_norm: &[(&str, &[usize])] = &[("blk.0.ffn_norm", &[DIM])];
    let mut normed = Parts::of_file(&with_norm("falcon-h1", &[], &[falcon_norm, ATTENTION].concat()));
    normed.tensor("blk.0.attn_output.weight").1.fill(0);
    assert!(logits(&normed.file()) == logits(&mamba), "Mamba-2 alone");
    assert!(logits(&falcon) != logits(&normed.file()), "both");
}

/// Projections that change nothing, around experts as wide as the residual stream.
#[test]
fn experts_of_a_latent_width_are_projected_to_and_from() {
    let tokens = [3, 250, 17, 80, 5, 5];
    let mut parts = Parts::of_file(&golden("nemotron-h"));
    let expected = bits(&run::load(&parts.file(), 64).unwrap().append(&tokens));
    let (layers, dim) = ([1, 4], 48);
    for (layer, name) in layers.iter().flat_map(|layer| ["down", "up"].map(|name| (layer, name))) {
        let name = format!("blk.{layer}.ffn_latent_{name}.weight");
        let identity = (0..dim * dim).flat_map(|i| f32::from(u8::from(i % (dim + 1) == 0)).to_le_bytes());
        let tensor = NewTensor { name, dtype: DType::F32, dims: vec![dim, dim] };
        parts.tensors.push((tensor, identity.collect()));
    }
    parts.metadata.set("nemotron_h_moe.moe_latent_size", Value::U32(dim as u32));
    assert!(bits(&run::load(&parts.file(), 64).unwrap().append(&tokens)) == expected);
    parts.metadata.set("nemotron_h_moe.moe_latent_size", Value::U32(24));
    assert_eq!(
        parts.error(),
        "tensor `blk.1.ffn_up_exps.weight` has shape [48, 32, 6], expected [24, 32, 6]"
    );
}
