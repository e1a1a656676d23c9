//! The corpus of every target, and some damage to it: without libFuzzer.
#![allow(missing_docs, clippy::unwrap_used)]

use std::panic::catch_unwind;

use inferno_fuzz::{TARGETS, Target, caught_panics, watch_panics};
use xtask::testing::{Random, is_thorough, root};

/// Damaged inputs of each target, always the same; twenty times as many in thorough tests.
const N_DAMAGED: usize = 100;

/// Committed inputs and those that are made from files of the repository.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let seeds = (target.seeds)();
    let mut all: Vec<_> =
        seeds.into_iter().enumerate().map(|(i, seed)| (format!("seed {i}"), seed)).collect();
    let folder = root().join("fuzz/corpus").join(target.name);
    for entry in folder.read_dir().into_iter().flatten() {
        let path = entry.unwrap().path();
        all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    assert!(!all.is_empty(), "{} has no inputs", target.name);
    all
}

fn check(target: &Target, what: &str, input: &[u8]) {
    let outcome = catch_unwind(|| (target.check)(input));
    // A panic that another thread or some code has caught counts too.
    let panics = caught_panics();
    let is_right = outcome.is_ok() && panics.is_empty();
    assert!(is_right, "{}, {what}: {panics:?}\nthe input: {}", target.name, input.escape_ascii());
}

#[test]
fn the_corpus_of_every_target_keeps_its_promises() {
    watch_panics(|| ());
    let mut random = Random(1);
    let n_damaged = if is_thorough() { 20 * N_DAMAGED } else { N_DAMAGED };
    for target in TARGETS {
        let inputs = inputs(target);
        for (what, input) in &inputs {
            check(target, what, input);
        }
        for _ in 0..n_damaged {
            let (what, input) = &inputs[random.below(inputs.len())];
            check(target, &format!("{what}, damaged"), &damaged(input, &mut random));
        }
    }
}

/// An input with up to four bytes changed, or with a part taken out or doubled.
fn damaged(input: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    if bytes.is_empty() {
        return bytes;
    }
    let from = random.below(bytes.len());
    let to = (from + 1 + random.below(16)).min(bytes.len());
    match random.below(4) {
        0 => drop(bytes.drain(from..to)),
        1 => {
            let part = bytes[from..to].to_vec();
            bytes.splice(from..from, part);
        }
        _ => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.bits() as u8;
            }
        }
    }
    bytes
}
