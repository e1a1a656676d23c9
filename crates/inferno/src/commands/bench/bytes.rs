//! Bytes a decode step cannot avoid reading: the weights it multiplies by, as the file has them, and the keys and
//! values of its sequences.

use inferno_format::Gguf;
use inferno_model::architecture::{Architecture, CacheGroup, CacheKind};
use inferno_model::backend::KvType;

use super::plan::Work;

/// The mean over the steps of a decode; `None` for a prompt, which reuses what it reads.
pub(in crate::commands) fn per_step(
    file: &Gguf,
    arch: &Architecture,
    kv_type: KvType,
    work: Work,
) -> Option<f64> {
    let Work::Decode { n_steps, depth, n_sequences } = work else { return None };
    let keys_and_values: usize = (depth..depth + n_steps).map(|p| kv_bytes(arch, kv_type, p)).sum();
    Some(weight_bytes(file, arch, n_sequences) + (n_sequences * keys_and_values) as f64 / n_steps as f64)
}

/// Bytes of keys, values and states that a row at `position` reads in all layers.
fn kv_bytes(arch: &Architecture, kv_type: KvType, position: usize) -> usize {
    let seen = |window: Option<usize>| window.map_or(position + 1, |w| w.min(position + 1));
    let of = |group: &CacheGroup| match group.kind {
        CacheKind::Pages { .. } | CacheKind::Latent { .. } => {
            group.bytes_per_position(kv_type) * seen(group.window())
        }
        CacheKind::State { .. } => group.page_bytes(kv_type),
    };
    arch.cache_groups.iter().map(of).sum()
}

fn weight_bytes(file: &Gguf, arch: &Architecture, n_rows: usize) -> f64 {
    let tied = file.tensor("output.weight").is_none();
    // Layers that draft are not run.
    let drafts = arch.layers.len()..arch.layers.len() + arch.n_draft_layers;
    let layer = |name: &str| name.strip_prefix("blk.")?.split('.').next()?.parse::<usize>().ok();
    let runs = |name: &str| layer(name).is_none_or(|i| !drafts.contains(&i));
    let bytes = file.tensors().iter().filter(|t| runs(&t.name)).map(|t| {
        let all = t.n_bytes as f64;
        match t.name.as_str() {
            "token_embd.weight" if !tied => all * n_rows as f64 / arch.vocab_size as f64,
            "per_layer_token_embd.weight" => all * n_rows as f64 / arch.vocab_size as f64,
            name if name.contains("_exps.") => all * share_of_experts(arch, n_rows),
            _ => all,
        }
    });
    bytes.sum()
}

/// How many of the experts `n_rows` rows wake, were each choice as likely as any.
fn share_of_experts(arch: &Architecture, n_rows: usize) -> f64 {
    let mixture = arch.layers.iter().find_map(|layer| layer.ffn.as_ref()?.experts());
    mixture.map_or(1.0, |mixture| {
        1.0 - (1.0 - mixture.routing.n_used as f64 / mixture.n_experts as f64).powi(n_rows as i32)
    })
}
