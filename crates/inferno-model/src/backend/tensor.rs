//! Tensors on their way from a file to a device.

use inferno_format::{DType, FormatError, Gguf, TensorEntry};

/// A tensor on its way from the file to a backend: `n_experts` matrices of (rows, cols), row by row.
#[derive(Debug, Clone)]
pub struct HostTensor<'a> {
    /// GGUF name, for messages.
    pub name: String,
    /// How the bytes encode the numbers.
    pub dtype: DType,
    /// 1 unless the tensor stacks experts.
    pub n_experts: usize,
    /// Output width of one matrix; 1 for a vector.
    pub rows: usize,
    /// Input width, or the length of a vector.
    pub cols: usize,
    /// Where the bytes are.
    pub source: Source<'a>,
}

/// Where a tensor's rows are, in the file's encoding.
#[derive(Debug, Clone)]
pub enum Source<'a> {
    /// All rows, end to end.
    Memory(&'a [u8]),
    /// In one tensor of a file, or in one each for every expert.
    File {
        /// The file.
        file: &'a Gguf,
        /// Equal shares of the rows, in order: a tensor, and the row of it where the share begins.
        parts: Vec<(&'a TensorEntry, usize)>,
    },
}

impl HostTensor<'_> {
    /// Rows of all experts.
    pub fn n_rows(&self) -> usize {
        self.n_experts * self.rows
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.dtype.row_bytes(self.cols).expect("the tensor table has whole rows")
    }

    /// Fills `out` with whole rows from row `first` on, counted over all experts. Threads may read at the same time.
    pub fn read_rows(&self, first: usize, out: &mut [u8]) -> Result<(), FormatError> {
        let row_bytes = self.row_bytes();
        match &self.source {
            Source::Memory(bytes) => out.copy_from_slice(&bytes[first * row_bytes..][..out.len()]),
            Source::File { file, parts } => {
                let share = self.n_rows() / parts.len();
                let (mut row, mut out) = (first, out);
                while !out.is_empty() {
                    let (entry, start) = parts[row / share];
                    let n_rows = (share - row % share).min(out.len() / row_bytes);
                    let (now, rest) = out.split_at_mut(n_rows * row_bytes);
                    file.read_at(entry, ((start + row % share) * row_bytes) as u64, now)?;
                    (row, out) = (row + n_rows, rest);
                }
            }
        }
        Ok(())
    }
}
