use super::*;

/// Parameters in billions: of text, without draft layers and without keys and values of layers that read those of others.
#[test]
fn named_models_have_their_number_of_parameters() {
    for (name, billions) in [
        ("qwen3-0.6b", 0.596),
        ("qwen3-1.7b", 1.72),
        ("qwen3-4b", 4.02),
        ("qwen3-8b", 8.19),
        ("qwen3-14b", 14.77),
        ("qwen3-32b", 32.76),
        ("qwen3-30b-a3b", 30.53),
        ("qwen3.5-4b", 4.206),
        ("qwen3.6-35b-a3b", 34.66),
        ("llama-3.2-1b", 1.236),
        ("llama-3.2-3b", 3.213),
        ("llama-3.1-8b", 8.030),
        ("mistral-small-3.2-24b", 23.57),
        ("ministral-3-3b", 3.43),
        ("ministral-3-8b", 8.49),
        ("ministral-3-14b", 13.51),
        ("gpt-oss-20b", 20.91),
        ("gpt-oss-120b", 116.83),
        ("gemma-4-e2b", 4.629),
        ("gemma-4-e4b", 7.463),
        ("gemma-4-26b-a4b", 25.23),
        ("gemma-4-31b", 30.70),
        ("deepseek-v2-lite", 15.71),
        ("glm-4.7-flash", 29.94),
        ("lfm2-1.2b", 1.170),
        ("granite-4.0-h-tiny", 6.939),
        ("nemotron-3-nano-30b-a3b", 31.58),
        ("gemma-3-270m", 0.268),
        ("gemma-3-1b", 1.000),
        ("gemma-3-4b", 3.880),
        ("gemma-3-12b", 11.77),
        ("gemma-3-27b", 27.01),
        ("mistral-7b", 7.248),
        ("phi-4", 14.66),
        ("phi-4-mini", 3.836),
        ("qwen2.5-7b", 7.616),
        ("deepseek-r1-1.5b", 1.777),
        ("smollm2-1.7b", 1.711),
        ("smollm2-360m", 0.362),
        ("smollm2-135m", 0.1345),
        ("smollm3-3b", 3.075),
    ] {
        let preset = all().find(|preset| preset.name == name).unwrap();
        let weights = preset.weights(preset.vocab_size);
        let n: usize = weights.iter().map(|w| w.dims.iter().product::<usize>()).sum();
        let found = n as f64 / 1e9;
        assert!((found / billions - 1.0).abs() < 0.004, "{name} has {found:.3}, not {billions}");
    }
}

#[test]
fn a_cut_keeps_a_full_layer_for_those_that_share_its_cache() {
    let e4b = all().find(|preset| preset.name == "gemma-4-e4b").unwrap();
    let shared = |n: usize| e4b.cut(n).gemma4.unwrap().shared_layers;
    assert_eq!([shared(42), shared(21), shared(14), shared(8), shared(2)], [18, 9, 6, 0, 0]);
}

#[test]
fn long_waves_are_stretched_and_short_ones_left() {
    let factors: Vec<f32> = (0..64).map(|i| llama3(i, 64, 8.0, 500_000.0)).collect();
    assert_eq!((factors[0], factors[28], factors[63]), (1.0, 1.0, 8.0));
    assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]));
    assert!(factors.iter().any(|&f| f > 1.0 && f < 8.0));
}
