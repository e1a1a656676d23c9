//! What the product must not depend on, however deep.
//!
//! Read from `Cargo.lock`, so that it needs no network, no downloaded manifests, and sees all targets and all
//! features at once. The lock file knows a little more than any build uses (it keeps optional dependencies that
//! only a weak feature names): the rule may be too strict, never too lax.

use std::collections::VecDeque;

use super::imports::is_member;
use super::manifest::{Locked, Manifest, Use, parse_lock};
use super::{File, Finding};

const PRODUCT: &str = "inferno-llm";

/// Native code that wants a toolchain of its own, and frameworks whose work is ours to do.
const BANNED: [(&str, &str); 15] = [
    ("openssl-sys", "use rustls"),
    ("aws-lc-sys", "use rustls with ring"),
    ("onig_sys", "use our own splitter"),
    ("cmake", "a C++ toolchain is not there on every machine"),
    ("candle-core", "tensors are ours"),
    ("burn", "tensors are ours"),
    ("burn-core", "tensors are ours"),
    ("tch", "tensors are ours"),
    ("torch-sys", "tensors are ours"),
    ("ort", "the forward pass is ours"),
    ("ort-sys", "the forward pass is ours"),
    ("ggml", "kernels are ours"),
    ("llama-cpp-2", "the engine is ours"),
    ("llama-cpp-sys-2", "the engine is ours"),
    ("tokenizers", "tokenizers are ours; as an oracle it belongs into oracles/"),
];

pub(super) fn check(files: &[File], found: &mut Vec<Finding>) {
    let workspace = files.iter().find(|f| f.path == "Cargo.toml");
    let workspace = workspace.map(|f| Manifest::parse(&f.text)).unwrap_or_default();
    let members: Vec<Manifest> =
        files.iter().filter(|f| is_member(&f.path)).map(|f| Manifest::parse(&f.text)).collect();
    let lock = files.iter().find(|f| f.path == "Cargo.lock");
    let packages = lock.map(|f| parse_lock(&f.text)).unwrap_or_default();
    let mut report = |line, advice| {
        found.push(Finding { file: "Cargo.lock".to_owned(), line, rule: "dependencies", advice });
    };
    let Some(product) = packages.iter().position(|p| p.is_ours && p.name == PRODUCT) else {
        // A tree without the product has nothing to check.
        if members.iter().any(|m| m.package.as_deref() == Some(PRODUCT)) {
            report(1, format!("commit a lock file that has `{PRODUCT}`"));
        }
        return;
    };

    // Breadth first: the chain of importers that we print is the shortest.
    let mut importer: Vec<Option<usize>> = vec![None; packages.len()];
    let mut queue = VecDeque::from([product]);
    while let Some(at) = queue.pop_front() {
        for to in imported(&packages, at, &members, &workspace) {
            if importer[to].is_none() && to != product {
                importer[to] = Some(at);
                queue.push_back(to);
            }
        }
    }
    for (at, package) in packages.iter().enumerate().filter(|&(at, _)| importer[at].is_some()) {
        if let Some((name, why)) = BANNED.iter().find(|b| b.0 == package.name) {
            let chain =
                std::iter::successors(Some(at), |&at| importer[at]).map(|at| packages[at].name.as_str());
            let chain = chain.collect::<Vec<_>>().join(" <- ");
            report(package.line, format!("remove `{name}` from the product ({chain}): {why}"));
        }
    }
}

/// What a package imports in a build of the product. The lock file mixes in what our own crates import for their
/// tests; of other packages it does not.
fn imported(packages: &[Locked], at: usize, members: &[Manifest], workspace: &Manifest) -> Vec<usize> {
    let package = &packages[at];
    let manifest = members.iter().find(|m| package.is_ours && m.package.as_deref() == Some(&package.name));
    let in_product = |name: &str| {
        manifest.is_none_or(|m| {
            let mut dependencies = m.dependencies.iter().filter(|d| d.used_by == Use::Product);
            dependencies.any(|d| Manifest::package_of(d, workspace) == name)
        })
    };
    let find = |dependency: &String| {
        let mut parts = dependency.split(' ');
        let (name, version) = (parts.next(), parts.next());
        packages
            .iter()
            .position(|p| Some(p.name.as_str()) == name && version.is_none_or(|v| v == p.version))
            .filter(|&to| in_product(&packages[to].name))
    };
    package.dependencies.iter().filter_map(find).collect()
}
