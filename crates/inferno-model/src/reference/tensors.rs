//! Weights and activations of the reference, and the product of one with the other.

use inferno_format::{Block32, DType, dequantize, unpack_row};

use super::Reference;
use crate::backend::Activations;
use crate::numerics::QuantizedRow;

/// A tensor in the file's own encoding.
#[derive(Debug)]
pub struct Weight {
    pub(super) name: String,
    pub(super) dtype: DType,
    /// Of one matrix.
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_bytes: usize,
    pub(super) bytes: Vec<u8>,
}

/// Activations, (n_rows, width).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buffer {
    pub(super) width: usize,
    pub(super) data: Vec<f32>,
}

impl Buffer {
    /// (n_rows, width) from its numbers.
    pub fn from_rows(width: usize, data: Vec<f32>) -> Buffer {
        assert!(data.len().is_multiple_of(width), "whole rows");
        Buffer { width, data }
    }

    pub(super) fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.width..][..self.width]
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.width)
    }

    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.data.chunks_exact_mut(self.width)
    }

    /// All zero.
    pub(super) fn reset(&mut self, n_rows: usize) {
        self.data.clear();
        self.data.resize(n_rows * self.width, 0.0);
    }
}

impl Activations for Buffer {
    fn n_rows(&self) -> usize {
        self.data.len() / self.width
    }

    fn width(&self) -> usize {
        self.width
    }
}

/// One output's weights, decoded: floats, or blocks of 32 if they are quantized.
#[derive(Debug, Default)]
pub(super) struct WeightRow {
    pub(super) floats: Vec<f32>,
    pub(super) blocks: Vec<Block32>,
}

impl Weight {
    /// Is the product taken in integers?
    pub(super) fn is_quantized(&self) -> bool {
        self.dtype.is_quantized()
    }

    pub(super) fn row_bytes(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.row_bytes..][..self.row_bytes]
    }

    pub(super) fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        dequantize(self.dtype, self.row_bytes(row), out).expect("upload checked type and length");
    }

    /// A vector: a norm's weight or a bias.
    pub(super) fn vector(&self) -> Vec<f32> {
        self.vector_of(0)
    }

    /// The vector of one expert.
    pub(super) fn vector_of(&self, expert: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.cols];
        self.dequantize_row(expert, &mut out);
        out
    }

    pub(super) fn decode_row(&self, row: usize, out: &mut WeightRow) {
        if self.is_quantized() {
            unpack_row(self.dtype, self.row_bytes(row), &mut out.blocks)
                .expect("upload checked type and length");
        } else {
            out.floats.resize(self.cols, 0.0);
            self.dequantize_row(row, &mut out.floats);
        }
    }

    /// out[i] (rows,) = x[i] (cols,) × matrix `expert`ᵀ.
    pub(super) fn product(&self, expert: usize, out: &mut Buffer, x: &Buffer, scratch: &mut Reference) {
        out.reset(x.n_rows());
        assert_eq!((x.width, out.width), (self.cols, self.rows), "shape of `{}`", self.name);
        for r in 0..self.rows {
            self.decode_row(expert * self.rows + r, &mut scratch.row);
            for (i, out) in out.rows_mut().enumerate() {
                out[r] = if self.is_quantized() {
                    dot_blocks(self.dtype, &scratch.row.blocks, &scratch.quantized[i])
                } else {
                    dot(&scratch.row.floats, x.row(i))
                };
            }
        }
    }
}

/// One FMA chain over ascending inputs.
pub(super) fn dot(w: &[f32], x: &[f32]) -> f32 {
    w.iter().zip(x).fold(0.0, |acc, (&w, &x)| w.mul_add(x, acc))
}

/// One FMA for every run of weights that share a scale, in ascending order, and in types with minimums another for
/// the run's minimum. What is summed inside a run is an exact integer.
pub(super) fn dot_blocks(dtype: DType, w: &[Block32], x: &QuantizedRow) -> f32 {
    let run_len = dtype.scale_len();
    let mut acc = 0.0f32;
    for (b, w) in w.iter().enumerate() {
        for start in (0..32).step_by(run_len) {
            let q = &x.q[32 * b + start..][..run_len];
            let product: i32 = w.q[start..].iter().zip(q).map(|(&w, &q)| i32::from(w) * i32::from(q)).sum();
            let scale = w.d * w.scale[start / 16] as f32;
            acc = (product as f32).mul_add(scale * x.d[b], acc);
            if dtype.has_minimums() {
                let minimum = w.dmin * f32::from(w.min[start / 16]);
                let sum: i32 = q.iter().map(|&q| i32::from(q)).sum();
                acc = (x.d[b] * sum as f32).mul_add(-minimum, acc);
            }
        }
    }
    acc
}
