use inferno_model::architecture::Architecture;

use super::*;
use crate::cli::Encoding;
use crate::commands::synth::outline;

fn whole(preset: &str) -> (Gguf, Architecture) {
    let whole = outline(preset, Encoding::Q4KM).unwrap().unwrap();
    let arch = Architecture::read(&whole, None).unwrap();
    (whole, arch)
}

#[test]
fn a_cut_is_a_model_in_the_proportions_of_the_whole() {
    let (file, arch) = whole("qwen3-4b");
    let cut = Cut::of(&file, &arch, 12 << 20);
    // 36 layers and the output matrix have 2.4 GB: a layer is more than is asked for.
    assert_eq!((cut.n_layers(), cut.share_of_experts(), cut.n_tokens), (1, 1.0, 151_936 / 36));
    let cut = Cut::of(&file, &arch, 500 << 20);
    assert_eq!((cut.layers, cut.n_tokens), (vec![2, 6, 11, 15, 20, 24, 29, 33], 151_936 * 8 / 36));
    let all = Cut::of(&file, &arch, u64::MAX);
    assert_eq!((all.n_layers(), all.n_tokens), (36, 151_936));
}

#[test]
fn cuts_of_every_kind_of_model_can_be_loaded() {
    for name in [
        "tiny-llama",
        "tiny-qwen3moe",
        "tiny-gpt-oss",
        "tiny-gemma4",
        "tiny-deepseek2",
        "tiny-phi3",
        "tiny-nemotron3",
        "tiny-lfm2",
    ] {
        let (file, arch) = whole(name);
        let n_bytes: u64 = file.tensors().iter().map(|t| t.n_bytes).sum();
        for part in [1, 3, 20] {
            let cut = Cut::of(&file, &arch, n_bytes / part);
            let model = cut.model(&file, &arch).unwrap();
            let found = Architecture::read(&model, None).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!((found.layers.len(), found.vocab_size), (cut.n_layers(), cut.n_tokens), "{name}");
        }
    }
}

#[test]
fn a_cut_names_its_recurrent_layers() {
    let tensor =
        |name: &str| NewTensor { name: name.into(), dtype: inferno_format::DType::F32, dims: vec![4, 3] };
    let names = ["blk.0.ssm_conv1d.weight", "blk.1.attn_q.weight", "blk.2.ssm_conv1d_q.weight"];
    let hybrid = inferno_format::outline(&Metadata::default(), &names.map(tensor), &[]).unwrap();
    let cut = |layers: Vec<usize>| Cut { layers, experts: None, n_tokens: 3 };
    assert_eq!(cut(vec![1, 2]).recurrent_layers(&hybrid), Some(vec![false, true]));
    let plain = inferno_format::outline(&Metadata::default(), &[tensor("blk.0.attn_q.weight")], &[]).unwrap();
    assert_eq!(cut(vec![0]).recurrent_layers(&plain), None);
}

#[test]
fn a_mixture_too_large_for_a_cut_keeps_some_of_its_experts() {
    let (file, arch) = whole("qwen3-30b-a3b");
    let layer: u64 = file.tensors().iter().filter(|t| t.name.starts_with("blk.0.")).map(|t| t.n_bytes).sum();
    let cut = Cut::of(&file, &arch, layer / 4);
    assert_eq!((cut.n_layers(), cut.experts.map(|e| e.0)), (1, Some(128)));
    assert!((0.12..0.26).contains(&cut.share_of_experts()), "{}", cut.share_of_experts());
    // Eight are used: a cut has twice as many at least.
    assert_eq!(Cut::of(&file, &arch, 1 << 20).experts, Some((128, 16)));
}
