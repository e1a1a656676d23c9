//! Activations of gates.

use inferno_model::architecture::Activation;

use crate::buffer::{Buffer, storages};
use crate::device::{Gpu, Storage};
use crate::kernels::params::{self, word};
use crate::kernels::{Glu, Kernel};
use crate::matmul::Inputs;
use crate::matrix::Weight;
use crate::recorder::{Bound, Grid, Recorder, VECTOR};

/// gate = activation(gate) * up, or activation(gate); quantized as well. With biases, gate and up have a row per routed expert.
pub(super) fn glu(
    recorder: &mut Recorder,
    gpu: &mut Gpu,
    inputs: &mut Inputs,
    (gate, up): (&Buffer, Option<&Buffer>),
    biases: Option<RoutedBiases<'_>>,
    activation: Activation,
) {
    let [quants, scales] = inputs.room(gpu, recorder, gate);
    let to = storages!(gate);
    let n = gate.len() / VECTOR;
    let params = params::Glu {
        n: word(n),
        width: word(gate.width),
        stride: word(gate.stride() / VECTOR),
        activation: Some(activation).into(),
    };
    let buffers = Bound::new([quants, scales, Some(to)]);
    let (inputs, buffers) = match (up, biases) {
        (None, _) => (Glu::Alone, buffers),
        (Some(up), None) => (Glu::Gated, buffers.and([Some(storages!(up))])),
        (Some(up), Some(RoutedBiases { experts, gate, up: up_bias })) => {
            let others = [storages!(up), experts, gate.vector(), up_bias.vector()];
            (Glu::Biased, buffers.and(others.map(Some)))
        }
    };
    recorder.dispatch(gpu, Kernel::Glu(inputs), &buffers, &params, &Grid::Threads(n));
    recorder.note_quantized(to);
}

/// Biases of experts, and the expert of every row.
pub(super) struct RoutedBiases<'a> {
    pub(super) experts: &'a Storage,
    pub(super) gate: &'a Weight,
    pub(super) up: &'a Weight,
}
