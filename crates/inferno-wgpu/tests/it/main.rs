//! The backend on whatever device there is; on a machine without a GPU, Mesa's llvmpipe.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod conformance;
mod goldens;

use inferno_wgpu::{Choice, Gpu, Wgpu};

/// A backend on the device that `INFERNO_TEST_DEVICE` names, or the best one; `None`, said aloud, if there is none.
fn backend() -> Option<Wgpu> {
    let choice: Choice =
        std::env::var("INFERNO_TEST_DEVICE").map_or(Choice::Best, |name| name.parse().unwrap());
    match Gpu::open(&choice) {
        Ok(gpu) => Some(Wgpu::new(gpu).unwrap()),
        Err(e) => {
            xtask::testing::skip("wgpu", &e.to_string());
            None
        }
    }
}
