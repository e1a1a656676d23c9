//! Where each tensor's bytes are: the one table of places, checked against the file and each other.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::TensorEntry;
use super::cursor::Field;
use super::header::{Header, TensorHeader};
use crate::error::{FileName, FormatError};
use crate::source::Source;

// file:   [ header )  pad [ tensor ) pad [ tensor ) pad
//         0      end  ^data_start                     ^ len: at most this padding
//                     multiple of the alignment

/// The tensors of file `shard`, in the file's order.
pub(crate) fn place(source: &Source, shard: usize, header: Header) -> Result<Vec<TensorEntry>, FormatError> {
    let file = source.name();
    let len = source.len();
    let data_start = header.end.checked_next_multiple_of(header.alignment).unwrap_or(u64::MAX);
    let mut tensors = Vec::with_capacity(header.tensors.len());
    for t in header.tensors {
        let start = start(&file, data_start, len, header.alignment, &t)?;
        let dims: Option<Vec<usize>> = t.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let dims = dims.expect("dimensions are at most `MAX_ELEMENTS`");
        tensors.push((
            t.offset_at,
            TensorEntry { name: t.name, dtype: t.dtype, dims, n_bytes: t.n_bytes, shard, start },
        ));
    }
    let used = end_of_last(&file, &mut tensors.iter().collect::<Vec<_>>())?.unwrap_or(header.end);
    let padded = used.checked_next_multiple_of(header.alignment).unwrap_or(u64::MAX);
    if len > padded {
        return Err(FormatError::Invalid {
            file,
            field: "end of the file".into(),
            offset: padded,
            expected: "nothing after the last tensor and its padding".into(),
            found: format!("{} bytes more", len.saturating_sub(padded)),
        });
    }
    Ok(tensors.into_iter().map(|(_, t)| t).collect())
}

/// The first byte of `t` in the file.
fn start(
    file: &FileName,
    data_start: u64,
    len: u64,
    alignment: u64,
    t: &TensorHeader,
) -> Result<u64, FormatError> {
    if !t.offset.is_multiple_of(alignment) {
        return Err(FormatError::Invalid {
            file: file.clone(),
            field: Field::tensor("offset", &t.name).to_string(),
            offset: t.offset_at,
            expected: format!("a multiple of {alignment}"),
            found: t.offset.to_string(),
        });
    }
    let start = data_start.saturating_add(t.offset);
    let left = len.saturating_sub(start);
    if t.n_bytes > left {
        return Err(FormatError::Truncated {
            file: file.clone(),
            field: Field::tensor("data", &t.name).to_string(),
            offset: start,
            needed: t.n_bytes,
            left,
        });
    }
    Ok(start)
}

/// Where the last tensor ends; an error if two overlap. `tensors` gets sorted by place.
fn end_of_last(file: &FileName, tensors: &mut [&(u64, TensorEntry)]) -> Result<Option<u64>, FormatError> {
    tensors.sort_by_key(|(_, t)| t.start);
    let mut end = None;
    for (offset_at, t) in tensors.iter() {
        if let Some(end) = end.filter(|&end| t.start < end) {
            return Err(FormatError::Invalid {
                file: file.clone(),
                field: Field::tensor("data", &t.name).to_string(),
                offset: *offset_at,
                expected: format!("a start at byte {end} or later, where the tensor before it ends"),
                found: format!("at byte {}", t.start),
            });
        }
        end = Some(t.start.saturating_add(t.n_bytes));
    }
    Ok(end)
}
