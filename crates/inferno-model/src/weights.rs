//! A model's tensors by their GGUF names, checked against the architecture and handed to a backend.
//!
//! Fused tensors (`attn_qkv`, gate and up in one `ffn_up`) are cut by rows here; nobody else knows of them.

mod bytes;
mod coarse;
mod draft_block;
mod heads;
mod host;
mod numbers;
mod part;

use std::collections::{HashMap, HashSet};
use std::mem::{Discriminant, discriminant};
use std::ops::Range;
use std::sync::Arc;

use inferno_format::{DType, Gguf, TensorEntry};

use crate::architecture::{Architecture, FfnShape, LayerShape, MixerShape, PerLayerShape};
use crate::backend::{Backend, HostTensor, Source};
use crate::error::LoadError;
use crate::ffn::Ffn;
use crate::layer::Layer;
use crate::mixer::Mixer;
use crate::per_layer::{PerLayerEmbeddings, PerLayerInput};
pub use bytes::WeightBytes;
pub use draft_block::DraftBlock;
pub(crate) use host::HostTable;
use numbers::numbers;
pub(crate) use numbers::rope_factors;
pub(crate) use part::Part;

/// The tensors of one stage of a model, in a backend's layout.
#[derive(Debug)]
pub struct Weights<W> {
    /// (vocab_size, dim), in the first stage.
    pub token_embd: Option<W>,
    /// Embeddings that the layers add.
    pub per_layer: Option<PerLayerEmbeddings<W>>,
    /// One per layer of the stage.
    pub layers: Vec<Layer<W>>,
    /// The output head, in the last stage.
    pub head: Option<Head<W>>,
    /// The draft layer, where the model has [one](Architecture::draft_block) and a single stage.
    pub draft_block: Option<DraftBlock<W>>,
}

/// The tensors after the last layer.
#[derive(Debug)]
pub struct Head<W> {
    /// (dim,)
    pub output_norm: W,
    /// (vocab_size, dim); `None` where the stage's `token_embd` serves.
    pub output: Option<W>,
    /// The same in fewer bits, for drafts.
    pub coarse_output: Option<W>,
}

/// The part of a model in one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Its layers. The stage with the first one embeds tokens, the stage with the last one has the output head.
    pub layers: Range<usize>,
    /// Layers among them whose feed-forward network is on another backend.
    pub without_ffn: Range<usize>,
}

/// The tensors of a file, and which of them have a place in a stage.
#[derive(Debug)]
pub struct Tensors<'a> {
    file: &'a Gguf,
    arch: &'a Architecture,
    /// Names of tensors, without `blk.N.`, that any layer with a half of that kind has.
    in_layers: HashSet<(Kind, &'a str)>,
    used: HashSet<String>,
    /// The model only drafts for another one.
    only_drafts: bool,
    /// Tables on the host, which all stages share.
    tables: HashMap<&'static str, Arc<HostTable>>,
}

/// The kind of one half of a layer, or a layer of any kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Layer,
    Mixer(Discriminant<MixerShape>),
    Ffn(Discriminant<FfnShape>),
}

impl Share {
    /// All layers of a model.
    pub fn whole(arch: &Architecture) -> Share {
        Share::layers(0..arch.layers.len())
    }

    /// The layers `layers` with their feed-forward networks.
    pub fn layers(layers: Range<usize>) -> Share {
        Share { layers, without_ffn: 0..0 }
    }

    /// Refuses a share with a layer that reads keys and values of a layer before.
    pub(crate) fn check(&self, arch: &Architecture) -> Result<(), LoadError> {
        let at = self.layers.start;
        let source = |layer: usize| Some((layer, arch.layers[layer].source().filter(|&source| source < at)?));
        match self.layers.clone().find_map(source) {
            Some((layer, source_layer)) => Err(LoadError::Cut { at, layer, source_layer }),
            None => Ok(()),
        }
    }
}

impl<'a> Tensors<'a> {
    /// None of them has a place yet.
    pub fn new(file: &'a Gguf, arch: &'a Architecture) -> Self {
        let mut in_layers = HashSet::new();
        for tensor in file.tensors() {
            let Some((i, name)) = layer_of(&tensor.name) else { continue };
            let Some(LayerShape { mixer, ffn }) = arch.layers.get(i) else { continue };
            in_layers.insert((Kind::Layer, name));
            in_layers.extend(mixer.as_ref().map(|shape| (Kind::Mixer(discriminant(shape)), name)));
            in_layers.extend(ffn.as_ref().map(|shape| (Kind::Ffn(discriminant(shape)), name)));
        }
        Tensors { file, arch, in_layers, used: HashSet::new(), only_drafts: false, tables: HashMap::new() }
    }

    /// The tensors of a model that only drafts for another one: where the host samples, its logits are by a
    /// [coarse output matrix](Head::coarse_output).
    pub fn of_draft_model(self) -> Self {
        Tensors { only_drafts: true, ..self }
    }

    pub(crate) fn only_drafts(&self) -> bool {
        self.only_drafts
    }

    /// The architecture that the tensors are checked against.
    pub fn architecture(&self) -> &'a Architecture {
        self.arch
    }

    /// Refuses tensors without a place in any stage, and a file that changed while it was read.
    pub fn finish(self) -> Result<(), LoadError> {
        // Read with the architecture, or constants that follow from the metadata.
        const ELSEWHERE: [&str; 5] = [
            "rope_freqs.weight",
            "rope_factors_long.weight",
            "rope_factors_short.weight",
            "attn_rot_embd",
            "rotary_emb.inv_freq",
        ];
        // Layers that draft, after those that run.
        let drafts = self.arch.layers.len()..self.arch.layers.len() + self.arch.n_draft_layers;
        let is_drafts = |name: &str| layer_of(name).is_some_and(|(i, _)| drafts.contains(&i));
        let unused = |t: &&TensorEntry| {
            !self.used.contains(&t.name)
                && !is_drafts(&t.name)
                && !ELSEWHERE.iter().any(|known| t.name.ends_with(known))
        };
        if let Some(entry) = self.file.tensors().iter().find(unused) {
            return Err(LoadError::UnusedTensor { name: entry.name.clone(), family: self.arch.family });
        }
        Ok(self.file.verify_unchanged()?)
    }
}

impl<W> Weights<W> {
    /// The output head.
    ///
    /// # Panics
    /// The stage is not the last one.
    pub fn head(&self) -> &Head<W> {
        self.head.as_ref().expect("the last stage has the output head")
    }

    /// (vocab_size, dim), the output matrix: the file's own, or the embedding.
    ///
    /// # Panics
    /// The stage is not the last one.
    pub fn output(&self) -> &W {
        self.head()
            .output
            .as_ref()
            .or(self.token_embd.as_ref())
            .expect("a head without a matrix has the embedding")
    }

    /// Reads, checks and uploads the tensors of `share`.
    pub fn load<B: Backend<Weight = W>>(
        tensors: &mut Tensors<'_>,
        share: &Share,
        backend: &mut B,
    ) -> Result<Weights<W>, LoadError> {
        let (dim, vocab_size, n_layers) =
            (tensors.arch.dim, tensors.arch.vocab_size, tensors.arch.layers.len());
        let mut loader = Loader { tensors, backend };
        let token_embd = match share.layers.start {
            0 => Some(loader.matrix("token_embd.weight", vocab_size, dim)?),
            _ => None,
        };
        let head = match share.layers.end == n_layers {
            true => {
                let output_norm = loader.vector(loader.tensors.arch.output_norm, dim)?;
                let output = match loader.tensors.file.tensor("output.weight") {
                    Some(_) => Some(loader.matrix("output.weight", vocab_size, dim)?),
                    None if token_embd.is_some() => None,
                    None => Some(loader.matrix("token_embd.weight", vocab_size, dim)?),
                };
                let drafts = loader.tensors.only_drafts || loader.tensors.arch.draft_block.is_some();
                let coarse_output = if drafts { loader.coarse_output()? } else { None };
                Some(Head { output_norm, output, coarse_output })
            }
            false => None,
        };
        let per_layer = match loader.tensors.arch.per_layer {
            Some(PerLayerShape { width, .. }) => Some(loader.per_layer(share, width)?),
            None => None,
        };
        let layer = |i| loader.layer(i, !share.without_ffn.contains(&i));
        let layers = share.layers.clone().map(layer).collect::<Result<_, _>>()?;
        let drafts = loader.tensors.arch.draft_block.as_ref().filter(|_| share.layers == (0..n_layers));
        let draft_block = drafts.map(|shape| loader.draft_block(shape.layer_idx)).transpose()?;
        Ok(Weights { token_embd, per_layer, layers, head, draft_block })
    }
}

impl<W> Ffn<W> {
    /// Reads, checks and uploads the tensors of the feed-forward network of layer `i`; `None` if it has none.
    pub(crate) fn load_alone<B: Backend<Weight = W>>(
        tensors: &mut Tensors<'_>,
        i: usize,
        backend: &mut B,
    ) -> Result<Option<Ffn<W>>, LoadError> {
        Loader { tensors, backend }.ffn(i)
    }
}

struct Loader<'l, 'a, B> {
    tensors: &'l mut Tensors<'a>,
    backend: &'l mut B,
}

impl<'l, 'a, B: Backend> Loader<'l, 'a, B> {
    fn layer(&mut self, i: usize, with_ffn: bool) -> Result<Layer<B::Weight>, LoadError> {
        let norms = self.tensors.arch.norms;
        let mixer = match self.tensors.arch.loaded_layer(i).and_then(|layer| layer.mixer) {
            Some(shape) => {
                let kind = Kind::Mixer(discriminant(&shape));
                Some(Mixer::load(&mut Part { loader: self, layer: i, kind, norms }, shape)?)
            }
            None => None,
        };
        let ffn = if with_ffn { self.ffn(i)? } else { None };
        let mut part = Part { loader: self, layer: i, kind: Kind::Layer, norms };
        let output_scale = part.optional_number("layer_output_scale.weight")?;
        let input = match part.loader.tensors.arch.per_layer {
            Some(shape) => Some(PerLayerInput::load(&mut part, shape)?),
            None => None,
        };
        Ok(Layer { mixer, ffn, input, output_scale })
    }

    /// Embeddings of `width` numbers for every layer of a stage.
    fn per_layer(&mut self, share: &Share, width: usize) -> Result<PerLayerEmbeddings<B::Weight>, LoadError> {
        const PROJ: &str = "per_layer_model_proj.weight";
        let Architecture { dim, vocab_size, embedding_scale, .. } = *self.tensors.arch;
        let all = self.tensors.arch.layers.len() * width;
        let columns = share.layers.start * width..share.layers.end * width;
        let proj = self.entry(PROJ, &[dim, all])?;
        let proj = self.tensor(PROJ.into(), [1, columns.len(), dim], vec![(proj, columns.start)]);
        let token_embd = match share.layers.start {
            0 => None,
            _ => Some((self.table("token_embd.weight", vocab_size, dim)?, embedding_scale)),
        };
        Ok(PerLayerEmbeddings {
            dim,
            width,
            table: self.table("per_layer_token_embd.weight", vocab_size, all)?,
            columns,
            token_embd,
            per_layer_model_proj: self.backend.upload(&proj)?,
            per_layer_proj_norm: self.vector("per_layer_proj_norm.weight", width)?,
        })
    }

    /// A table that stays on the host, once for all stages.
    fn table(&mut self, name: &'static str, rows: usize, cols: usize) -> Result<Arc<HostTable>, LoadError> {
        if let Some(table) = self.tensors.tables.get(name) {
            return Ok(Arc::clone(table));
        }
        let entry = self.entry(name, &[cols, rows])?;
        let table = HostTable::read(&self.tensor(name.into(), [1, rows, cols], vec![(entry, 0)]))?;
        let table = Arc::new(table);
        self.tensors.tables.insert(name, Arc::clone(&table));
        Ok(table)
    }

    /// The numbers of a vector, for the host.
    fn numbers(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        self.numbers_of(name, &[len])
    }

    /// The same of a tensor of any shape.
    fn numbers_of(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>, LoadError> {
        let entry = self.entry(name, dims)?;
        numbers(self.tensors.file, entry, |x| x.is_finite(), "finite numbers")
    }

    fn ffn(&mut self, i: usize) -> Result<Option<Ffn<B::Weight>>, LoadError> {
        let Some(shape) = self.tensors.arch.loaded_layer(i).and_then(|layer| layer.ffn) else {
            return Ok(None);
        };
        let (kind, norms) = (Kind::Ffn(discriminant(&shape)), self.tensors.arch.norms);
        Ffn::load(&mut Part { loader: self, layer: i, kind, norms }, shape).map(Some)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<B::Weight, LoadError> {
        let entry = self.entry(name, &[cols, rows])?;
        self.upload(entry, 1, rows, cols)
    }

    /// Matrices that have the same input.
    fn matrices<const N: usize>(
        &mut self,
        names: &[String; N],
        rows: [usize; N],
        cols: usize,
    ) -> Result<[B::Weight; N], LoadError> {
        let mut tensors = Vec::new();
        for (name, rows) in names.iter().zip(rows) {
            let entry = self.entry(name, &[cols, rows])?;
            tensors.push(self.tensor(name.clone(), [1, rows, cols], vec![(entry, 0)]));
        }
        self.upload_together(&tensors)
    }

    /// The matrices of all experts of layer `i`: in one tensor, or one each as older files have them
    /// (`ffn_up.3.weight` for `ffn_up_exps.weight`).
    fn stacked(&mut self, i: usize, name: &str, shape: [usize; 3]) -> Result<B::Weight, LoadError> {
        let [n_experts, rows, cols] = shape;
        let one = format!("blk.{i}.{name}_exps.weight");
        let each = |expert| format!("blk.{i}.{name}.{expert}.weight");
        if self.tensors.file.tensor(&one).is_some() || self.tensors.file.tensor(&each(0)).is_none() {
            let entry = self.entry(&one, &[cols, rows, n_experts])?;
            return self.upload(entry, n_experts, rows, cols);
        }
        let first = self.entry(&each(0), &[cols, rows])?;
        let mut parts = Vec::new();
        for expert in 0..n_experts {
            let entry = self.entry(&each(expert), &[cols, rows])?;
            if entry.dtype != first.dtype {
                return Err(unfit_type(entry, |t| t == first.dtype));
            }
            parts.push((entry, 0));
        }
        self.upload_parts(one, shape, parts)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<B::Weight, LoadError> {
        let entry = self.entry(name, &[len])?;
        check_float(entry)?;
        self.upload(entry, 1, 1, len)
    }

    /// The two stacks in a tensor whose experts have the rows of both, one after the other.
    fn cut_stacked(&mut self, name: &str, shape: [usize; 3]) -> Result<[B::Weight; 2], LoadError> {
        let [n_experts, rows, cols] = shape;
        let entry = self.entry(name, &[cols, 2 * rows, n_experts])?;
        let mut upload = |half| {
            let parts = (0..n_experts).map(|expert| (entry, (2 * expert + half) * rows)).collect();
            self.upload_parts(name.into(), shape, parts)
        };
        Ok([upload(0)?, upload(1)?])
    }

    /// A vector for each of `n` experts.
    fn vectors(&mut self, name: &str, n: usize, len: usize) -> Result<B::Weight, LoadError> {
        let entry = self.entry(name, &[len, n])?;
        check_float(entry)?;
        self.backend.upload_vectors(&self.tensor(name.into(), [n, 1, len], vec![(entry, 0)]))
    }

    /// The same for two vectors that a tensor has one after the other.
    fn cut_vectors(&mut self, name: &str, n: usize, len: usize) -> Result<[B::Weight; 2], LoadError> {
        let entry = self.entry(name, &[2 * len, n])?;
        check_float(entry)?;
        // Rows of `len`: the tensor's are of two each.
        let mut upload = |half| {
            let parts = (0..n).map(|expert| (entry, 2 * expert + half)).collect();
            self.backend.upload_vectors(&self.tensor(name.into(), [n, 1, len], parts))
        };
        Ok([upload(0)?, upload(1)?])
    }

    /// Cuts a matrix into several by rows.
    fn cut<const N: usize>(
        &mut self,
        name: &str,
        rows: [usize; N],
        cols: usize,
    ) -> Result<[B::Weight; N], LoadError> {
        let entry = self.entry(name, &[cols, rows.iter().sum()])?;
        let mut start = 0;
        let mut tensors = Vec::new();
        for rows in rows {
            tensors.push(self.tensor(name.into(), [1, rows, cols], vec![(entry, start)]));
            start += rows;
        }
        self.upload_together(&tensors)
    }

    /// The tensor `name`, marked as used, if it has these dimensions and a type we compute with.
    fn entry(&mut self, name: &str, dims: &[usize]) -> Result<&'a TensorEntry, LoadError> {
        let missing = || LoadError::MissingTensor { name: name.into(), expected: dims.into() };
        let entry = self.tensors.file.tensor(name).ok_or_else(missing)?;
        check_shape(entry, dims)?;
        if !entry.dtype.can_dequantize() {
            return Err(unfit_type(entry, DType::can_dequantize));
        }
        self.tensors.used.insert(name.into());
        Ok(entry)
    }

    /// Dimensions of the tensor `name`, if the file has it.
    fn dims(&self, name: &str) -> Option<&'a [usize]> {
        let file = self.tensors.file;
        file.tensor(name).map(|entry| &entry.dims[..])
    }

    fn upload(
        &mut self,
        entry: &'a TensorEntry,
        n_experts: usize,
        rows: usize,
        cols: usize,
    ) -> Result<B::Weight, LoadError> {
        self.upload_parts(entry.name.clone(), [n_experts, rows, cols], vec![(entry, 0)])
    }

    fn upload_parts(
        &mut self,
        name: String,
        shape: [usize; 3],
        parts: Vec<(&'a TensorEntry, usize)>,
    ) -> Result<B::Weight, LoadError> {
        self.backend.upload(&self.tensor(name, shape, parts))
    }

    fn upload_together<const N: usize>(
        &mut self,
        tensors: &[HostTensor<'a>],
    ) -> Result<[B::Weight; N], LoadError> {
        let weights = self.backend.upload_together(tensors)?;
        Ok(weights.try_into().ok().expect("a weight for every tensor"))
    }

    fn tensor(
        &self,
        name: String,
        [n_experts, rows, cols]: [usize; 3],
        parts: Vec<(&'a TensorEntry, usize)>,
    ) -> HostTensor<'a> {
        let dtype = parts[0].0.dtype;
        HostTensor {
            name,
            dtype,
            n_experts,
            rows,
            cols,
            source: Source::File { file: self.tensors.file, parts },
        }
    }
}

/// The layer of a tensor, and its name there.
fn layer_of(name: &str) -> Option<(usize, &str)> {
    let (i, name) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((i.parse().ok()?, name))
}

/// Dimensions in GGUF order; ones at the end do not count.
fn check_shape(entry: &TensorEntry, expected: &[usize]) -> Result<(), LoadError> {
    let trim = |dims: &[usize]| dims.len() - dims.iter().rev().take_while(|&&d| d == 1).count();
    if entry.dims[..trim(&entry.dims)] == expected[..trim(expected)] {
        return Ok(());
    }
    Err(LoadError::Shape { name: entry.name.clone(), found: entry.dims.to_vec(), expected: expected.into() })
}

fn check_float(entry: &TensorEntry) -> Result<(), LoadError> {
    if entry.dtype.is_float() { Ok(()) } else { Err(unfit_type(entry, DType::is_float)) }
}

fn unfit_type(entry: &TensorEntry, fits: impl Fn(DType) -> bool) -> LoadError {
    let known = DType::ALL.iter().filter(|&&t| fits(t)).map(|t| t.name()).collect::<Vec<_>>().join(" ");
    LoadError::TensorType { name: entry.name.clone(), found: entry.dtype.name(), known }
}
