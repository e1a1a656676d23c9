//! The forecast beside the measurement it foretells.

use std::fs::File;
use std::io::BufWriter;
use std::num::NonZeroUsize;
use std::path::Path;

use inferno_model::architecture::Architecture;

use super::cut::Cut;
use super::*;
use crate::commands::bench::{Plan, Runner, Samples, Work};
use crate::load::{self, BackendChoice};

/// Shapes whose forecasts are compared: preset, layers, type.
const SHAPES: [(&str, usize, Encoding); 3] = [
    ("qwen3-0.6b", 28, Encoding::One(DType::Q8_0)),
    ("qwen3-4b", 10, Encoding::Q4KM),
    ("qwen3-30b-a3b", 2, Encoding::Q4KM),
];

/// The same for a GPU that may be software: layers, and tokens of the longest prompt.
const FEWER: [usize; 3] = [7, 2, 1];
const SHORT: usize = 128;

/// Largest error of a forecast.
const MOST: f64 = 0.25;

/// Takes a minute for each backend, on an idle machine: `INFERNO_TEST_FORECAST=cpu,wgpu` runs it.
#[test]
fn forecasts_are_near_what_bench_measures() {
    let Some(backends) = std::env::var("INFERNO_TEST_FORECAST").ok() else {
        return xtask::testing::skip("forecast", "INFERNO_TEST_FORECAST names no backend");
    };
    let folder = tempfile::tempdir().unwrap();
    let mut errors = Vec::new();
    for backend in backends.split(',') {
        let backend = if backend == "wgpu" { BackendChoice::Wgpu } else { BackendChoice::Cpu };
        let threads = NonZeroUsize::new(2);
        let compute = Compute { backend, threads, ..Compute::default() };
        for ((preset, n_layers, encoding), fewer) in SHAPES.into_iter().zip(FEWER) {
            let is_gpu = backend == BackendChoice::Wgpu;
            let (n_layers, n_tokens) = if is_gpu { (fewer, SHORT) } else { (n_layers, 512) };
            let path = folder.path().join("model.gguf");
            let whole = synth::outline(preset, encoding).unwrap().unwrap();
            let arch = Architecture::read(&whole, None).unwrap();
            let file = BufWriter::new(File::create(&path).unwrap());
            Cut::first_layers(n_layers, &arch).write(&whole, &arch, file).unwrap();
            errors.extend(errors_of(&path, &compute, &format!("{preset} {encoding} {backend:?}"), n_tokens));
            std::fs::remove_file(&path).unwrap();
        }
    }
    let wrong: Vec<_> = errors.iter().filter(|(_, error)| error.abs() > MOST).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Errors of the forecast for decoding and for a prompt, both measured in turn with the whole model.
fn errors_of(path: &Path, compute: &Compute, title: &str, n_tokens: usize) -> [(String, f64); 2] {
    let opened = load::open_file(path).unwrap();
    let arch = opened.architecture((n_tokens < 512).then_some(n_tokens)).unwrap();
    let budget = Found::at_once().budget();
    let mut measuring = Measuring::start(&opened, &arch, compute, budget).unwrap().unwrap();

    let n_steps = n_tokens / 16;
    let works = [Work::Decode { n_steps, depth: 0, n_sequences: 1 }, Work::Prompt { n_tokens }];
    let plan = Plan::of(&works);
    let n_pages = plan.n_pages(&arch, 0);
    let model = opened.model(arch, n_pages, compute.target().unwrap(), None).unwrap();
    let mut runner = Runner::new(model, 1, 512);
    for item in &plan.items {
        runner.prepare(item).unwrap();
    }
    let mut measured = [const { Samples(Vec::new()) }; 2];
    for _ in 0..if n_tokens < 512 { 3 } else { 5 } {
        measuring.round().unwrap();
        for (samples, item) in measured.iter_mut().zip(&plan.items) {
            let sample = runner.sample(item).unwrap().unwrap();
            samples.0.push(item.work.n_tokens() as f64 / sample.seconds);
        }
    }
    let speed = measuring.speed();
    let compared = [("decode", speed.decode, &measured[0]), ("prompt", speed.prompt, &measured[1])];
    compared.map(|(what, forecast, measured)| {
        let error = forecast / measured.median() - 1.0;
        let measured = measured.text(|x| format!("{x:.2}"));
        println!("{title}: {what} {forecast:.2}, measured {measured} ({:+.0} %)", 100.0 * error);
        (format!("{title}: {what}"), error)
    })
}
