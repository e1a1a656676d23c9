//! The part of a model that each GPU gets, in numbers.

use inferno_format::Gguf;
use inferno_model::architecture::Architecture;

/// Numbers of layers, `n` in all, that GPUs with these shares get.
pub(super) fn cut(n: usize, shares: &[f64]) -> Vec<usize> {
    let total: f64 = shares.iter().sum();
    let (mut sum, mut start) = (0.0, 0);
    let here = shares.iter().map(|share| {
        sum += share;
        let end = (n as f64 * (sum / total)).round() as usize;
        end - std::mem::replace(&mut start, end)
    });
    here.collect()
}

/// The same for the last `n` layers of a model, where a stage begins at none that the layers before share their keys and values
/// with: the nearest layer that can be the first one is, the lower of two.
pub(super) fn cut_layers(arch: &Architecture, n: usize, shares: &[f64]) -> Vec<usize> {
    let all = arch.layers.len();
    let first = all - n;
    let mut end = first;
    let nearest = |at: usize| (first..=all).filter(|&i| arch.can_cut(i)).min_by_key(|&i| i.abs_diff(at));
    let here = cut(n, shares).into_iter().scan(first, |sum, n| {
        *sum += n;
        let cut = if *sum == all { all } else { nearest(*sum).unwrap_or(all).max(end) };
        Some(cut - std::mem::replace(&mut end, cut))
    });
    here.collect()
}

/// Bytes of tensors that stay on the processor: tables whose rows are looked up there, and feed-forward networks in the first `n_layers`
/// layers.
pub(super) fn on_processor(file: &Gguf, n_layers: usize) -> u64 {
    let in_layer = |name: &str| {
        let (i, name) = name.strip_prefix("blk.")?.split_once('.')?;
        Some((i.parse::<usize>().ok()?, name.starts_with("ffn_")))
    };
    let stays = |name: &str| {
        name == "per_layer_token_embd.weight"
            || in_layer(name).is_some_and(|(i, is_ffn)| is_ffn && i < n_layers)
    };
    file.tensors().iter().filter(|t| stays(&t.name)).map(|t| t.n_bytes).sum()
}

/// Bytes for keys and values of all layers, where `here` of `all` are on a GPU with so much memory. `storing` is the same of
/// the layers that store keys and values.
pub(super) fn kv_bytes(free: u64, tensor_bytes: u64, (here, all): (u64, u64), storing: (u64, u64)) -> u64 {
    // For activations, and what the driver needs.
    let spare = (free / 16).max(256 << 20);
    let tensors = tensor_bytes / all * here;
    let left = free.saturating_sub(tensors + tensors / 16 + spare);
    // Where the tensors do not fit, layers will go to the processor, and their keys and values with them.
    left.max(free / 4) / storing.0.max(1) * storing.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_cut_by_shares_and_none_is_lost() {
        assert_eq!(cut(32, &[3.0, 2.0]), [19, 13]);
        assert_eq!(cut(3, &[1.0, 1.0]), [2, 1]);
        assert_eq!(cut(9, &[1.0, 0.0, 2.0]), [3, 0, 6]);
        assert_eq!(cut(2, &[1.0; 5]).iter().sum::<usize>(), 2);
        for n in 0..50 {
            assert_eq!(cut(n, &[0.1, 0.7, 3.3]).iter().sum::<usize>(), n);
        }
    }

    #[test]
    fn keys_and_values_get_what_the_tensors_leave_and_a_quarter_at_least() {
        const GIB: u64 = 1 << 30;
        // 24 GiB less 8.5 of tensors and 1.5 to spare.
        assert_eq!(kv_bytes(24 * GIB, 8 * GIB, (32, 32), (32, 32)) / GIB, 14);
        // Half of the layers: 24 less 4.25 and 1.5, for half of the keys and values.
        assert_eq!(kv_bytes(24 * GIB, 8 * GIB, (16, 32), (16, 32)) / GIB, 36);
        // More than there is room for.
        assert_eq!(kv_bytes(24 * GIB, 60 * GIB, (32, 32), (32, 32)) / GIB, 6);
    }
}
