//! `inferno inspect`: what is in a file, and what it takes to run it.

use anyhow::Result;
use inferno_engine::pages_of_sequence;
use inferno_format::{Array, Value};
use inferno_model::architecture::{
    Activation, Architecture, BothShape, CacheGroup, CacheKind, FfnShape, LayerShape,
};
use inferno_model::batch::PAGE_LEN;
use inferno_model::weights::WeightBytes;
use serde_json::{Map, Value as Json};

use crate::commands::{bytes, print};
use crate::sampling::FromFile;
use crate::terminal::{json, visible};
use crate::{cli, load};

pub(crate) fn inspect(args: &cli::Inspect) -> Result<()> {
    let opened = load::open(&args.model_file())?;
    // A file of a family we do not know, or a mere vocabulary, still has something to show.
    let arch = opened.architecture(None).map_err(|e| format!("{:#}", e.root_cause()));
    if args.json {
        let json = json(&format!("{:#}", to_json(&opened, &arch)));
        print(format!("{json}\n").as_bytes())
    } else {
        print(to_text(&opened, &arch, args.tensors).as_bytes())
    }
}

/// Bytes it takes to run the model: the weights as stored, and keys and values of one sequence.
struct Memory {
    weights: WeightBytes,
    kv_per_position: usize,
    groups: Vec<KvGroup>,
}

/// Keys and values of a cache group.
struct KvGroup {
    n_layers: usize,
    per_position: usize,
    window: Option<usize>,
    /// Positions that a sequence holds, at most, if they are computed in steps of a page.
    most: usize,
    /// Of a sequence's state, in a group of recurrent layers.
    state: usize,
}

impl Memory {
    fn of(opened: &load::Opened, arch: &Architecture) -> Memory {
        let kv_type = load::Target::best().kv_type(opened);
        let kv_per_position = arch.kv_bytes_per_position(kv_type);
        let group = |group: &CacheGroup| {
            let is_state = is_state(group);
            KvGroup {
                n_layers: group.layers.len(),
                per_position: group.bytes_per_position(kv_type),
                window: group.window().filter(|_| !is_state),
                most: pages_of_sequence(group, arch.context_len, PAGE_LEN) * PAGE_LEN,
                state: if is_state { group.page_bytes(kv_type) } else { 0 },
            }
        };
        Memory {
            weights: WeightBytes::of(arch, &opened.file),
            kv_per_position,
            groups: arch.cache_groups.iter().map(group).collect(),
        }
    }

    /// Bytes of keys and values of one sequence with `n` positions, and of its state.
    fn kv(&self, n: usize) -> u64 {
        self.groups.iter().map(|group| (group.per_position * n.min(group.most) + group.state) as u64).sum()
    }

    /// Bytes of the state of one sequence, whatever its length.
    fn state(&self) -> usize {
        self.groups.iter().map(|group| group.state).sum()
    }

    fn groups_json(&self) -> Json {
        let group = |group: &KvGroup| match group.state {
            0 => serde_json::json!({
                "n_layers": group.n_layers,
                "window": group.window,
                "kv_bytes_per_position": group.per_position,
                "most_positions": group.most,
            }),
            state => serde_json::json!({ "n_layers": group.n_layers, "state_bytes": state }),
        };
        self.groups.iter().map(group).collect()
    }
}

fn is_state(group: &CacheGroup) -> bool {
    matches!(group.kind, CacheKind::State { .. })
}

/// Names and values of what the forward pass works with.
fn hyperparameters(arch: &Architecture) -> Map<String, Json> {
    let mut map = Map::new();
    let mut put = |name: &str, value: Json| map.insert(name.into(), value);
    let attentions = || arch.layers.iter().filter_map(LayerShape::attention);
    put("architecture", arch.family.into());
    put("n_layers", arch.layers.len().into());
    if arch.n_draft_layers > 0 {
        put("n_draft_layers", arch.n_draft_layers.into());
    }
    put("dim", arch.dim.into());
    put("n_heads", each(arch, |l| l.mixer.map_or(0, |m| m.n_heads())));
    put("n_kv_heads", each(arch, |l| l.mixer.map_or(0, |m| m.n_kv_heads())));
    put("head_dim", each(arch, |l| l.mixer.map_or(0, |m| m.head_width())));
    put("ffn_dim", each(arch, |l| ffn(l).map_or(0, |(ffn_dim, _)| ffn_dim)));
    if let Some(mixture) = arch.layers.iter().find_map(|layer| layer.ffn.as_ref()?.experts()) {
        put("n_experts", mixture.n_experts.into());
        put("n_experts_used", mixture.routing.n_used.into());
        put("expert_gating", format!("{:?}", mixture.routing.gating).into());
        if let Some(groups) = mixture.routing.groups {
            put("n_expert_groups", groups.n.into());
            put("n_expert_groups_used", groups.n_used.into());
        }
        if let Some(shared) = mixture.shared {
            put("shared_ffn_dim", shared.ffn_dim.into());
        }
    }
    put("vocab_size", arch.vocab_size.into());
    put("context_len", arch.context_len.into());
    put("norm_eps", f64_of(arch.norm_eps).into());
    if let Some((_, activation)) = arch.layers.iter().find_map(ffn) {
        put("activation", format!("{activation:?}").into());
    }
    put("attn_scale", each(arch, |l| l.mixer.map_or(0.0, |m| f64_of(m.scale()))));
    if let Some(rope) = arch.ropes.first() {
        put("rope_dims", rope.dims.into());
        put("rope_pairing", format!("{:?}", rope.pairing).into());
    }
    if let Some(window) =
        arch.cache_groups.iter().filter(|group| !is_state(group)).find_map(CacheGroup::window)
    {
        put("window", window.into());
        put("n_windowed_layers", attentions().filter(|a| a.window.is_some()).count().into());
    }
    for (name, cap) in
        [("attn_softcap", attentions().find_map(|a| a.softcap)), ("final_softcap", arch.final_softcap)]
    {
        if let Some(cap) = cap {
            put(name, f64_of(cap).into());
        }
    }
    map
}

/// A number of every layer: one number if they are equal, else a list.
pub(crate) fn each<T: PartialEq + Into<Json>>(
    arch: &Architecture,
    number: impl Fn(&LayerShape) -> T + Copy,
) -> Json {
    let mut numbers: Vec<T> = arch.layers.iter().map(number).collect();
    numbers.dedup();
    match numbers.len() {
        1 => numbers.remove(0).into(),
        _ => arch.layers.iter().map(number).map(Into::into).collect(),
    }
}

/// Width and activation of a layer's feed-forward network.
fn ffn(layer: &LayerShape) -> Option<(usize, Activation)> {
    layer.ffn.map(|ffn| match ffn {
        FfnShape::Dense(dense) | FfnShape::Both(BothShape { dense, .. }) => (dense.ffn_dim, dense.activation),
        FfnShape::Experts(experts) => (experts.ffn_dim, experts.activation),
    })
}

/// The decimal number a person would write for `x`, not its binary expansion.
fn f64_of(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(x.into())
}

fn to_json(opened: &load::Opened, arch: &Result<Architecture, String>) -> Json {
    let file = &opened.file;
    let metadata: Map<String, Json> = file.metadata().iter().map(|(k, v)| (k.into(), value(v))).collect();
    let tensor = |t: &inferno_format::TensorEntry| serde_json::json!({ "name": t.name, "type": t.dtype.name(), "shape": t.dims, "bytes": t.n_bytes });
    let mut all = serde_json::json!({
        "file": opened.name,
        "format": { "version": file.version(), "alignment": file.alignment(), "bytes": file.file_bytes() },
        "metadata": metadata,
        "tensors": file.tensors().iter().map(tensor).collect::<Vec<_>>(),
    });
    match arch {
        Ok(arch) => {
            let memory = Memory::of(opened, arch);
            all["hyperparameters"] = hyperparameters(arch).into();
            all["memory"] = serde_json::json!({
                "weights_bytes": memory.weights.all,
                "widened_bytes": memory.weights.widened,
                "kv_bytes_per_position": memory.kv_per_position,
                "kv_bytes_at_full_context": memory.kv(arch.context_len),
                "kv_groups": memory.groups_json(),
            });
            if memory.state() > 0 {
                all["memory"]["state_bytes_per_sequence"] = memory.state().into();
            }
        }
        Err(why) => all["cannot_run"] = why.as_str().into(),
    }
    all
}

fn value(v: &Value) -> Json {
    match v {
        Value::U8(x) => (*x).into(),
        Value::I8(x) => (*x).into(),
        Value::U16(x) => (*x).into(),
        Value::I16(x) => (*x).into(),
        Value::U32(x) => (*x).into(),
        Value::I32(x) => (*x).into(),
        Value::U64(x) => (*x).into(),
        Value::I64(x) => (*x).into(),
        Value::F32(x) => f64_of(*x).into(),
        Value::F64(x) => (*x).into(),
        Value::Bool(x) => (*x).into(),
        Value::String(s) => s.as_str().into(),
        Value::Bytes(s) => String::from_utf8_lossy(s).into(),
        Value::Array(a) => (0..a.len()).map(|i| element(a, i)).collect(),
    }
}

fn element(array: &Array, i: usize) -> Json {
    match array {
        Array::F32(x) => f64_of(x[i]).into(),
        Array::F64(x) => x[i].into(),
        Array::Bool(x) => x[i].into(),
        Array::U64(x) => x[i].into(),
        Array::String(x) => x.get(i).into(),
        Array::Bytes(x) => String::from_utf8_lossy(x.get(i).unwrap_or_default()).into(),
        _ => array.integer(i).into(),
    }
}

/// Summary and memory first, then metadata and hyperparameters; tensors on request.
fn to_text(opened: &load::Opened, arch: &Result<Architecture, String>, lists_tensors: bool) -> String {
    let file = &opened.file;
    let mut out = String::new();
    let mut line = |text: String| out.extend([text.trim_end(), "\n"]);
    line(format!("{}: GGUF version {}, {}", visible(&opened.name), file.version(), bytes(file.file_bytes())));
    line(String::new());
    head(opened, arch).into_iter().for_each(&mut line);

    line("\nMETADATA".into());
    let width = file.metadata().iter().map(|(k, _)| k.len()).max().unwrap_or(0).min(MAX_COLUMN);
    for (key, v) in file.metadata().iter() {
        line(format!("  {:width$}  {}", cut(key), short(v)));
    }
    if let Ok(arch) = arch {
        line("\nHYPERPARAMETERS".into());
        for (name, v) in hyperparameters(arch) {
            line(format!("  {name:17}  {}", v.as_str().map_or(v.to_string(), String::from)));
        }
    }
    let n_tensors = file.tensors().len();
    if !lists_tensors {
        line(format!("\nTENSORS ({n_tensors}), which `--tensors` lists"));
        return out;
    }
    line(format!("\nTENSORS ({n_tensors})"));
    let width = file.tensors().iter().map(|t| t.name.len()).max().unwrap_or(0).min(MAX_COLUMN);
    for t in file.tensors() {
        let shape = t.dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
        line(format!("  {:width$}  {:7}  {shape:18}  {:>9}", cut(&t.name), t.dtype.name(), bytes(t.n_bytes)));
    }
    out
}

/// The sections that say what a model is and what it takes, as `inferno show` prints them.
pub(super) fn brief(opened: &load::Opened) -> Vec<String> {
    head(opened, &opened.architecture(None).map_err(|e| format!("{:#}", e.root_cause())))
}

/// Lines of summary and memory.
fn head(opened: &load::Opened, arch: &Result<Architecture, String>) -> Vec<String> {
    let mut lines = vec!["SUMMARY".to_owned()];
    lines.extend(summary(opened, arch).iter().map(|(name, value)| format!("  {name:19}  {}", cut(value))));
    lines.push(String::new());
    match arch {
        Ok(arch) => {
            lines.push("MEMORY".into());
            lines.extend(Memory::of(opened, arch).lines(arch.context_len));
        }
        Err(why) => lines.push(format!("CANNOT RUN: {why}")),
    }
    lines
}

/// Rows of the summary: name and value.
fn summary(opened: &load::Opened, arch: &Result<Architecture, String>) -> Vec<(&'static str, String)> {
    let metadata = opened.file.metadata();
    let text = |key| metadata.opt_str(key).ok().flatten().filter(|text| !text.trim().is_empty());
    let mut rows = Vec::new();
    let mut put = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    put("model", text("general.name").map(str::to_owned));
    put("family", text("general.architecture").map(str::to_owned));
    let (n_params, dtype) = opened.size();
    put("parameters", (n_params > 0).then(|| load::count(n_params)));
    put("type", (n_params > 0).then(|| dtype.to_owned()));
    put("context", arch.as_ref().ok().map(|arch| format!("{} positions", arch.context_len)));
    put("vocabulary", arch.as_ref().ok().map(|arch| format!("{} tokens", arch.vocab_size)));
    let has_template = text("tokenizer.chat_template").is_some();
    put("chat template", Some(if has_template { "yes" } else { "none" }.into()));
    let FromFile { wishes, warnings } = FromFile::read(metadata);
    put("sampling defaults", Some(wishes.describe()).filter(|text| !text.is_empty()));
    warnings.into_iter().for_each(|warning| put("warning", Some(warning)));
    put("license", text("general.license").map(str::to_owned));
    rows
}

/// Contexts whose memory is shown, beside the model's own.
const CONTEXTS: [usize; 5] = [2048, 4096, 8192, 32_768, 131_072];

impl Memory {
    /// By context length, for one sequence.
    fn lines(&self, context_len: usize) -> Vec<String> {
        let mut lines = vec![format!("  weights              {}", bytes(self.weights.all))];
        if self.weights.widened > 0 {
            lines.push(format!(
                "    of which           {} in F16 for the quantized keys of `attn_kv_b`",
                bytes(self.weights.widened)
            ));
        }
        lines.push(format!("  keys and values      {} a position", bytes(self.kv_per_position as u64)));
        for group in &self.groups {
            if let Some(window) = group.window {
                lines.push(format!(
                    "    of which           {} in {} layers with a window of {window}: at most {} positions",
                    bytes(group.per_position as u64),
                    group.n_layers,
                    group.most
                ));
            }
        }
        let with_state = if self.state() > 0 { " and state" } else { "" };
        if self.state() > 0 {
            let n_layers: usize = self.groups.iter().filter(|g| g.state > 0).map(|g| g.n_layers).sum();
            let state = bytes(self.state() as u64);
            lines.push(format!("  state                {state} a sequence, in {n_layers} recurrent layers"));
        }
        for n in CONTEXTS.into_iter().filter(|&n| n < context_len).chain([context_len]) {
            let kv = self.kv(n);
            let name = format!("at {n}{}", if n == context_len { ", the whole" } else { "" });
            lines.push(format!(
                "  {name:19}  {} ({} of keys and values{with_state})",
                bytes(self.weights.all + kv),
                bytes(kv)
            ));
        }
        lines
    }
}

/// Names are padded to the longest, up to this.
const MAX_COLUMN: usize = 48;

/// Text without control characters, cut (and then with its length) if it is long.
fn cut(text: &str) -> String {
    const MOST: usize = 64;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown += &format!("… ({} bytes)", text.len());
    }
    shown
}

/// A value on one line: long strings and arrays are cut, and say so.
fn short(v: &Value) -> String {
    match v {
        Value::String(s) => cut(s),
        Value::Bytes(s) => cut(&escaped(s)),
        Value::Array(a) => {
            let first = (0..a.len().min(4)).map(|i| short_element(a, i)).collect::<Vec<_>>().join(", ");
            let dots = if a.len() > 4 { ", …" } else { "" };
            format!("[{first}{dots}] ({} in all)", a.len())
        }
        other => value(other).to_string(),
    }
}

fn short_element(array: &Array, i: usize) -> String {
    match array {
        Array::String(strings) => format!("\"{}\"", cut(strings.get(i).unwrap_or_default())),
        Array::Bytes(strings) => format!("\"{}\"", cut(&escaped(strings.get(i).unwrap_or_default()))),
        _ => element(array, i).to_string(),
    }
}

/// Bytes that are not UTF-8 as `\xe9`, the rest as text.
fn escaped(bytes: &[u8]) -> String {
    let chunk = |chunk: std::str::Utf8Chunk<'_>| {
        chunk.invalid().iter().fold(chunk.valid().to_owned(), |text, b| text + &format!("\\x{b:02x}"))
    };
    bytes.utf8_chunks().map(chunk).collect()
}

#[cfg(test)]
mod tests {
    use inferno_model::conformance::uneven_layers;

    use super::*;

    #[test]
    fn numbers_that_differ_from_layer_to_layer_are_lists() {
        let map = hyperparameters(&Architecture::read(&uneven_layers(), None).unwrap());
        assert_eq!(map["n_layers"], 5);
        assert_eq!(map["n_heads"], serde_json::json!([4, 2, 0, 4, 8]));
        assert_eq!(map["ffn_dim"], serde_json::json!([64, 96, 32, 0, 64]));
        assert_eq!(map["activation"], "Silu");
    }
}
