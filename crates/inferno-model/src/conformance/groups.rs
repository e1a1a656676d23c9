//! The checks in groups, for a program that reports each: a failure is a message, not a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use inferno_format::{DType, Gguf};

use super::attention::{attention, few_attention};
use super::{
    FEW_SHAPES, Oracle, Precision, Promise, Results, SHAPES, Sequence, TWO_ROWS, choices, compare,
    compare_golden, compounds, experts, latent, matmul, mixtures, pages, recurrent, rows,
    rows_attend_alone_as_together, ssm,
};
use crate::backend::{AttentionRule, Backend, DeviceMemory, KvType};
use crate::reference::Reference;
use crate::sample::argmax;

/// Largest difference of a logit, as a share of the largest one, where activations are rounded to 8 bits: a sum that differs in
/// its last place may be rounded the other way.
const ROUNDED: f32 = 0.02;
/// The same where nothing is rounded.
const EXACT: f32 = 1e-3;
/// Tokens of the greedy continuation.
const N_GREEDY: usize = 16;

/// A part of the conformance checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Products, products head by head, experts and embeddings, with matrices of one type.
    Products(DType),
    /// Products with one row and with many, and embeddings.
    FewProducts(DType),
    /// Products with two rows.
    TwoRows(DType),
    /// Norms, sums, activations, rotations: operations without matrices.
    Rows,
    /// The delta rule and convolutions, and sequences cut into chunks.
    Recurrent,
    /// State-space layers, and sequences cut into chunks.
    StateSpace,
    /// Attention to keys and values of one type.
    Attention(KvType),
    /// The same for heads of few widths.
    FewAttention(KvType),
    /// Attention of rows alone and together: equal bits.
    AttentionAlone,
    /// Pages that are read and written.
    Pages,
    /// Operations that a backend has one kernel for, with this number of rows.
    Compounds(usize),
    /// The same for heads of few widths.
    FewCompounds(usize),
    /// Tokens that a device samples.
    Choices,
    /// A small model against the reference: logits and greedy tokens.
    Logits(Model),
    /// Rows of a small model, computed alone, by 8, by 64 and by 512: equal bits.
    RowCounts(Model),
}

/// A model of random weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Dense layers in F32.
    DenseF32,
    /// Dense layers in Q8_0.
    DenseQ8,
    /// Mixtures of experts in Q8_0, with a dense layer before them and a shared expert.
    MixtureQ8,
}

impl Model {
    const ALL: [Model; 3] = [Model::DenseF32, Model::DenseQ8, Model::MixtureQ8];

    fn file(self) -> Gguf {
        match self {
            Model::DenseF32 => mixtures::dense(DType::F32),
            Model::DenseQ8 => mixtures::dense(DType::Q8_0),
            Model::MixtureQ8 => mixtures::grouped(DType::Q8_0),
        }
    }
}

impl Group {
    /// All, those that take longest first.
    pub fn all() -> Vec<Group> {
        let mut all: Vec<Group> = KvType::ALL.into_iter().map(Group::Attention).collect();
        all.push(Group::AttentionAlone);
        all.extend(compounds::ROWS.into_iter().map(Group::Compounds));
        all.extend(Model::ALL.iter().flat_map(|&model| [Group::RowCounts(model), Group::Logits(model)]));
        all.extend(Group::of_operations());
        all.extend([Group::Pages, Group::Choices]);
        all
    }

    /// Groups that find an ordinary mistake in every operation with few kernels, for devices that take long to compile one: all
    /// products of one type and some of every type, heads of few widths, no models.
    pub fn few() -> Vec<Group> {
        let mut all: Vec<Group> = KvType::ALL.into_iter().map(Group::FewAttention).collect();
        all.extend([1, 33].map(Group::FewCompounds));
        all.extend(Group::of_operations().into_iter().map(|group| match group {
            Group::Products(DType::Q8_0) => group,
            Group::Products(dtype @ (DType::F32 | DType::Q4_K | DType::Q6_K)) => Group::FewProducts(dtype),
            Group::Products(dtype) => Group::TwoRows(dtype),
            group => group,
        }));
        all.extend([Group::Pages, Group::Choices]);
        all
    }

    /// The groups of operations that [`Group::results`] has.
    pub(super) fn of_operations() -> Vec<Group> {
        let types = DType::ALL.iter().filter(|t| t.can_dequantize()).map(|&dtype| Group::Products(dtype));
        types.chain([Group::Recurrent, Group::StateSpace, Group::Rows]).collect()
    }

    /// The name of its kind: groups that differ in types or models have the same.
    pub fn kind(self) -> &'static str {
        match self {
            Group::Products(_) | Group::FewProducts(_) | Group::TwoRows(_) => "products",
            Group::Rows => "rows",
            Group::Recurrent => "recurrent",
            Group::StateSpace => "state space",
            Group::Attention(_) | Group::FewAttention(_) | Group::AttentionAlone => "attention",
            Group::Pages => "pages",
            Group::Compounds(_) | Group::FewCompounds(_) => "compounds",
            Group::Choices => "sampling",
            Group::Logits(_) => "models",
            Group::RowCounts(_) => "1 to 512 rows",
        }
    }

    /// Checks fresh backends made by `new`.
    ///
    /// # Errors
    /// What differs: the operation, its shape, the number, and what the reference has.
    pub fn check<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
        self,
        new: impl Fn() -> B,
        promise: Promise,
    ) -> Result<(), String> {
        let checked = catch_unwind(AssertUnwindSafe(|| self.run(&new, promise)));
        checked.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Err(text.unwrap_or_else(|| "it panicked".into()))
        })
    }

    fn run<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
        self,
        new: &impl Fn() -> B,
        promise: Promise,
    ) -> Result<(), String> {
        match self {
            Group::Products(_) | Group::FewProducts(_) | Group::TwoRows(_) | Group::Rows => {
                compare(&self.results(&mut new()), &self.expected(), promise.operations);
            }
            Group::Recurrent => {
                compare(&self.results(&mut new()), &self.expected(), promise.operations);
                recurrent::chunks_continue_as_whole(&mut new());
            }
            Group::StateSpace => {
                compare(&self.results(&mut new()), &self.expected(), promise.operations);
                ssm::chunks_continue_as_whole(&mut new());
            }
            Group::Attention(_) | Group::FewAttention(_) => attention_conforms(self, &mut new(), promise),
            Group::AttentionAlone => {
                rows_attend_alone_as_together(&mut new());
                latent::rows_attend_alone_as_together(&mut new());
            }
            Group::Pages => pages::pages_are_the_same_elsewhere(new),
            Group::Compounds(n_rows) if B::HAS_COMPOUNDS => compounds::compounds(&mut new(), n_rows),
            Group::FewCompounds(n_rows) if B::HAS_COMPOUNDS => compounds::few_compounds(&mut new(), n_rows),
            Group::Choices if new().device_sampling().is_some() => choices(&mut new()),
            Group::Compounds(_) | Group::FewCompounds(_) | Group::Choices => {}
            Group::Logits(model) => return logits(model, new(), promise),
            Group::RowCounts(model) => row_counts(&model.file(), new),
        }
        Ok(())
    }

    /// Results of a backend in this group of operations.
    ///
    /// # Panics
    /// The group is none of [`Group::of_operations`] and not attention.
    pub(super) fn results<B: Backend>(self, b: &mut B) -> Results {
        let mut all = Results::new();
        match self {
            Group::Products(dtype) => {
                matmul(b, dtype, SHAPES, &mut all);
                latent::matmul_heads(b, dtype, &mut all);
                experts(b, dtype, &mut all);
            }
            Group::FewProducts(dtype) => matmul(b, dtype, FEW_SHAPES, &mut all),
            Group::TwoRows(dtype) => matmul(b, dtype, TWO_ROWS, &mut all),
            Group::Attention(kv_type) => return attention(b, kv_type),
            Group::FewAttention(kv_type) => return few_attention(b, kv_type),
            Group::Recurrent => recurrent::recurrent(b, &mut all),
            Group::StateSpace => ssm::ssm(b, &mut all),
            Group::Rows => [1, 5].into_iter().for_each(|n_rows| rows(b, n_rows, &mut all)),
            _ => panic!("{self:?} has no results by name"),
        }
        all
    }

    /// The same of the reference, computed once for all the backends that a process checks.
    pub(super) fn expected(self) -> Arc<Results> {
        static COMPUTED: Mutex<Vec<(Group, Arc<Results>)>> = Mutex::new(Vec::new());
        let computed = || COMPUTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, results)) = computed().iter().find(|(group, _)| *group == self) {
            return Arc::clone(results);
        }
        let results = Arc::new(self.results(&mut Reference::default()));
        computed().push((self, Arc::clone(&results)));
        results
    }
}

/// Attention to keys and values of one type, against the reference by the rule that the backend has for it.
pub(super) fn attention_conforms<B: Backend>(group: Group, backend: &mut B, promise: Promise) {
    let (Group::Attention(kv_type) | Group::FewAttention(kv_type)) = group else {
        panic!("{group:?} is not attention to keys and values of one type")
    };
    let rule = backend.attention_rule(KvType::Bf16);
    let mut reference = Reference::with_bf16_rule(rule);
    assert_eq!(backend.attention_rule(kv_type), reference.attention_rule(kv_type), "{kv_type:?}");
    let found = group.results(backend);
    match reference.attention_rule(kv_type) {
        AttentionRule::Floats => compare(&found, &group.expected(), promise.attention),
        AttentionRule::Bf16Tiles => compare(&found, &group.results(&mut reference), promise.attention),
    }
}

fn prompt(n: usize) -> Vec<u32> {
    (0..n).map(|i| (i * 7 % mixtures::VOCAB_SIZE) as u32).collect()
}

/// Logits of all rows of a prompt near those of the reference, and as greedy a continuation.
fn logits<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    model: Model,
    backend: B,
    promise: Promise,
) -> Result<(), String> {
    let (file, prompt) = (model.file(), prompt(37));
    let mut reference = Sequence::new(&file, Reference::default(), prompt.len() + N_GREEDY)
        .map_err(|error| error.to_string())?;
    let expected = reference.append(&prompt);
    let largest = expected.iter().flatten().fold(0.0f32, |most, x| most.max(x.abs()));
    let mut greedy = vec![argmax(&expected[prompt.len() - 1])];
    while greedy.len() < N_GREEDY {
        let last = reference.append(&greedy[greedy.len() - 1..]);
        greedy.push(argmax(&last[0]));
    }
    let tolerance = match (promise.operations, promise.attention) {
        (Precision::Bits, Precision::Bits) => 0.0,
        _ if model == Model::DenseF32 => EXACT * largest,
        _ => ROUNDED * largest,
    };
    let logits: Vec<(usize, Vec<f32>)> = expected.into_iter().enumerate().collect();
    let oracle = Oracle { prompt: &prompt, logits: &logits, greedy: &greedy };
    let compared = compare_golden(&file, backend, &oracle, tolerance);
    compared.map(|_| ()).map_err(|error| format!("{model:?}: {error} (at most {tolerance})"))
}

/// The last rows of a sequence, computed one at a time, by 8, by 64 and all 512 at once: equal logits, as bits.
fn row_counts<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    file: &Gguf,
    new: &impl Fn() -> B,
) {
    const ALL: usize = 512;
    const LAST: usize = 64;
    let tokens = prompt(ALL);
    let run = |chunk: usize| -> Results {
        let mut sequence = Sequence::new(file, new(), ALL).expect("a model that loads");
        let first = if chunk == ALL { 0 } else { ALL - LAST };
        if first > 0 {
            sequence.append(&tokens[..first]);
        }
        let rows: Vec<Vec<f32>> =
            tokens[first..].chunks(chunk).flat_map(|tokens| sequence.append(tokens)).collect();
        let name = format!("{} by {chunk} rows", file.metadata().str("general.name").unwrap_or("model"));
        vec![(name, mixtures::VOCAB_SIZE, rows[rows.len() - LAST..].concat())]
    };
    let whole = run(ALL);
    for chunk in [1, 8, LAST] {
        compare(&run(chunk), &whole, Precision::Bits);
    }
}
