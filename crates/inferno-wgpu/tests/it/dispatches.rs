//! The number of dispatches of a layer.

use std::time::Instant;

use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::{Backend, KvType};
use inferno_model::batch::{Batch, PageId, Want};
use inferno_model::model::{KvRoom, Model};
use inferno_model::profile::{Profile, Profiled};
use inferno_model::transformer::Transformer;

use crate::backend;

/// The dispatches of a step with `n_rows` rows: in a layer by kernel, and those that a step has once. `None` if the device has no
/// clock to count them by.
fn dispatches(file: &Gguf, n_rows: usize) -> Option<(Vec<(&'static str, u64)>, u64)> {
    let mut b = backend()?;
    if b.time_kernels().is_none() {
        xtask::testing::skip("dispatches", "the device has no clock");
        return None;
    }
    let profile = Profile::default();
    let arch = Architecture::read(file, None).unwrap();
    let (n_layers, n_groups) = (arch.layers.len() as u64, arch.cache_groups.len());
    let room = KvRoom { n_pages: vec![2; n_groups], kv_type: KvType::F16 };
    let mut model = Transformer::load(file, arch, Profiled::new(b, profile.clone()), &room).unwrap();
    let mut batch = Batch::default();
    batch.push(&vec![1; n_rows], 0, &vec![&[PageId(0), PageId(1)][..]; n_groups], Want::Logits);
    model.step(&batch).unwrap();
    let (mut each, mut once) = (Vec::new(), 0);
    for time in profile.take() {
        if time.n_calls >= n_layers {
            each.push((time.op.name, time.n_calls / n_layers));
        }
        once += time.n_calls % n_layers;
    }
    each.sort_unstable();
    Some((each, once))
}

fn golden(name: &str) -> Gguf {
    Gguf::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap()
}

fn ember() -> Gguf {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../inferno/models/ember/ember-q8_0.gguf");
    Gguf::open(path.as_ref()).unwrap()
}

#[test]
fn a_layer_of_a_decoded_row_is_five_dispatches() {
    let Some((each, once)) = dispatches(&ember(), 1) else { return };
    // Norm with queries to values; heads with attention; output; norm with gate and up; activation with down.
    assert_eq!(each, [("attend", 1), ("glu_matmul", 1), ("matmul_few", 1), ("norm_matmul", 2)]);
    // Embedding, the row that wants logits, its norm, its logits.
    assert_eq!(once, 4);
}

#[test]
fn a_layer_of_many_rows_is_nine_dispatches() {
    let Some((each, once)) = dispatches(&ember(), 40) else { return };
    // Norm, queries to values, heads, attention, output; norm, gate and up, their product, down.
    assert_eq!(each, [("attend", 1), ("glu", 1), ("heads", 1), ("matmul_many", 4), ("rms_norm", 2)]);
    assert_eq!(once, 4);
}

#[test]
fn experts_are_added_to_the_residual_stream_where_they_are_summed() {
    let Some((each, _)) = dispatches(&golden("qwen3moe"), 1) else { return };
    assert_eq!(each.iter().map(|(_, n)| n).sum::<u64>(), 11, "{each:?}");
    assert!(!each.iter().any(|(name, _)| *name == "add"), "{each:?}");
}

#[test]
fn norms_after_a_half_layer_are_two_dispatches_more() {
    let Some((each, _)) = dispatches(&golden("gemma3"), 1) else { return };
    assert_eq!(each.iter().map(|(_, n)| n).sum::<u64>(), 9, "{each:?}");
}

/// Kernels of many steps, of which some are timed, and the time of the steps by the host's clock.
#[test]
fn the_parts_of_a_profile_add_up_to_its_steps() {
    let Some(mut b) = backend() else { return };
    if b.time_kernels().is_none() {
        return xtask::testing::skip("dispatches", "the device has no clock");
    }
    const N_STEPS: usize = 12;
    let (file, profile) = (ember(), Profile::default());
    let arch = Architecture::read(&file, None).unwrap();
    let n_groups = arch.cache_groups.len();
    let room = KvRoom { n_pages: vec![2; n_groups], kv_type: KvType::F16 };
    let mut model = Transformer::load(&file, arch, Profiled::new(b, profile.clone()), &room).unwrap();
    let mut start = Instant::now();
    for position in 0..=N_STEPS {
        let mut batch = Batch::default();
        batch.push(&[1], position, &vec![&[PageId(0), PageId(1)][..]; n_groups], Want::Logits);
        model.step(&batch).unwrap();
        // The first one compiles.
        if position == 0 {
            profile.take();
            start = Instant::now();
        }
    }
    let whole = start.elapsed().as_secs_f64();
    let times = profile.take();
    let parts: f64 = times.iter().map(|time| time.time.as_secs_f64()).sum();
    assert!((0.3..1.2).contains(&(parts / whole)), "{parts} of {whole}: {times:?}");
    assert!(times.iter().all(|time| (1..=time.n_calls).contains(&time.n_timed)), "{times:?}");
}
