//! Instruction sets: what there is, what this machine has, and which one to use.

use std::fmt;
use std::str::FromStr;

use inferno_model::backend::KvType;

/// An instruction set that kernels are built for, the plainest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What the target's baseline gives.
    Scalar,
    /// 128-bit NEON with dot products of bytes.
    Neon,
    /// 256-bit AVX2 with FMA and F16C.
    Avx2,
    /// The same with dot products of bytes.
    AvxVnni,
    /// 512-bit AVX-512 F, BW, VL, DQ with VNNI.
    Avx512,
    /// The same with tiles of 8-bit integers, and of bf16 where there are any.
    Amx,
}

/// An instruction set that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// No such name.
    #[error("`{0}` is no instruction set, expected one of: {all}", all = names(&Isa::ALL))]
    Unknown(String),
    /// This machine lacks it.
    #[error("this machine has no `{wanted}`, it has: {has}", has = names(&Isa::available()))]
    Absent {
        /// What was asked for.
        wanted: Isa,
    },
}

fn names(all: &[Isa]) -> String {
    all.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(" ")
}

impl Isa {
    /// All there are, on every machine.
    pub const ALL: [Isa; 6] = [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::AvxVnni, Isa::Avx512, Isa::Amx];

    /// As options and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avx-vnni",
            Isa::Avx512 => "avx512",
            Isa::Amx => "amx",
        }
    }

    /// Those this machine can run, the best last.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The best one this machine can run.
    pub fn best() -> Isa {
        Isa::available().pop().expect("there is always `scalar`")
    }

    /// Itself, if this machine can run it.
    pub fn check(self) -> Result<Isa, IsaError> {
        if self.is_available() { Ok(self) } else { Err(IsaError::Absent { wanted: self }) }
    }

    /// The type of 16 bits in which keys and values are best stored: that of its tiles, if this machine's multiply it as
    /// we think.
    pub fn half_kv(self) -> KvType {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx if <crate::amx::Hardware as crate::amx::bf16::Bf16Tiles>::are_usable() => KvType::Bf16,
            _ => KvType::F16,
        }
    }

    /// Can this machine run it?
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => has_avx2() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => has_avx512(),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => has_avx512() && crate::amx::is_usable(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("dotprod"),
            _ => false,
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Isa, IsaError> {
        let found = Isa::ALL.into_iter().find(|isa| isa.name() == name);
        found.ok_or_else(|| IsaError::Unknown(name.into()))
    }
}
