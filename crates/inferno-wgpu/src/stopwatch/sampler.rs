//! A sample of dispatches that are timed, and estimates for all.
//!
//! A device that reads its clock waits for what runs, so that a reading between all dispatches of a token makes it take nearly
//! twice as long (on an H200 501 tokens a second became 297: 5.5 µs for each of 254 readings). A kernel is therefore timed the
//! less often the shorter it is, by chance and with a known probability; each time that is measured counts for as many calls as
//! one in `n` says (D. Horvitz and D. Thompson, "A Generalization of Sampling Without Replacement", 1952): sums are unbiased.

use std::time::Duration;

use inferno_model::backend::KernelTime;

/// Seconds that the two readings around a kernel cost.
const COST: f64 = 12e-6;
/// Share of the time of kernels that readings may add.
const SHARE: f64 = 0.05;
/// Calls of a kernel that are all timed, to find out how long it is.
const FIRST: u64 = 8;
/// Calls of which one is timed, at most.
const MOST: u64 = 64;

/// Kernels so far.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    kinds: Vec<Kind>,
    noise: u64,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// Since the last [`Sampler::take`].
    n_calls: u64,
    n_timed: u64,
    seconds: f64,
    /// Ever, of the calls that were timed.
    all_timed: u64,
    all_seconds: f64,
}

/// A call that is timed, for as many calls as `weight`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Timed {
    kind: usize,
    weight: u64,
}

impl Sampler {
    /// Counts a call. Gives whether to time it.
    pub(super) fn call(&mut self, name: &'static str) -> Option<Timed> {
        let kind = self.kinds.iter().position(|kind| kind.name == name).unwrap_or_else(|| {
            let zero = Kind { name, n_calls: 0, n_timed: 0, seconds: 0.0, all_timed: 0, all_seconds: 0.0 };
            self.kinds.push(zero);
            self.kinds.len() - 1
        });
        self.kinds[kind].n_calls += 1;
        let weight = self.kinds[kind].period();
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.noise = self.noise.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.noise ^ self.noise >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31).is_multiple_of(weight).then_some(Timed { kind, weight })
    }

    /// Notes the time of a call.
    pub(super) fn note(&mut self, timed: Timed, time: Duration) {
        let kind = &mut self.kinds[timed.kind];
        let seconds = time.as_secs_f64();
        kind.n_timed += 1;
        kind.seconds += timed.weight as f64 * seconds;
        kind.all_timed += 1;
        kind.all_seconds += seconds;
    }

    /// The kernels that were called since the last time.
    pub(super) fn take(&mut self) -> Vec<KernelTime> {
        let called = self.kinds.iter_mut().filter(|kind| kind.n_calls > 0);
        let times = called.map(|kind| {
            let (n_calls, n_timed) = (std::mem::take(&mut kind.n_calls), std::mem::take(&mut kind.n_timed));
            let time = Duration::from_secs_f64(std::mem::take(&mut kind.seconds));
            KernelTime { name: kind.name, n_calls, n_timed, time }
        });
        times.collect()
    }
}

impl Kind {
    /// One in how many calls is timed.
    fn period(&self) -> u64 {
        if self.all_timed < FIRST {
            return 1;
        }
        let mean = self.all_seconds / self.all_timed as f64;
        ((COST / (SHARE * mean)).ceil() as u64).clamp(1, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kernels of a token, their calls and microseconds: those of a small model on a fast device, one of which is long.
    const TOKEN: [(&str, u64, f64); 5] = [
        ("product", 113, 10.3),
        ("attend", 28, 25.0),
        ("norm", 57, 9.5),
        ("heads", 28, 12.6),
        ("choose", 1, 900.0),
    ];

    #[test]
    fn samples_stand_for_all_and_cost_little() {
        let mut sampler = Sampler::default();
        const STEPS: u64 = 2000;
        let mut n_readings = 0;
        for step in 0..STEPS {
            for (name, n, micro) in TOKEN {
                for i in 0..n {
                    if let Some(timed) = sampler.call(name) {
                        n_readings += 1;
                        // Calls of a kernel differ, by their place and by chance.
                        let factor = 0.5 + (i % 3) as f64 / 2.0 + 0.1 * ((step % 2) as f64 - 0.5);
                        sampler.note(timed, Duration::from_secs_f64(1e-6 * micro * factor));
                    }
                }
            }
        }
        let times = sampler.take();
        let mut whole = 0.0;
        for (time, (name, n, micro)) in times.iter().zip(TOKEN) {
            assert_eq!((time.name, time.n_calls), (name, n * STEPS));
            let factors: f64 = (0..n).map(|i| 0.5 + (i % 3) as f64 / 2.0).sum();
            let expected = 1e-6 * micro * factors * STEPS as f64;
            let error = time.time.as_secs_f64() / expected - 1.0;
            assert!(error.abs() < 0.05, "{name}: {error}");
            whole += expected;
        }
        let added = COST * n_readings as f64 / whole;
        assert!(added < 0.07, "readings add {added} of the time");
        assert!(times.iter().all(|time| time.n_timed > 100), "{times:?}");
        assert!(sampler.take().is_empty());
    }

    #[test]
    fn long_kernels_are_all_timed() {
        let mut sampler = Sampler::default();
        for _ in 0..100 {
            let timed = sampler.call("long").expect("a call that is timed");
            sampler.note(timed, Duration::from_millis(1));
        }
        assert_eq!(
            sampler.take(),
            [KernelTime { name: "long", n_calls: 100, n_timed: 100, time: Duration::from_millis(100) }]
        );
    }
}
