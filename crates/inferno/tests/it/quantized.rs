//! Quantized models against the same weights as floats: the cost of rounding activations to 8 bits.

use std::path::Path;

use inferno_format::{DType, Gguf, GgufWriter, NewTensor, dequantize};

use crate::inferno;

/// Kullback-Leibler divergence that rounding may cost, in nats.
const MOST: f64 = 1e-3;

/// Writes the weights of a model as F32.
fn as_floats(path: &str, out: &Path) {
    let file = Gguf::open(path.as_ref()).unwrap();
    let tensors: Vec<NewTensor> = file
        .tensors()
        .iter()
        .map(|t| NewTensor { name: t.name.clone(), dtype: DType::F32, dims: t.dims.clone() })
        .collect();
    let mut writer = GgufWriter::new(Vec::new(), file.metadata(), &tensors).unwrap();
    for tensor in file.tensors() {
        let mut numbers = vec![0.0; tensor.dims.iter().product()];
        dequantize(tensor.dtype, &file.read(tensor).unwrap(), &mut numbers).unwrap();
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        writer.append(&tensor.name, &bytes).unwrap();
    }
    std::fs::write(out, writer.finish().unwrap()).unwrap();
}

/// Logarithms of the probabilities of all tokens, at all positions.
fn log_probabilities(path: &str) -> Vec<Vec<f64>> {
    let tokens = "5,6,7,300,41,12,9,77,250,33,8,1000,2,4711,64,19";
    let json = inferno(&[
        "logits",
        "-m",
        path,
        "--tokens",
        tokens,
        "--at",
        "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "--kv",
        "f32",
    ])
    .ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let positions = json.as_object().unwrap().values();
    let logits =
        positions.map(|x| x.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>());
    let normalized = logits.map(|x| {
        let largest = x.iter().copied().fold(f64::MIN, f64::max);
        let sum = x.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() + largest;
        x.iter().map(|x| x - sum).collect()
    });
    normalized.collect()
}

/// Where the rounding of activations turns a router's choice, the answer is another expert's: of 16 positions the median counts.
#[test]
fn quantized_models_say_what_their_weights_say_as_floats() {
    let folder = tempfile::tempdir().unwrap();
    let all = std::env::var("INFERNO_PRESETS").is_ok_and(|which| which == "all");
    let cases: Vec<(&str, &str)> = match all {
        true => {
            crate::synth::SMALL.iter().flat_map(|preset| [(*preset, "q8_0"), (*preset, "q4_k")]).collect()
        }
        false => vec![("tiny-gpt-oss", "q8_0"), ("tiny-gemma4", "q4_k"), ("tiny-deepseek2", "q4_k")],
    };
    let mut wrong = Vec::new();
    for (preset, dtype) in cases {
        let path = crate::synth::synth(folder.path(), preset, dtype, &["--force"]);
        let floats = folder.path().join("floats.gguf");
        as_floats(&path, &floats);
        let expected = log_probabilities(floats.to_str().unwrap());
        let found = log_probabilities(&path);
        let divergence =
            |(p, q): (&Vec<f64>, &Vec<f64>)| -> f64 { p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum() };
        let mut all: Vec<f64> = expected.iter().zip(&found).map(divergence).collect();
        all.sort_by(f64::total_cmp);
        println!("{preset} in {dtype}: median {:.1e}, largest {:.1e}", all[8], all[15]);
        if !(-1e-9..MOST).contains(&all[8]) {
            wrong.push(format!("{preset} in {dtype}: {}", all[8]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join(", "));
}
