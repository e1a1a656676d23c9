//! What is compared, and what the ratios should be.

use std::path::Path;
use std::process::Command;

use super::Result;

/// Which build of llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// With all that this machine has.
    Native,
    /// With all but AMX; ours runs with `--isa avx512`.
    WithoutAmx,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Prompt { n_tokens: usize },
    Decode { n_steps: usize, depth: usize, n_sequences: usize },
}

/// What our program stores keys and values as; theirs is F16, and with `Q8_0` the better of F16 and Q8_0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kv {
    Auto,
    Q8_0,
}

/// A ratio to reach, and one to go on to: ours over llama.cpp's best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Target {
    pub(super) first: f64,
    pub(super) goal: f64,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Item {
    /// For `--only`.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Ending of the file's name.
    pub(super) file_type: &'static str,
    pub(super) work: Work,
    pub(super) kv: Kv,
    pub(super) peer: Peer,
    pub(super) target: Target,
    /// The same without AMX on either side: what counts where a machine has none.
    pub(super) target_without_amx: Option<Target>,
    /// Shares of the streaming read.
    pub(super) share: Option<Target>,
    /// It takes minutes.
    pub(super) is_slow: bool,
}

const fn target(first: f64, goal: f64) -> Target {
    Target { first, goal }
}

const PROMPT: Item = Item {
    name: "prompt-512-q8_0",
    title: "prompt 512, Q8_0",
    file_type: "q8_0",
    work: Work::Prompt { n_tokens: 512 },
    kv: Kv::Auto,
    peer: Peer::Native,
    target: target(3.0, 6.0),
    target_without_amx: Some(target(1.2, 2.0)),
    share: None,
    is_slow: false,
};

const DECODE: Item = Item {
    name: "decode-128-q8_0",
    title: "decode 128, Q8_0",
    work: Work::Decode { n_steps: 128, depth: 0, n_sequences: 1 },
    target: target(1.0, 1.1),
    target_without_amx: Some(target(1.2, 1.5)),
    share: Some(target(0.90, 0.95)),
    ..PROMPT
};

pub(super) const ITEMS: &[Item] = &[
    PROMPT,
    Item {
        name: "prompt-512-q4_0",
        title: "prompt 512, Q4_0",
        file_type: "q4_0",
        target_without_amx: None,
        ..PROMPT
    },
    Item {
        name: "prompt-512-q4_k_m",
        title: "prompt 512, Q4_K_M",
        file_type: "q4_k_m",
        target_without_amx: None,
        ..PROMPT
    },
    Item {
        name: "prompt-8192-q8_0",
        title: "prompt 8,192, Q8_0",
        work: Work::Prompt { n_tokens: 8192 },
        target: target(6.0, 15.0),
        target_without_amx: None,
        is_slow: true,
        ..PROMPT
    },
    DECODE,
    Item {
        name: "decode-128-q4_k_m",
        title: "decode 128, Q4_K_M",
        file_type: "q4_k_m",
        target: target(1.3, 1.6),
        target_without_amx: None,
        share: None,
        ..DECODE
    },
    Item {
        name: "decode-at-4096-q8_0",
        title: "decode 128 at depth 4,096, Q8_0",
        work: Work::Decode { n_steps: 128, depth: 4096, n_sequences: 1 },
        target: target(1.5, 1.8),
        target_without_amx: None,
        share: None,
        is_slow: true,
        ..DECODE
    },
    Item {
        name: "decode-at-4096-q8_0-kv8",
        title: "decode 128 at depth 4,096, Q8_0, 8-bit KV",
        work: Work::Decode { n_steps: 128, depth: 4096, n_sequences: 1 },
        kv: Kv::Q8_0,
        target: target(1.5, 2.5),
        target_without_amx: None,
        share: None,
        is_slow: true,
        ..DECODE
    },
    Item {
        name: "decode-32-sequences-q8_0",
        title: "decode 128 of 32 sequences, Q8_0",
        work: Work::Decode { n_steps: 128, depth: 0, n_sequences: 32 },
        target: target(4.0, 8.0),
        target_without_amx: None,
        share: None,
        ..DECODE
    },
    Item {
        name: "prompt-512-q8_0-no-amx",
        title: "prompt 512, Q8_0, without AMX",
        peer: Peer::WithoutAmx,
        target: target(1.2, 2.0),
        ..PROMPT
    },
    Item {
        name: "decode-128-q8_0-no-amx",
        title: "decode 128, Q8_0, without AMX",
        peer: Peer::WithoutAmx,
        target: target(1.2, 1.5),
        ..DECODE
    },
];

impl Work {
    pub(super) fn n_steps(self) -> usize {
        match self {
            Work::Prompt { .. } => 1,
            Work::Decode { n_steps, .. } => n_steps,
        }
    }
}

impl Item {
    /// What a ratio is held against on this machine.
    pub(super) fn target_here(&self, has_amx: bool) -> Target {
        self.target_without_amx.filter(|_| !has_amx).unwrap_or(self.target)
    }

    pub(super) fn our_arguments(&self, model: &Path, threads: usize) -> Vec<String> {
        let mut all = vec!["bench".into(), "--paced".into(), "-m".into(), model.display().to_string()];
        let mut put = |name: &str, value: &str| all.extend([name.to_owned(), value.to_owned()]);
        put("--threads", &threads.to_string());
        match self.work {
            Work::Prompt { n_tokens } => {
                put("--prompt", &n_tokens.to_string());
                put("--decode", "0");
            }
            Work::Decode { n_steps, depth, n_sequences } => {
                put("--prompt", "0");
                put("--decode", &n_steps.to_string());
                put("--depth", &depth.to_string());
                put("--sequences", &n_sequences.to_string());
            }
        }
        if self.kv == Kv::Q8_0 {
            put("--kv", "q8_0");
        }
        if self.peer == Peer::WithoutAmx {
            put("--isa", "avx512");
        }
        all
    }

    pub(super) fn their_arguments(&self, script: &Path, model: &Path, threads: usize) -> Vec<String> {
        let mut all = vec![script.display().to_string(), model.display().to_string()];
        let mut put = |name: &str, value: usize| all.extend([name.to_owned(), value.to_string()]);
        put("--threads", threads);
        match self.work {
            Work::Prompt { n_tokens } => put("--tokens", n_tokens),
            Work::Decode { n_steps, depth, n_sequences } => {
                put("--tokens", n_steps);
                put("--depth", depth);
                put("--sequences", n_sequences);
            }
        }
        all.insert(2, if matches!(self.work, Work::Prompt { .. }) { "prompt" } else { "decode" }.into());
        if self.kv == Kv::Q8_0 {
            all.extend(["--settings".into(), "flash,plain,flash+kv8".into()]);
        }
        all
    }
}

pub(super) fn file_name(file_type: &str) -> String {
    format!("qwen3-0.6b-{file_type}.gguf")
}

/// Makes a model of true shape with random weights, unless it is there.
pub(super) fn make_model(ours: &Path, folder: &Path, file_type: &str) -> Result<()> {
    let path = folder.join(file_name(file_type));
    if path.is_file() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|e| format!("cannot make `{}`: {e}", folder.display()))?;
    eprintln!("making `{}`", path.display());
    let status =
        Command::new(ours).args(["synth", "qwen3-0.6b"]).arg(&path).args(["--dtype", file_type]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`inferno synth` ended with {status}")),
        Err(e) => Err(format!("cannot run `{}`: {e}", ours.display())),
    }
}
