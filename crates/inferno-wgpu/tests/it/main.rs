//! The backend on whatever device there is; on a machine without a GPU, Mesa's llvmpipe.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attention;
mod conformance;
mod dispatches;
mod goldens;
mod lost;

use std::sync::LazyLock;

use inferno_wgpu::{Choice, Gpu, Wgpu};

/// The device that `INFERNO_TEST_DEVICE` names, or the best one.
fn choice() -> Choice {
    std::env::var("INFERNO_TEST_DEVICE").map_or(Choice::Best, |name| name.parse().unwrap())
}

/// The device of [`choice`], opened once for all tests; `None`, said aloud, if there is none.
fn gpu() -> Option<Gpu> {
    static GPU: LazyLock<Result<Gpu, String>> =
        LazyLock::new(|| Gpu::open(&choice()).map_err(|e| e.to_string()));
    GPU.as_ref().map(Gpu::share).map_err(|e| xtask::testing::skip("wgpu", e)).ok()
}

/// A backend on that device.
fn backend() -> Option<Wgpu> {
    gpu().map(|gpu| Wgpu::new(gpu).unwrap())
}
