//! The numbers that a family's row adds to those of a file.

use inferno_format::{Array, Gguf, GgufWriter, Metadata, Value};
use inferno_model::architecture::Architecture;
use inferno_model::error::LoadError;
use inferno_model::rope::{Angles, Pairing};

/// The architecture of a file with five layers of that family, and these keys beside the usual ones.
fn read(family: &str, keys: &[(&str, Value)]) -> Architecture {
    try_read(family, keys).unwrap()
}

fn try_read(family: &str, keys: &[(&str, Value)]) -> Result<Architecture, LoadError> {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::String(family.into()));
    let usual = [
        ("block_count", 5),
        ("context_length", 512),
        ("embedding_length", 64),
        ("feed_forward_length", 96),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 16),
        ("vocab_size", 40),
    ];
    let usual = usual.map(|(key, n)| (key, Value::U32(n)));
    let eps = [("attention.layer_norm_rms_epsilon", Value::F32(1e-5))];
    for (key, value) in usual.iter().chain(&eps).chain(keys) {
        metadata.set(format!("{family}.{key}"), value.clone());
    }
    let writer = GgufWriter::new(Vec::new(), &metadata, &[]).unwrap();
    Architecture::read(&Gguf::from_bytes(writer.finish().unwrap()).unwrap(), None)
}

/// The rotation of every layer, and whether it has a window.
fn layers(arch: &Architecture) -> Vec<(Option<usize>, bool)> {
    let attention = arch.layers.iter().map(|layer| layer.attention().unwrap());
    attention.map(|a| (a.rope_idx, a.window.is_some())).collect()
}

fn angles(arch: &Architecture, rope: usize, positions: &[u32]) -> Angles {
    let mut angles = Angles::new(&arch.ropes[rope]);
    angles.fill(&arch.ropes[rope], positions);
    angles
}

/// YaRN from 32 positions to 16 times as many.
fn yarn() -> Vec<(&'static str, Value)> {
    vec![
        ("rope.scaling.type", Value::String("yarn".into())),
        ("rope.scaling.factor", Value::F32(16.0)),
        ("rope.scaling.original_context_length", Value::U32(32)),
    ]
}

#[test]
fn some_layers_do_not_rotate() {
    let (windowed, rotated, plain) = ((Some(0), true), (Some(0), false), (None, false));
    assert_eq!(layers(&read("smollm3", &[])), [rotated, rotated, rotated, plain, rotated]);
    assert_eq!(layers(&read("exaone4", &[])), [rotated; 5]);
    let window = [("attention.sliding_window", Value::U32(8))];
    assert_eq!(layers(&read("exaone4", &window)), [windowed, windowed, windowed, plain, windowed]);
    let pattern = Value::Array(Array::Bool(vec![true, false, true, false, true]));
    let keys = [window[0].clone(), ("attention.sliding_window_pattern", pattern)];
    assert_eq!(layers(&read("exaone4", &keys)), [windowed, plain, windowed, plain, windowed]);
    assert_eq!(layers(&read("granite", &[])), [rotated; 5]);
    let finetuned = |is: bool| [("rope.scaling.finetuned", Value::Bool(is))];
    assert_eq!(layers(&read("granite", &finetuned(true))), [rotated; 5]);
    assert_eq!(layers(&read("granite", &finetuned(false))), [plain; 5]);
    // Elsewhere the key only says how a file came about.
    assert_eq!(layers(&read("llama", &finetuned(false))), [rotated; 5]);
}

#[test]
fn windowed_layers_of_olmo_keep_their_rotation_where_full_ones_are_scaled() {
    let window = ("attention.sliding_window", Value::U32(8));
    let plain = read("olmo2", std::slice::from_ref(&window));
    let scaled = read("olmo2", &[yarn(), vec![window]].concat());
    assert_eq!(layers(&scaled)[2..], [(Some(1), true), (Some(0), false), (Some(1), true)]);
    let at = |arch, rope| angles(arch, rope, &[100]).cos;
    assert_eq!(at(&scaled, 1), at(&plain, 0));
    assert_ne!(at(&scaled, 0), at(&plain, 0));
}

#[test]
fn glm4_rotates_halves_where_rotations_have_sections() {
    let sections = |n| [("rope.dimension_sections", Value::Array(Array::I32(vec![n, n, n, 0])))];
    let pairing = |keys: &[(&str, Value)]| read("glm4", keys).ropes[0].pairing;
    assert_eq!(pairing(&[]), Pairing::Adjacent);
    assert_eq!(pairing(&sections(0)), Pairing::Adjacent);
    assert_eq!(pairing(&sections(4)), Pairing::Halves);
}

#[test]
fn yarn_multiplies_by_its_usual_magnitude_or_by_a_ratio() {
    let cos = |family, keys: &[(&'static str, Value)]| {
        angles(&read(family, &[yarn(), keys.to_vec()].concat()), 0, &[0]).cos[0]
    };
    let multiplier = |m| [("rope.scaling.yarn_log_multiplier", Value::F32(m))];
    let usual = 1.0 + 0.1 * 16.0f32.ln();
    assert!((cos("mistral3", &[]) - usual).abs() < 1e-6);
    assert!((cos("mistral3", &multiplier(1.0)) - 1.0).abs() < 1e-6);
    let half = 1.0 + 0.05 * 16.0f32.ln();
    assert!((cos("mistral3", &multiplier(0.5)) - usual / half).abs() < 1e-6);
}

#[test]
fn queries_have_scales_by_steps_of_the_length() {
    let temperature = [("attention.temperature_scale", Value::F32(0.1))];
    let keys = [yarn(), temperature.to_vec()].concat();
    let scales = angles(&read("mistral3", &keys), 0, &[0, 31, 32, 63, 96]).query_scales;
    let expected = [1.0, 1.0, 1.0 + 0.1 * 2f32.ln(), 1.0 + 0.1 * 2f32.ln(), 1.0 + 0.1 * 4f32.ln()];
    for (found, expected) in scales.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{scales:?}");
    }
    assert_eq!(scales.len(), 5);
    assert!(angles(&read("mistral3", &yarn()), 0, &[7]).query_scales.is_empty());
}

#[test]
fn granite_divides_what_others_multiply_by() {
    let keys = [
        ("logit_scale", Value::F32(4.0)),
        ("residual_scale", Value::F32(0.3)),
        ("embedding_scale", Value::F32(6.0)),
        ("attention.scale", Value::F32(0.09)),
    ];
    let granite = read("granite", &keys);
    assert_eq!((granite.logit_scale, granite.residual_scale), (Some(0.25), Some(0.3)));
    assert_eq!((granite.embedding_scale, granite.layers[0].attention().unwrap().scale), (6.0, 0.09));
    assert_eq!(read("llama", &keys).logit_scale, Some(4.0));
}

#[test]
fn keys_that_ask_for_another_model_are_refused_unless_they_are_off() {
    for (key, value, expected) in [
        (
            "attention.clamp_kqv",
            Value::F32(8.0),
            "metadata key `olmoe.attention.clamp_kqv` is f32 8, expected 0 or no such key: clamped queries, keys and values are \
             not implemented",
        ),
        (
            "use_parallel_residual",
            Value::Bool(true),
            "metadata key `olmoe.use_parallel_residual` is bool true, expected false or no such key: parallel halves of layers \
             are not implemented",
        ),
        (
            "swiglu_clamp_exp",
            Value::Array(Array::F32(vec![0.0, 7.0])),
            "metadata key `olmoe.swiglu_clamp_exp` is an array of 2 f32, expected 0 or no such key: clamped experts are not \
             implemented",
        ),
    ] {
        assert_eq!(try_read("olmoe", &[(key, value)]).unwrap_err().to_string(), expected);
    }
    for (key, value) in [
        ("attention.clamp_kqv", Value::F32(0.0)),
        ("use_parallel_residual", Value::Bool(false)),
        ("swiglu_clamp_exp", Value::Array(Array::F32(vec![0.0; 5]))),
        ("expert_group_scale", Value::U32(0)),
    ] {
        assert!(try_read("olmoe", &[(key, value)]).is_ok(), "{key}");
    }
}
