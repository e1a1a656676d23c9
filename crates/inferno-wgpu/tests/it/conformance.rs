//! Every operation against the reference, and rows that do not depend on the batch, bit for bit.

use inferno_format::{DType, Gguf};
use inferno_model::conformance::{
    Group, check_made_up, check_models, check_operations, delta_net_layers, latent_layers, mixtures,
    uneven_layers,
};

use inferno_wgpu::{PROMISE, Wgpu};

use crate::{backend, gpu, is_all};

/// Types whose products are compared in every way; those of others with 1 and 33 rows. A driver that compiles for a processor
/// takes a second for a kernel: `INFERNO_GOLDENS=all` is for all types.
fn thorough() -> &'static [DType] {
    if is_all() { DType::ALL } else { &[DType::F32, DType::Q8_0, DType::Q4_K, DType::Q6_K, DType::MXFP4] }
}

/// Products; `INFERNO_GOLDENS=all` has all operations.
#[test]
fn tensors_in_parts_and_other_variants_are_near_the_reference() {
    let Some(gpu) = gpu() else { return };
    let cut = || {
        let mut gpu = gpu.share();
        // An expert of the largest type is as large.
        gpu.cut_tensors_at(256 << 10);
        let mut backend = Wgpu::new(gpu).unwrap();
        backend.take_other_variants();
        backend
    };
    if is_all() {
        return check_operations(cut, PROMISE, thorough());
    }
    for dtype in thorough() {
        assert_eq!(Group::Products(*dtype).check(cut, PROMISE), Ok(()), "{dtype}");
    }
}

#[test]
fn operations_are_near_the_reference() {
    if backend().is_some() {
        check_operations(|| backend().unwrap(), PROMISE, thorough());
        check_made_up(|| backend().unwrap(), PROMISE);
    }
}

#[test]
fn sequences_are_the_same_in_any_company() {
    if backend().is_none() {
        return;
    }
    let others: &[&str] = if is_all() { &["llama", "phi3", "gemma2", "gemma4-e2b"] } else { &[] };
    let golden =
        |name: &&str| Gguf::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap();
    let mut models: Vec<Gguf> =
        ["qwen3", "qwen3moe", "gemma3", "nemotron-h"].iter().chain(others).map(golden).collect();
    // Those in integers; the others are checked as operations.
    models.extend(mixtures().into_iter().skip(3));
    models.extend([latent_layers(true), uneven_layers(), delta_net_layers(false)]);
    check_models(|| backend().unwrap(), &models);
}

#[test]
fn groups_of_the_checks_say_what_they_found() {
    let Some(gpu) = gpu() else { return };
    let new = || Wgpu::new(gpu.share()).unwrap();
    let of_models =
        Group::all().into_iter().filter(|group| ["models", "1 to 512 rows"].contains(&group.kind()));
    for group in of_models {
        assert_eq!(group.check(new, PROMISE), Ok(()), "{group:?}");
    }
}
