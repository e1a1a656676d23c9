//! What machine this is, for whoever reads the figures later.

use serde_json::{Value as Json, json};

/// The processor, as far as the system tells.
pub(in crate::commands) struct Machine {
    pub(in crate::commands) cpu: String,
    pub(in crate::commands) n_cores: usize,
    /// Bytes of the largest cache.
    pub(in crate::commands) cache: Option<usize>,
}

impl Machine {
    pub(in crate::commands) fn found() -> Machine {
        Machine {
            cpu: cpu().unwrap_or_else(|| format!("unknown {} processor", std::env::consts::ARCH)),
            n_cores: std::thread::available_parallelism().map_or(1, usize::from),
            cache: cache(),
        }
    }

    pub(in crate::commands) fn to_json(&self) -> Json {
        json!({
            "cpu": self.cpu,
            "cores": self.n_cores,
            "largest_cache_bytes": self.cache,
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
        })
    }
}

/// Linux names the model, and on aarch64 only numbers for its parts.
fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    ["model name", "Model", "CPU part"].iter().find_map(|key| field(&text, key))
}

fn field(text: &str, key: &str) -> Option<String> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(k, _)| k.trim() == key).map(|(_, value)| value.trim().to_owned())
}

fn cache() -> Option<usize> {
    let folder = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let sizes = folder.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("size")).ok());
    sizes.filter_map(|size| cache_bytes(size.trim())).max()
}

/// `32K` and `260M` in bytes.
fn cache_bytes(size: &str) -> Option<usize> {
    let unit = match size.chars().last()? {
        'K' => 1 << 10,
        'M' => 1 << 20,
        _ => return None,
    };
    size[..size.len() - 1].parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_read_as_it_writes() {
        assert_eq!(field("processor\t: 0\nmodel name\t: A: CPU\n", "model name").as_deref(), Some("A: CPU"));
        assert_eq!(cache_bytes("32K"), Some(32 << 10));
        assert_eq!(cache_bytes("260M"), Some(260 << 20));
        assert_eq!(cache_bytes(""), None);
    }
}
