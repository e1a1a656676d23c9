//! A model in stages is the model, bit for bit.

use inferno_format::Gguf;
use inferno_model::architecture::{Architecture, MixerShape};
use inferno_model::backend::KvType;
use inferno_model::batch::{Batch, PageId, Want};
use inferno_model::conformance::{first_layers, latent_layers, mixtures, uneven_layers};
use inferno_model::error::LoadError;
use inferno_model::ffn::FfnsElsewhere;
use inferno_model::model::{KvRoom, Model};
use inferno_model::output::RowOutput;
use inferno_model::reference::Reference;
use inferno_model::sample::SampleSpec;
use inferno_model::stage::{Pipeline, Stage};
use inferno_model::transformer::Transformer;
use inferno_model::weights::{Share, Tensors};

fn golden(name: &str) -> Gguf {
    Gguf::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap()
}

fn room(arch: &Architecture) -> KvRoom {
    KvRoom { n_pages: vec![4; arch.cache_groups.len()], kv_type: KvType::F16 }
}

/// The model in stages that end at these layers.
fn staged(file: &Gguf, ends: &[usize]) -> Result<Box<dyn Model>, LoadError> {
    staged_on(file, ends, Reference::default)
}

/// The model in stages that end at these layers, on backends made by `new`.
fn staged_on(file: &Gguf, ends: &[usize], new: fn() -> Reference) -> Result<Box<dyn Model>, LoadError> {
    let arch = Architecture::read(file, None)?;
    let mut tensors = Tensors::new(file, &arch);
    let mut stages: Vec<Box<dyn Stage>> = Vec::new();
    let mut start = 0;
    for &end in ends {
        let share = Share::layers(start..end);
        let stage = Transformer::load_share(&mut tensors, share, new(), &room(&arch))?;
        stages.push(Box::new(stage));
        start = end;
    }
    let share = Share::layers(start..arch.layers.len());
    let last = Transformer::load_share(&mut tensors, share, new(), &room(&arch))?;
    stages.push(Box::new(last));
    tensors.finish()?;
    Ok(Pipeline::of(stages))
}

/// The model with the feed-forward networks of its first `n` layers on a backend of their own.
fn with_ffns_elsewhere(file: &Gguf, n: usize) -> Result<Box<dyn Model>, LoadError> {
    let arch = Architecture::read(file, None)?;
    let mut tensors = Tensors::new(file, &arch);
    let share = Share { without_ffn: 0..n, ..Share::whole(&arch) };
    let mixers = Transformer::load_share(&mut tensors, share, Reference::default(), &room(&arch))?;
    let ffns = FfnsElsewhere::load(&mut tensors, 0..n, Reference::default())?;
    tensors.finish()?;
    Ok(Box::new(mixers.with_ffns(Box::new(ffns))))
}

/// Logits of two sequences, read in chunks and token by token, and the tokens sampled.
fn results(model: &mut dyn Model) -> (Vec<Vec<f32>>, Vec<u32>) {
    let n_groups = model.architecture().cache_groups.len();
    let pages = [[PageId(1), PageId(3)], [PageId(2), PageId(0)]];
    let mut logits = Vec::new();
    let mut sampled = Vec::new();
    for (start, end) in [(0, 20), (20, 37), (37, 38), (38, 39)] {
        let mut batch = Batch::default();
        for (i, table) in pages.iter().enumerate() {
            let tokens: Vec<u32> = (start..end).map(|p| ((p * 5 + 11 * i) % 40) as u32).collect();
            let mut wants = vec![Want::Logits; tokens.len()];
            wants[0] = Want::Nothing;
            wants[tokens.len() - 1] = Want::Sample(SampleSpec { temperature: 0.8, ..SampleSpec::GREEDY });
            batch.push_each(&tokens, start, &vec![&table[..]; n_groups], &wants);
        }
        let output = model.step(&batch).unwrap();
        logits.extend((0..batch.n_rows()).filter_map(|row| output.logits(row).map(<[f32]>::to_vec)));
        sampled.extend((0..batch.n_rows()).filter_map(|row| match output.get(row) {
            Some(RowOutput::Token(token)) => Some(token),
            _ => None,
        }));
    }
    (logits, sampled)
}

#[test]
fn a_model_in_stages_gives_the_bits_of_the_whole_one() {
    let files = ["qwen2", "qwen3moe", "gemma3", "qwen3-untied"].map(golden);
    for file in files.iter().chain([&uneven_layers()]) {
        let whole = results(&mut *staged(file, &[]).unwrap());
        for ends in [&[1][..], &[2], &[1, 2]] {
            assert_eq!(results(&mut *staged(file, ends).unwrap()), whole, "cut at {ends:?}");
        }
    }
}

#[test]
fn stages_of_latent_attention_give_the_bits_of_the_whole_model() {
    for file in [true, false].map(latent_layers) {
        let whole = results(&mut *staged(&file, &[]).unwrap());
        assert_eq!(results(&mut *staged(&file, &[1]).unwrap()), whole);
        assert_eq!(results(&mut *with_ffns_elsewhere(&file, 1).unwrap()), whole);
    }
}

#[test]
fn layers_that_share_keys_and_values_are_in_one_stage() {
    let file = golden("gemma4-e2b");
    let arch = Architecture::read(&file, None).unwrap();
    // Layers 3 and 4 read what layer 1 stores, layer 5 what layer 2 stores.
    assert_eq!((0..6).filter(|&at| arch.can_cut(at)).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(results(&mut *staged(&file, &[1]).unwrap()), results(&mut *staged(&file, &[]).unwrap()));
    let error = staged(&file, &[4]).err().expect("a stage without keys and values");
    assert_eq!(
        error.to_string(),
        "layer 4 reads the keys and values of layer 1, so both are on the same device: layer 4 cannot be the first one of \
         another"
    );
}

#[test]
fn layers_that_share_keys_and_values_take_no_memory_for_them() {
    let arch = Architecture::read(&golden("gemma4-e2b"), None).unwrap();
    let layers: Vec<&[usize]> = arch.cache_groups.iter().map(|group| &group.layers[..]).collect();
    assert_eq!(layers, [&[0, 1][..], &[2]]);
    // Two windowed layers with heads of 16, a full one with a head of 32; keys and values.
    assert_eq!(arch.kv_bytes_per_position(KvType::F16), 2 * 2 * (2 * 16 + 32));
}

#[test]
fn the_last_of_several_stages_samples_on_its_device_and_chains_no_steps() {
    let file = golden("qwen2");
    let mut whole = staged_on(&file, &[], Reference::that_chooses).unwrap();
    assert!(whole.chooses() && whole.chaining().is_some());
    let mut stages = staged_on(&file, &[1], Reference::that_chooses).unwrap();
    assert!(stages.chooses() && stages.chaining().is_none());
    let (expected, found) = (results(&mut *whole), results(&mut *stages));
    assert_eq!(expected.1.len(), 8);
    assert_eq!(found, expected);
}

#[test]
fn feed_forward_networks_elsewhere_give_the_bits_of_those_here() {
    let files = ["qwen2", "qwen3moe", "gemma3", "mixtral", "gemma4-e2b", "gemma4-moe"].map(golden);
    for file in files.iter().chain([&uneven_layers()]).chain(&mixtures()) {
        let whole = results(&mut *staged(file, &[]).unwrap());
        for n in [1, 3] {
            assert_eq!(results(&mut *with_ffns_elsewhere(file, n).unwrap()), whole, "{n} elsewhere");
        }
    }
}

#[test]
fn all_stages_report_to_one_heartbeat() {
    let mut model = staged(&golden("qwen2"), &[1, 2]).unwrap();
    let heartbeat = model.heartbeat().unwrap();
    let mut batch = Batch::default();
    batch.push(&[9, 8, 7], 0, &[&[PageId(0)][..]], Want::Logits);
    model.step(&batch).unwrap();
    assert_eq!(heartbeat.count(), model.architecture().layers.len() as u64 + 1);
    model.beat(std::sync::Arc::default());
    model.step(&batch).unwrap();
    assert_eq!(heartbeat.count(), model.architecture().layers.len() as u64 + 1);
}

#[test]
fn tensors_without_a_place_in_any_stage_are_refused() {
    let file = golden("qwen2");
    let arch = Architecture::read(&file, None).unwrap();
    let mut tensors = Tensors::new(&file, &arch);
    let share = Share::layers(0..2);
    Transformer::load_share(&mut tensors, share, Reference::default(), &room(&arch)).unwrap();
    let error = tensors.finish().unwrap_err().to_string();
    assert!(error.contains("has no place in a `qwen2` model"), "{error}");
}

#[test]
fn a_layer_without_rotation_knows_no_order_of_keys() {
    let file = first_layers(&golden("llama"), 1);
    let last_row = |rotates: bool, tokens: [u32; 3]| {
        let mut arch = Architecture::read(&file, None).unwrap();
        let Some(MixerShape::Attention(attention)) = &mut arch.layers[0].mixer else { panic!("it attends") };
        attention.rope_idx = rotates.then_some(0);
        let room = room(&arch);
        let mut model = Transformer::load(&file, arch, Reference::default(), &room).unwrap();
        let mut batch = Batch::default();
        batch.push(&tokens, 0, &[&[PageId(0)][..]], Want::Logits);
        model.step(&batch).unwrap().logits(2).unwrap().to_vec()
    };
    let difference = |rotates| {
        let (there, back) = (last_row(rotates, [5, 9, 7]), last_row(rotates, [9, 5, 7]));
        there.iter().zip(&back).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()))
    };
    assert!(difference(false) < 1e-4, "{}", difference(false));
    assert!(difference(true) > 1e-3, "{}", difference(true));
}
