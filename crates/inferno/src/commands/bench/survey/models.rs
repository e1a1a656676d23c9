//! The models of a report, and whether this machine has the memory and the speed for them.

use anyhow::{Context, Result};
use inferno_format::DType;
use inferno_model::architecture::Architecture;

use super::row::Limits;
use super::{N_STEPS, Work};
use crate::cli::{Encoding, ModelFile};
use crate::commands::doctor::Cut;
use crate::commands::synth;
use crate::kv_memory::{self, shown};
use crate::load::{self, Opened, Target};

/// Bytes beside weights, keys and values.
const BUFFERS: u64 = 512 << 20;
/// A step takes about this many times as long as reading its bytes, on a device that is not well used. A model whose step
/// takes more than [`SLOWEST`] seconds by this measure is left out.
const TIMES: f64 = 10.0;
const SLOWEST: f64 = 4.0;

const ONE: Work = decode(0, 1);
const PROMPT: Work = Work::Prompt { n_tokens: 512 };

const fn decode(depth: usize, n_sequences: usize) -> Work {
    Work::Decode { n_steps: N_STEPS, depth, n_sequences }
}

/// Presets, their types, and the work in an order in which the first rows tell how long later ones take.
const ALL: [(&str, Encoding, &[Work]); 3] = [
    (
        "qwen3-0.6b",
        Encoding::One(DType::Q8_0),
        &[ONE, PROMPT, decode(0, 8), decode(0, 32), decode(4096, 1), Work::Prompt { n_tokens: 8192 }],
    ),
    ("qwen3-0.6b", Encoding::One(DType::BF16), &[ONE, PROMPT, decode(0, 32)]),
    ("qwen3-8b", Encoding::One(DType::Q4_K), &[ONE, PROMPT, decode(0, 32)]),
];

/// A model of the report.
pub(super) struct Shape {
    pub(super) title: String,
    pub(super) works: &'static [Work],
    from: Origin,
}

enum Origin {
    Preset(&'static str, Encoding),
    File(ModelFile),
}

/// The models to measure: the one that is named, or the usual ones.
pub(super) fn asked(model: &ModelFile) -> Vec<Shape> {
    if let Some(path) = &model.model {
        let title = path.display().to_string();
        return vec![Shape { title, works: ALL[0].2, from: Origin::File(model.clone()) }];
    }
    let shape = |(preset, encoding, works): (&'static str, Encoding, &'static [Work])| Shape {
        title: format!("{preset} {encoding}"),
        works,
        from: Origin::Preset(preset, encoding),
    };
    ALL.into_iter().map(shape).collect()
}

impl Shape {
    /// The reason why the model is not measured here; `None` if it is.
    pub(super) fn reason_against(&self, target: &Target, limits: &Limits) -> Result<Option<String>> {
        let Origin::Preset(preset, encoding) = self.from else { return Ok(None) };
        let whole = outline(preset, encoding)?;
        let arch = whole.architecture(None)?;
        let weights: u64 = whole.file.tensors().iter().map(|t| t.n_bytes).sum();
        let kv_type = target.kv_type(&whole);
        let n_positions = super::Plan::of(self.works).n_pages(&arch, 0);
        let kv: u64 = arch
            .cache_groups
            .iter()
            .zip(n_positions)
            .map(|(group, n_pages)| (group.page_bytes(kv_type) * n_pages) as u64)
            .sum();
        // On the way to the device a model is in memory twice.
        let on_gpu = target.share_of_devices(weights + kv + BUFFERS);
        let needs = if on_gpu.is_some() { weights + BUFFERS } else { 2 * weights + kv + BUFFERS };
        if let Some(free) = kv_memory::available().filter(|&free| free < needs) {
            return Ok(Some(format!("it takes {} of memory, {} is free", shown(needs), shown(free))));
        }
        if on_gpu.is_some_and(|share| share < 1.0) {
            let needs = shown(weights + kv + BUFFERS);
            return Ok(Some(format!("it takes {needs} of the GPU's memory, which has less")));
        }
        let step = TIMES * weights as f64 / limits.read;
        Ok((step > SLOWEST).then(|| {
            format!("its weights are {}, and the device reads {:.1} GB/s", shown(weights), limits.read / 1e9)
        }))
    }

    /// The model: in memory, or a file.
    pub(super) fn open(&self) -> Result<Opened> {
        match &self.from {
            Origin::File(model) => load::open(model),
            Origin::Preset(preset, encoding) => {
                let whole = outline(preset, *encoding)?;
                let arch: Architecture = whole.architecture(None)?;
                let file = Cut::of(&whole.file, &arch, u64::MAX).model(&whole.file, &arch)?;
                Ok(Opened::without_path(self.title.clone(), file))
            }
        }
    }
}

/// A preset without its weights.
fn outline(preset: &str, encoding: Encoding) -> Result<Opened> {
    let file = synth::outline(preset, encoding)?.context("the preset is there")?;
    Ok(Opened::without_path(preset.into(), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_of_the_report_has_room_for_its_work() {
        for shape in asked(&ModelFile::default()) {
            let Origin::Preset(preset, encoding) = shape.from else { panic!("a preset") };
            let arch = outline(preset, encoding).unwrap().architecture(None).unwrap();
            assert!(shape.works.iter().all(|work| work.n_positions() <= arch.context_len), "{}", shape.title);
        }
    }

    #[test]
    fn a_model_that_would_be_too_slow_is_left_out() {
        let shapes = asked(&ModelFile::default());
        let slow = Limits { read: 1e9, ..Limits::default() };
        let why = |shape: &Shape, limits| shape.reason_against(&Target::best(), limits).unwrap();
        assert!(why(&shapes[2], &slow).is_some());
        let why = why(&shapes[0], &slow).unwrap_or_default();
        assert!(why.contains("reads 1.0 GB/s") || why.contains("is free"), "{why}");
    }
}
