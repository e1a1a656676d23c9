//! The program on a GPU, and without one.

use inferno_wgpu::{Choice, Gpu};

use crate::inferno;

fn build_uses_gpus() -> bool {
    !inferno(&["doctor"]).ok().contains("this build uses no GPU")
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
fn the_doctor_lists_what_computes_and_what_fits() {
    let text = inferno(&["doctor"]).ok();
    for part in ["scalar", "memory ", "GB/s", "8B Q4_K_M", "users of 4,096 tokens"] {
        assert!(text.contains(part), "{text}");
    }
    if has_gpu() {
        assert!(text.contains("GPUs       0  "), "{text}");
    }
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
