//! Every operation against the reference, and rows that do not depend on the batch, bit for bit.
//!
//! A driver that compiles for a processor takes half a second for a kernel: as many as find an ordinary mistake are compiled, and all
//! with `INFERNO_THOROUGH=1`.

use inferno_format::{DType, Gguf};
use inferno_model::conformance::{
    Group, check_made_up, check_models, check_operations, delta_net_layers, latent_layers, mixtures,
    uneven_layers,
};
use xtask::testing::is_thorough;

use inferno_wgpu::{PROMISE, Wgpu};

use crate::{backend, gpu};

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
    if is_thorough() {
        return check_operations(cut, PROMISE);
    }
    for group in [Group::Products(DType::Q4_K), Group::FewProducts(DType::F32)] {
        assert_eq!(group.check(cut, PROMISE), Ok(()), "{group:?}");
    }
}

#[test]
fn operations_are_near_the_reference() {
    let Some(gpu) = gpu() else { return };
    let new = || Wgpu::new(gpu.share()).unwrap();
    for group in if is_thorough() { Group::all() } else { Group::few() } {
        assert_eq!(group.check(new, PROMISE), Ok(()), "{group:?}");
    }
}

#[test]
fn made_up_models_are_near_the_reference() {
    if backend().is_some() {
        check_made_up(|| backend().unwrap(), PROMISE);
    }
}

#[test]
fn sequences_are_the_same_in_any_company() {
    if backend().is_none() {
        return;
    }
    let golden =
        |name: &&str| Gguf::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap();
    // Attention, experts and every kind of states.
    let mut models = vec![golden(&"nemotron-h"), delta_net_layers(false)];
    if is_thorough() {
        let others = ["qwen3", "qwen3moe", "gemma3", "llama", "phi3", "gemma2", "gemma4-e2b"];
        models.extend(others.iter().map(golden));
        // Those in integers; the others are checked as operations.
        models.extend(mixtures().into_iter().skip(3));
        models.extend([latent_layers(true), uneven_layers()]);
    }
    check_models(|| backend().unwrap(), &models);
}
