//! GGUF files put together byte by byte, so that any part can be wrong.

/// The parts of a file. What `well_formed` gives is a good file; cases change it.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) magic: Vec<u8>,
    pub(crate) version: [u8; 4],
    /// The counts written, where they are not those of the lists.
    pub(crate) n_tensors: Option<u64>,
    pub(crate) n_kv: Option<u64>,
    pub(crate) kv: Vec<Vec<u8>>,
    pub(crate) tensors: Vec<Vec<u8>>,
    pub(crate) alignment: usize,
    pub(crate) data: Vec<u8>,
}

/// What every string in the files holds: no message may.
pub(crate) const SECRET: &str = "s3cret";

impl Raw {
    /// Where its parts are: counts at 8 (tensors) and 16 (pairs), `name` at 24, `n` at 54, tensor `a` at 71,
    /// `b` at 112, end of the header at 145, data from 160 to 256.
    pub(crate) fn well_formed() -> Raw {
        Raw {
            magic: b"GGUF".to_vec(),
            version: 3u32.to_le_bytes(),
            n_tensors: None,
            n_kv: None,
            kv: vec![pair("name", 8, &string(SECRET)), pair("n", 4, &7u32.to_le_bytes())],
            tensors: vec![tensor("a", &[4, 2], 0, 0), tensor("b", &[32], 8, 32)],
            alignment: 32,
            data: vec![1; 96],
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = self.header();
        if !self.tensors.is_empty() || !self.data.is_empty() {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
        }
        file.extend(&self.data);
        file
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        let mut file = [&self.magic[..], &self.version].concat();
        file.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.n_kv.unwrap_or(self.kv.len() as u64).to_le_bytes());
        file.extend([self.kv.concat(), self.tensors.concat()].concat());
        file
    }
}

pub(crate) fn string(s: &str) -> Vec<u8> {
    bytes(s.len() as u64, s.as_bytes())
}

/// A string of which length and bytes need not agree.
pub(crate) fn bytes(len: u64, bytes: &[u8]) -> Vec<u8> {
    [&len.to_le_bytes(), bytes].concat()
}

pub(crate) fn pair(key: &str, type_id: u32, value: &[u8]) -> Vec<u8> {
    [&string(key), &type_id.to_le_bytes()[..], value].concat()
}

/// The value of a pair of type 9.
pub(crate) fn array(type_id: u32, n: u64, elements: &[u8]) -> Vec<u8> {
    [&type_id.to_le_bytes()[..], &n.to_le_bytes(), elements].concat()
}

pub(crate) fn tensor(name: &str, dims: &[u64], type_id: u32, offset: u64) -> Vec<u8> {
    tensor_of(&string(name), dims.len() as u32, dims, type_id, offset)
}

pub(crate) fn tensor_of(name: &[u8], n_dims: u32, dims: &[u64], type_id: u32, offset: u64) -> Vec<u8> {
    let mut t = [name, &n_dims.to_le_bytes()].concat();
    dims.iter().for_each(|dim| t.extend(dim.to_le_bytes()));
    t.extend(type_id.to_le_bytes());
    t.extend(offset.to_le_bytes());
    t
}
