//! The portable GPU backend: one set of WGSL kernels for Metal, Vulkan and DX12, by way of wgpu.
//!
//! An operation records dispatches; they run when the transformer reads a result. It knows tensors, buffers and batches. It
//! must not know families, schedules or strings.
//!
//! ```text
//! device.rs     adapters, and one of them opened: buffers, errors, what it can do
//! memory.rs     how much of it there is
//! layout.rs     weights as the kernels read them, still quantized
//! kernels.rs    kernels, what they are made of and what parameters they take
//! pipelines.rs  kernels that are ready to run
//! recorder.rs   a step's dispatches and what it uploads
//! buffer.rs     activations
//! matrix.rs     weights
//! matmul.rs     products of the two
//! tuning.rs     trials: half precision, and which variant of a product's kernel is the fastest
//! batch.rs      what attention has to know of a batch
//! kv.rs         the pool of keys and values
//! stopwatch.rs  how long kernels take
//! limits.rs     what the device allows: dispatches, reads of memory, products of matrices
//! backend.rs    the operations; compound.rs: those that are fewer dispatches together
//! ```
//!
//! **Numerics.** The definitions are those of `inferno_model::reference`, products in integers included, but for the order
//! of sums: inputs are cut into at most 32 slices, each an `fma` chain, which are added in order. That order depends on the
//! shape of the matrix alone, and so a row's bits do not depend on the other rows. Attention has two orders: of vectors, and of
//! cooperative matrices for devices that have them (`kernels/attend_matrices.wgsl`).
//!
//! Start reading at [`backend`], then `kernels/matmul_few.wgsl`.

pub mod backend;
mod batch;
mod buffer;
pub mod device;
mod kernels;
mod kv;
mod layout;
mod limits;
mod matmul;
mod matrix;
mod memory;
mod pipelines;
mod recorder;
mod stopwatch;
mod tuning;

pub use backend::Wgpu;
pub use device::{AdapterError, Choice, Found, Gpu, adapters};
pub use limits::timed::DispatchTime;
pub use limits::{Limits, MatrixRate, StreamingRead};

use inferno_model::conformance::{Precision, Promise};

/// Largest differences from the reference. Products are integers and `fma` chains as in the reference, added up in another order.
/// Scores of the checks are up to 20, and what they differ by in the last place weighs e times as much.
pub const PROMISE: Promise =
    Promise { operations: Precision::Close(4e-6), attention: Precision::Close(2e-5) };

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::{Choice, Gpu};

    /// The device that `INFERNO_TEST_DEVICE` names, or the best one, opened once for all tests; `None`, said aloud, if
    /// there is none.
    pub(crate) fn gpu() -> Option<Gpu> {
        static GPU: LazyLock<Result<Gpu, String>> = LazyLock::new(|| {
            let choice =
                std::env::var("INFERNO_TEST_DEVICE").map_or(Choice::Best, |name| name.parse().unwrap());
            Gpu::open(&choice).map_err(|e| e.to_string())
        });
        GPU.as_ref().map(Gpu::share).map_err(|e| xtask::testing::skip("wgpu", e)).ok()
    }
}
