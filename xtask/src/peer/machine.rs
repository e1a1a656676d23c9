//! The machine that figures were measured on.

use std::fmt;

/// What the figures were measured on.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) n_cores: usize,
    pub(crate) memory_gb: Option<f64>,
    /// Vector and matrix instructions, as Linux names them.
    pub(crate) flags: Vec<&'static str>,
    pub(crate) has_amx: bool,
}

const FLAGS: [&str; 10] = [
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
];

impl Machine {
    pub(crate) fn found() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let field = |text: &str, key: &str| {
            let mut fields = text.lines().filter_map(|line| line.split_once(':'));
            fields.find(|f| f.0.trim() == key).map(|f| f.1.trim().to_owned())
        };
        let flags = field(&cpu, "flags").or(field(&cpu, "Features")).unwrap_or_default();
        let kib = field(&memory, "MemTotal").and_then(|m| m.split(' ').next()?.parse::<f64>().ok());
        Machine {
            cpu: field(&cpu, "model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
            n_cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gb: kib.map(|kib| kib * 1024.0 / 1e9),
            flags: FLAGS.into_iter().filter(|flag| flags.split(' ').any(|f| f == *flag)).collect(),
            has_amx: flags.split(' ').any(|flag| flag == "amx_int8"),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cores", self.cpu, self.n_cores)?;
        if let Some(gb) = self.memory_gb {
            write!(f, ", {gb:.0} GB")?;
        }
        write!(f, "; {}", self.flags.join(" "))
    }
}
