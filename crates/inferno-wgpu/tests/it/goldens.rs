//! Whole models against float64 oracles.

use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::sample::{argmax, top_k};
use inferno_model::transformer::{KvRoom, Model, Transformer};
use inferno_wgpu::Wgpu;
use serde_json::Value;

use crate::backend;

/// What every logit may differ from float64.
const TOLERANCE: f32 = 2e-4;
/// A greedy step whose two best logits are closer than this may go either way.
const NEAR_TIE: f32 = 1e-3;

struct Sequence {
    model: Transformer<Wgpu>,
    pages: Vec<PageId>,
    n_groups: usize,
    len: usize,
}

impl Sequence {
    fn new(file: &Gguf, backend: Wgpu) -> Sequence {
        let arch = Architecture::read(file, None).unwrap();
        let n_pages = 128usize.div_ceil(PAGE_LEN);
        let n_groups = arch.cache_groups.len();
        let room = KvRoom { n_pages: vec![n_pages; n_groups], kv_type: KvType::F32 };
        let model = Transformer::load(file, arch, backend, &room).unwrap();
        Sequence { model, pages: (0..n_pages as u32).map(PageId).collect(), n_groups, len: 0 }
    }

    fn append(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let mut batch = Batch::default();
        let tables = vec![self.pages.as_slice(); self.n_groups];
        batch.push_each(tokens, self.len, &tables, &vec![Want::Logits; tokens.len()]);
        self.len += tokens.len();
        let output = self.model.step(&batch).unwrap();
        (0..tokens.len()).map(|row| output.logits(row).unwrap().to_vec()).collect()
    }
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect()
}

fn check(name: &str) {
    let Some(backend) = backend() else { return };
    let path = |ending: &str| xtask::testing::testdata(&format!("goldens/{name}.{ending}"));
    let golden: Value = serde_json::from_slice(&std::fs::read(path("json")).unwrap()).unwrap();
    let mut model = Sequence::new(&Gguf::open(&path("gguf")).unwrap(), backend);
    let logits = model.append(&ids(&golden["prompt"]));
    let mut worst = 0.0f32;
    for (position, expected) in golden["logits"].as_object().unwrap() {
        let found = &logits[position.parse::<usize>().unwrap()];
        let expected = expected.as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            worst = worst.max((found - expected.as_f64().unwrap() as f32).abs());
        }
    }
    assert!(worst <= TOLERANCE, "{name}: a logit is off by {worst}");

    let mut last = logits.last().unwrap().clone();
    let mut best = Vec::new();
    for (step, token) in ids(&golden["greedy"]).into_iter().enumerate() {
        top_k(&last, 2, &mut best);
        assert!(
            argmax(&last) == token || best[0].1 - best[1].1 < NEAR_TIE,
            "{name}: greedy step {step} gives {} instead of {token}",
            best[0].0
        );
        last = model.append(&[token]).remove(0);
    }
}

macro_rules! goldens {
    ($($test:ident: $name:literal,)*) => { $(
        #[test]
        fn $test() {
            check($name);
        }
    )* };
}

goldens! {
    llama_matches_float64: "llama",
    llama_with_scaled_rope_matches_float64: "llama3-scaled",
    mistral_matches_float64: "mistral-swa",
    mixtral_matches_float64: "mixtral",
    qwen2_matches_float64: "qwen2",
    qwen3_matches_float64: "qwen3",
    qwen3_with_its_own_output_matches_float64: "qwen3-untied",
    qwen3moe_matches_float64: "qwen3moe",
    phi3_matches_float64: "phi3",
    gemma2_matches_float64: "gemma2",
    gemma3_matches_float64: "gemma3",
    mistral_past_its_window_matches_float64: "mistral-window",
}
