//! Every operation against the reference, and rows that do not depend on the batch, bit for bit.

use inferno_format::Gguf;
use inferno_model::conformance::{
    Group, check_made_up, check_models, check_operations, delta_net_layers, latent_layers, mixtures,
    uneven_layers,
};

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
    check_operations(cut, PROMISE);
}

#[test]
fn operations_are_near_the_reference() {
    if backend().is_some() {
        check_operations(|| backend().unwrap(), PROMISE);
        check_made_up(|| backend().unwrap(), PROMISE);
    }
}

#[test]
fn sequences_are_the_same_in_any_company() {
    if backend().is_none() {
        return;
    }
    let all = std::env::var("INFERNO_GOLDENS").is_ok_and(|which| which == "all");
    let others: &[&str] = if all { &["llama", "phi3", "gemma2", "gemma4-e2b"] } else { &[] };
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
