//! The backend on whatever device there is; on a machine without a GPU, Mesa's llvmpipe.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attention;
mod conformance;
mod dispatches;
mod goldens;
mod lost;

use inferno_wgpu::{Choice, Gpu, Wgpu};

/// The device that `INFERNO_TEST_DEVICE` names, or the best one.
fn choice() -> Choice {
    std::env::var("INFERNO_TEST_DEVICE").map_or(Choice::Best, |name| name.parse().unwrap())
}

/// A backend on that device; `None`, said aloud, if there is none.
fn backend() -> Option<Wgpu> {
    match Gpu::open(&choice()) {
        Ok(gpu) => Some(Wgpu::new(gpu).unwrap()),
        Err(e) => {
            xtask::testing::skip("wgpu", &e.to_string());
            None
        }
    }
}
