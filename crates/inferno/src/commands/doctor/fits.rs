//! Models that fit a memory, for how many users, and how fast memory lets them be.

use std::fmt::Write as _;

/// A well-known shape in a file of a well-known size.
struct Size {
    name: &'static str,
    /// Bytes of the file.
    file: u64,
    /// Bytes of it that a token reads: all, or those of the experts it is routed to and what all tokens share.
    read: u64,
    /// Bytes of keys and values per position in F16: 2 × layers × KV heads × head_dim × 2.
    position: u64,
}

const fn position(n_layers: u64, n_kv_heads: u64) -> u64 {
    2 * n_layers * n_kv_heads * 128 * 2
}

/// Qwen3's: layers and KV heads from the models' `config.json`, sizes of the files as their repositories state them.
const SIZES: [Size; 5] = [
    Size { name: "0.6B Q8_0", file: 639_446_688, read: 639_446_688, position: position(28, 8) },
    Size { name: "4B Q4_K_M", file: 2_497_280_256, read: 2_497_280_256, position: position(36, 8) },
    Size { name: "8B Q4_K_M", file: 5_027_783_488, read: 5_027_783_488, position: position(36, 8) },
    Size { name: "14B Q4_K_M", file: 9_001_752_960, read: 9_001_752_960, position: position(40, 8) },
    // 3.3 of 30.5 billion parameters are active for a token.
    Size { name: "30B-A3B Q4_K_M", file: 18_556_685_824, read: 2_007_000_000, position: position(48, 4) },
];

/// Tokens of prompt and answer that a user has at a time.
const TOKENS: u64 = 4096;
/// Users that are worth counting.
const MAX_USERS: u64 = 1000;

/// The table for `free` bytes of memory that are read at `bandwidth` bytes per second.
pub(super) fn table(free: u64, bandwidth: f64) -> String {
    let mut text = format!(
        "fits       {:<15} {:>9} {:>23} {:>24}\n",
        "Qwen3 as", "weights", "one answer, at most", "users of 4,096 tokens"
    );
    for size in &SIZES {
        let users = match n_users(size, free) {
            0 => "does not fit".into(),
            n if n >= MAX_USERS => format!("{MAX_USERS} and more"),
            n => n.to_string(),
        };
        let weights = format!("{:.1} GB", size.file as f64 / 1e9);
        let rate = format!("{:.1} tok/s", bandwidth / size.read as f64);
        let _ = writeln!(text, "           {:<15} {weights:>9} {rate:>23} {users:>24}", size.name);
    }
    text + "           Users: keys and values in F16 in half of the memory that the weights leave, as `serve` takes it.\n"
}

/// Users whose keys and values fit beside the weights, by the default of `--kv-memory`.
fn n_users(size: &Size, free: u64) -> u64 {
    free.saturating_sub(size.file) / 2 / (TOKENS * size.position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_what_keys_and_values_leave_room_for() {
        let eight = &SIZES[2];
        assert_eq!(eight.position, 147_456); // 144 KiB, as `inferno inspect` says of an 8B
        let users = 12 * TOKENS * eight.position;
        assert_eq!(n_users(eight, eight.file + 2 * users), 12);
        assert_eq!(n_users(eight, eight.file + 2 * users - 2), 11);
        assert_eq!(n_users(eight, 1 << 30), 0);
    }

    #[test]
    fn the_table_says_what_fits_and_how_fast_memory_lets_it_be() {
        let text = table(8 << 30, 20e9);
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(line("8B Q4_K_M").contains("4.0 tok/s"), "{text}");
        assert!(line("14B").contains("does not fit"), "{text}");
        assert!(line("30B-A3B").contains("10.0 tok/s"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    }
}
