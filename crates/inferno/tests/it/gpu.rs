//! The program on a GPU, and without one.

use inferno_wgpu::{Choice, Gpu};

use crate::{golden, inferno};

fn build_uses_gpus() -> bool {
    !inferno(&["run", "--device", "no such card", "hello"]).stderr.contains("--features wgpu")
}

/// A test of the program with a GPU: the build has to use one, and the machine to have one.
fn has_gpu() -> bool {
    if !build_uses_gpus() {
        // The tests are run with the feature `wgpu` too, in a step of their own.
        xtask::testing::skip("wgpu-feature", "this build of the program uses no GPU");
        return false;
    }
    match Gpu::open(&Choice::Best) {
        Ok(_) => true,
        Err(e) => {
            xtask::testing::skip("wgpu", &e.to_string());
            false
        }
    }
}

/// The first 24 tokens: later two are as good as equal (17.86 and 17.84), and a GPU may round an activation the other way.
const GREEDY: [&str; 6] =
    ["run", "--temperature", "0", "--max-tokens", "24", "Tell me a story about a dragon."];

#[test]
fn a_gpu_says_what_the_processor_says() {
    if !has_gpu() {
        return;
    }
    let cpu = inferno(&[&GREEDY[..], &["--backend", "cpu"]].concat()).ok();
    assert!(cpu.len() > 70, "{cpu}");
    for layers in ["auto", "2", "0"] {
        let gpu = inferno(&[&GREEDY[..], &["--backend", "wgpu", "--gpu-layers", layers]].concat());
        assert_eq!(gpu.code, Some(0), "{}", gpu.stderr);
        assert_eq!(gpu.stdout, cpu, "{layers} layers");
    }
}

#[test]
fn layers_over_several_gpus_give_the_logits_of_one() {
    if !has_gpu() {
        return;
    }
    // The same adapter is two devices if it is opened twice.
    let logits =
        |flags: &[&str]| inferno(&[&["logits", "--tokens", "5,6,7,8,9,10,11,12"][..], flags].concat()).ok();
    let one = logits(&["--device", "0"]);
    assert_eq!(logits(&["--device", "0,0"]), one);
    assert_eq!(logits(&["--device", "0,0", "--tensor-split", "1,3"]), one);
    let several = ["--device", "0,0,0", "--tensor-split", "3,0,1", "--gpu-layers", "5"];
    assert_eq!(logits(&several), logits(&["--device", "0", "--gpu-layers", "5"]));
}

#[test]
fn shares_that_fit_no_devices_are_refused() {
    if !has_gpu() {
        return;
    }
    for (flags, expected) in [
        (
            &["--device", "0,0", "--tensor-split", "1,2,3"][..],
            "a share for each of 3 GPUs, but `--device` names 2",
        ),
        (&["--device", "0,0", "--tensor-split", "0,0"], "gives no GPU a share"),
        (&["--device", "0,77"], "there is no device `77`"),
        (&["--tensor-split", "1,x"], "expected numbers from zero on, like 3,2"),
        (&["--backend", "cpu", "--tensor-split", "1,2"], "`--backend cpu` uses no GPU"),
    ] {
        let failed = inferno(&[&["run", "hello"][..], flags].concat());
        assert_ne!(failed.code, Some(0));
        assert!(failed.stderr.contains(expected), "{flags:?}: {}", failed.stderr);
    }
}

#[test]
fn experts_on_the_processor_give_the_tokens_of_those_on_the_gpu() {
    if !has_gpu() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("experts.gguf");
    let file = file.to_str().unwrap();
    inferno(&["synth", "tiny-qwen3moe", file]).ok();
    let logits = |flags: &[&str]| -> Vec<f64> {
        let tokens = ["logits", "-m", file, "--tokens", "5,6,7,8,9,10,11,12"];
        let text = inferno(&[&tokens[..], &["--backend", "wgpu"], flags].concat()).ok();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["7"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let expected = logits(&[]);
    let largest = expected.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    for flags in [&["--cpu-moe"][..], &["--n-cpu-moe", "1"], &["--n-cpu-moe", "1", "--device", "0,0"]] {
        for (found, expected) in logits(flags).iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-3 * largest, "{flags:?}: {found} for {expected}");
        }
    }
}

#[test]
fn a_model_without_experts_keeps_none_on_the_processor() {
    if !has_gpu() {
        return;
    }
    let said = inferno(&["run", "--max-tokens", "1", "--backend", "wgpu", "--cpu-moe", "hello"]);
    assert_eq!(said.code, Some(0));
    assert!(said.stderr.contains("warning: the model has no experts"), "{}", said.stderr);
}

#[test]
fn the_doctor_lists_what_computes_and_what_fits() {
    let text = inferno(&["doctor"]).ok();
    for part in ["scalar", "memory ", "GB/s", "GFLOP/s in prompts", "smollm2:135m", "First token"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(text.contains("this build uses no GPU"), !build_uses_gpus(), "{text}");
    if has_gpu() {
        assert!(text.contains("GPUs       0  "), "{text}");
    }
}

#[test]
fn a_forecast_is_made_of_files_and_of_shapes_that_are_not_here() {
    let model = golden("qwen3");
    let said = inferno(&["doctor", "--json", "--backend", "cpu", &model, "tiny-qwen3moe:q8_0"]).ok();
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let forecasts = json["forecasts"].as_array().unwrap();
    assert_eq!(forecasts.len(), 2, "{said}");
    for forecast in forecasts {
        assert_eq!(forecast["fits"], "yes", "{said}");
        for key in
            ["decode_tokens_per_s", "prompt_tokens_per_s", "time_to_first_token_s", "users_of_4096_tokens"]
        {
            assert!(forecast[key].as_f64().unwrap() > 0.0, "{key}: {said}");
        }
    }
    assert!(json["memory"]["stream_gb_per_s"].as_f64().unwrap() > 0.0, "{said}");
    let error = inferno(&["doctor", "no-such-model"]).error();
    assert!(error.contains("`no-such-model` is not a GGUF file here"), "{error}");
}

#[test]
fn the_doctor_checks_an_instruction_set() {
    let said = inferno(&["doctor", "--check", "--json", "--isa", "scalar"]).ok();
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["failed"], 0, "{said}");
    let kinds: Vec<&str> = json["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["operations"].as_str().unwrap())
        .collect();
    for kind in ["products", "attention", "models", "1 to 512 rows"] {
        assert!(kinds.contains(&kind), "{said}");
    }
    let message = inferno(&["doctor", "--check", "qwen3:4b"]);
    assert_ne!(message.code, Some(0));
}

#[test]
fn a_device_that_is_not_there_is_named() {
    if !has_gpu() {
        return;
    }
    let message = inferno(&["run", "--device", "no such card", "hello"]).error();
    assert!(
        message
            .starts_with("there is no device `no such card`, expected a number or a part of a name of: 0 ")
    );
    let message = inferno(&["run", "--device", "77", "hello"]).error();
    assert!(message.starts_with("there is no device `77`"), "{message}");
}

#[test]
fn a_build_without_gpus_says_how_to_get_one_with_them() {
    if build_uses_gpus() {
        return;
    }
    for args in [["--backend", "wgpu"], ["--device", "0"]] {
        let message = inferno(&[&["run", "hello"][..], &args].concat()).error();
        assert!(message.contains("--features wgpu"), "{message}");
    }
    // As in llama.cpp, a number of layers alone is only warned of.
    for (layers, is_warned) in [("99", true), ("0", false), ("auto", false), ("all", false), ("-1", false)] {
        let ran = inferno(&["run", "-n", "1", "-ngl", layers, "hello"]);
        assert_eq!(
            ran.stderr.contains("all layers are computed by the processor"),
            is_warned,
            "{}",
            ran.stderr
        );
        ran.ok();
    }
}

#[test]
fn backends_of_other_programs_are_explained() {
    let ran = inferno(&["run", "--backend", "cuda", "hello"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("no cuda backend: GPUs compute through wgpu"), "{}", ran.stderr);
}
