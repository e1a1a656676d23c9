//! Quantized models against their own weights as floats.
//!
//! A quantized model differs from the model it was made of for two reasons: its weights are rounded, which is its file's doing, and
//! activations are rounded to 8 bits before they are multiplied, which is ours. The second costs less than 10⁻³ nats a position, or
//! where a model is so sensitive that 8 bits of its weights alone cost more, no more than about as much. Weights of 4 bits cost
//! 4·10⁻³ to 10⁻¹ in floats, so that no program is within 10⁻³ of what they were made of.
//!
//! Where two experts are nearly as good, any rounding can turn a router's choice, and the answer is then another expert's: up to
//! 10⁻¹ at that position. So rows go to the experts that the floats choose here, and the routers' logits are compared apart.

mod routed;

use std::path::Path;
use std::sync::{Arc, Mutex};

use inferno_format::{DType, Gguf, GgufWriter, NewTensor, dequantize, quantize};
use inferno_model::architecture::Architecture;
use inferno_model::conformance::Sequence;
use routed::{Comparison, Routed, Routers};

/// Kullback-Leibler divergence that rounding may cost, in nats: the mean over positions.
const MOST: f64 = 1e-3;

/// Largest costs of rounding activations, and of rounding weights and activations, in units of the cost of rounding weights: to 8 bits,
/// and to 4, whose steps are 16 times as long and cost 256 times as much.
const MOST_OF_WEIGHTS: [[f64; 2]; 2] = [[2.0, 4.0], [0.02, 1.2]];

/// Largest difference of a router's logits where no more than [`MOST`] is lost, as a fraction of the root of their mean square.
const MOST_OF_ROUTERS: f32 = 0.25;

const TOKENS: [u32; 12] = [5, 6, 7, 300, 41, 12, 9, 77, 250, 33, 8, 100];

/// The type of a tensor in a quantized file: matrices whose rows are no whole blocks are Q8_0, or F16 if they are none of its
/// either. Vectors and routers stay as they are, as do tensors that are quantized already.
fn dtype_of(tensor: &NewTensor, asked: DType) -> DType {
    let is_matrix = tensor.dims.len() > 1 && tensor.name.ends_with(".weight");
    if tensor.dtype != DType::F32 || !is_matrix || tensor.name.contains("ffn_gate_inp") {
        return tensor.dtype;
    }
    let fits = |dtype: &DType| tensor.dims[0].is_multiple_of(dtype.block_len());
    [asked, DType::Q8_0].into_iter().find(fits).unwrap_or(DType::F16)
}

/// The model with its tensors in the types that `dtype_of` says.
fn rewritten(file: &Gguf, dtype_of: impl Fn(&NewTensor) -> DType) -> Gguf {
    let old = file.tensors().iter();
    let old: Vec<NewTensor> =
        old.map(|t| NewTensor { name: t.name.clone(), dtype: t.dtype, dims: t.dims.clone() }).collect();
    let new: Vec<NewTensor> = old.iter().map(|t| NewTensor { dtype: dtype_of(t), ..t.clone() }).collect();
    let mut writer = GgufWriter::new(Vec::new(), file.metadata(), &new).unwrap();
    for ((entry, old), new) in file.tensors().iter().zip(&old).zip(&new) {
        let mut bytes = file.read(entry).unwrap();
        if old.dtype != new.dtype {
            let mut numbers = vec![0.0; old.dims.iter().product()];
            dequantize(old.dtype, &bytes, &mut numbers).unwrap();
            bytes = quantize(new.dtype, &numbers).unwrap();
        }
        writer.append(&new.name, &bytes).unwrap();
    }
    Gguf::from_bytes(writer.finish().unwrap()).unwrap()
}

/// Logarithms of the probabilities of all tokens, at all positions.
fn log_probabilities(file: &Gguf, backend: Routed) -> Vec<Vec<f64>> {
    let logits = Sequence::new(file, backend, TOKENS.len()).unwrap().append(&TOKENS);
    let normalized = logits.iter().map(|row| {
        let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        let largest = row.iter().copied().fold(f64::MIN, f64::max);
        let sum = row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() + largest;
        row.iter().map(|x| x - sum).collect()
    });
    normalized.collect()
}

/// A model in floats: its answer, and what its routers say.
struct Floats {
    answer: Vec<Vec<f64>>,
    routers: Arc<Routers>,
}

impl Floats {
    fn of(file: &Gguf) -> Floats {
        let routers = Arc::new(Mutex::new(Routers::default()));
        let answer = log_probabilities(file, Routed::recording(&routers));
        let routers = std::mem::take(&mut *routers.lock().unwrap());
        Floats { answer, routers: Arc::new(routers) }
    }

    /// Divergences from a file's answer at every position, where its rows go to the same experts.
    fn divergences(&self, file: &Gguf) -> Divergences {
        let comparison = Arc::new(Mutex::new(Comparison::default()));
        let found = log_probabilities(file, Routed::following(&self.routers, &comparison));
        let divergence =
            |(p, q): (&Vec<f64>, &Vec<f64>)| -> f64 { p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum() };
        let all: Vec<f64> = self.answer.iter().zip(&found).map(divergence).collect();
        let routers = *comparison.lock().unwrap();
        Divergences {
            mean: all.iter().sum::<f64>() / all.len() as f64,
            largest: all.iter().copied().fold(f64::MIN, f64::max),
            routers,
        }
    }
}

struct Divergences {
    mean: f64,
    largest: f64,
    routers: Comparison,
}

impl std::fmt::Display for Divergences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Comparison { turned, rows, largest, .. } = self.routers;
        write!(f, "{:.1e} (largest {:.1e}", self.mean, self.largest)?;
        if rows > 0 {
            write!(f, ", routers {largest:.1e}, {turned} of {rows} rows turned")?;
        }
        write!(f, ")")
    }
}

/// The faults of a model that is written in `dtype`.
fn faults(name: &str, file: &Gguf, dtype: DType) -> Vec<String> {
    let quantized = rewritten(file, |t| dtype_of(t, dtype));
    let rounded = rewritten(&quantized, |_| DType::F32);
    let exact = Floats::of(file);
    let weights = exact.divergences(&rounded);
    let activations = Floats::of(&rounded).divergences(&quantized);
    let both = exact.divergences(&quantized);
    let line = format!("{name} in {dtype}: weights {weights}, activations {activations}, both {both}");
    println!("{line}");
    let [of_8_bits, of_4_bits] = MOST_OF_WEIGHTS;
    let times = if dtype == DType::Q8_0 { of_8_bits } else { of_4_bits };
    let [most, most_of_both] = times.map(|times| MOST.max(times * weights.mean));
    let is_right = (-1e-9..most).contains(&activations.mean)
        && both.mean < most_of_both
        && (activations.mean > MOST || activations.routers.largest <= MOST_OF_ROUTERS);
    if is_right { Vec::new() } else { vec![line] }
}

/// `INFERNO_PRESETS=all` has every golden and every small preset, in both types where some rows are whole blocks of Q4_K.
#[test]
fn quantized_models_say_what_their_weights_say_as_floats() {
    let folder = tempfile::tempdir().unwrap();
    let all = std::env::var("INFERNO_PRESETS").is_ok_and(|which| which == "all");
    let preset = |name: &str| {
        let path = crate::synth::synth(folder.path(), name, "f32", &["--force"]);
        Gguf::open(path.as_ref()).unwrap()
    };
    let golden = |name: &str| Gguf::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap();
    let mut wrong = Vec::new();
    if all {
        for name in crate::synth::SMALL {
            let file = preset(name);
            wrong.extend([DType::Q8_0, DType::Q4_K].map(|dtype| faults(name, &file, dtype)).concat());
        }
        let folders = [xtask::testing::testdata("goldens")].into_iter();
        for folder in folders.chain(xtask::testing::data("goldens")) {
            for path in goldens_of(&folder) {
                let file = Gguf::open(&path).unwrap();
                let name = path.file_stem().unwrap().to_str().unwrap();
                if Architecture::read(&file, None).is_err() {
                    continue;
                }
                wrong.extend(faults(name, &file, DType::Q8_0));
                if file.tensors().iter().any(|t| t.dims[0].is_multiple_of(DType::Q4_K.block_len())) {
                    wrong.extend(faults(name, &file, DType::Q4_K));
                }
            }
        }
    } else {
        wrong.extend(faults("tiny-deepseek2", &preset("tiny-deepseek2"), DType::Q4_K));
        for name in ["deepseek3", "gemma4-moe", "qwen3moe", "gpt-oss-mxfp4"] {
            wrong.extend(faults(name, &golden(name), DType::Q8_0));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn goldens_of(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    all.sort();
    all
}
