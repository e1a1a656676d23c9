//! The most that one thread of this machine can do: loops of one instruction, and plain reads.

use std::hint::black_box;
use std::time::Instant;

use inferno_cpu::Isa;

/// A rate that nothing exceeds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peak {
    /// The instruction, or what else was timed.
    pub(crate) name: &'static str,
    /// In 10⁹/s.
    pub(crate) rate: f64,
}

/// The peaks of one level, where they are known.
#[derive(Debug)]
pub(crate) struct Peaks {
    /// Operations on 8-bit integers.
    pub(crate) int8: Option<Peak>,
    /// Operations on f32.
    pub(crate) float: Option<Peak>,
    isa: Isa,
}

/// Rounds of a loop, and chains of dependent instructions in it: enough to hide a latency of 6 twice over.
const ROUNDS: usize = 1 << 20;
const CHAINS: usize = 12;

impl Peaks {
    pub(crate) fn of(isa: Isa) -> Peaks {
        assert!(isa.is_available(), "this machine has no {isa}");
        let (int8, float) = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => {
                // SAFETY: the level is available, so the machine has its instructions.
                let (int8, float) = unsafe { x86::of(isa) };
                (Some(int8), Some(float))
            }
            _ => (None, None),
        };
        Peaks { int8, float, isa }
    }

    /// Of so many bytes, again and again: from the cache that they fit in.
    pub(crate) fn read(&self, n_bytes: usize) -> Peak {
        let numbers = vec![1u64; n_bytes.div_ceil(8)];
        let sum: fn(&[u64]) -> u64 = match self.isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level is available (`of` asked), and these have AVX2.
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 | Isa::Amx => |numbers| unsafe { x86::sum(numbers) },
            _ => sum,
        };
        let repeats = (32usize << 20).div_ceil(n_bytes);
        let all = || (0..repeats).for_each(|_| _ = black_box(sum(black_box(&numbers))));
        Peak { name: "a plain read", rate: fastest(all, repeats * n_bytes) }
    }
}

#[inline(always)]
fn sum(numbers: &[u64]) -> u64 {
    let mut sums = [0u64; 16];
    for chunk in numbers.chunks_exact(16) {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum = sum.wrapping_add(*x));
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

/// 10⁹/s of `amount` in the best of some calls.
fn fastest(f: impl Fn(), amount: usize) -> f64 {
    let seconds = (0..7).map(|_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    });
    amount as f64 / seconds.fold(f64::INFINITY, f64::min) / 1e9
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{CHAINS, Isa, Peak, ROUNDS, black_box, fastest};

    #[target_feature(enable = "avx2")]
    pub(super) fn sum(numbers: &[u64]) -> u64 {
        super::sum(numbers)
    }

    /// A function that does `$step` on every chain, as often as there are rounds.
    macro_rules! chains {
        ($name:ident, $features:literal, $start:expr, |$sum:ident, $x:ident| $step:expr) => {
            #[target_feature(enable = $features)]
            fn $name() {
                let mut sums = [$start; CHAINS];
                let $x = black_box($start);
                for _ in 0..ROUNDS {
                    for sum in &mut sums {
                        let $sum = *sum;
                        *sum = $step;
                    }
                }
                black_box(sums);
            }
        };
    }

    chains!(fma_256, "avx2,fma", _mm256_set1_ps(0.5), |sum, x| _mm256_fmadd_ps(sum, x, x));
    chains!(fma_512, "avx512f", _mm512_set1_ps(0.5), |sum, x| _mm512_fmadd_ps(sum, x, x));
    chains!(maddubs, "avx2", _mm256_set1_epi8(1), |sum, x| {
        _mm256_add_epi32(x, _mm256_madd_epi16(_mm256_maddubs_epi16(sum, x), x))
    });
    chains!(vnni_256, "avxvnni", _mm256_set1_epi8(1), |sum, x| _mm256_dpbusd_avx_epi32(sum, x, x));
    chains!(vnni_512, "avx512f,avx512vnni", _mm512_set1_epi8(1), |sum, x| _mm512_dpbusd_epi32(sum, x, x));

    /// Of products of bytes and of floats.
    ///
    /// # Safety
    /// The machine has the instructions of `isa`.
    pub(super) unsafe fn of(isa: Isa) -> (Peak, Peak) {
        let peak = |name, f: unsafe fn(), lanes: usize| {
            // SAFETY: the caller vouches for the level, and below each level names its own instructions only.
            let rate = fastest(|| unsafe { f() }, 2 * lanes * CHAINS * ROUNDS);
            Peak { name, rate }
        };
        let float = match isa {
            Isa::Avx512 => peak("vfmadd (512 bits)", fma_512, 16),
            _ => peak("vfmadd (256 bits)", fma_256, 8),
        };
        let int8 = match isa {
            Isa::Avx512 => peak("vpdpbusd (512 bits)", vnni_512, 64),
            Isa::AvxVnni => peak("vpdpbusd (256 bits)", vnni_256, 32),
            _ => peak("vpmaddubsw + vpmaddwd + vpaddd", maddubs, 32),
        };
        (int8, float)
    }
}
