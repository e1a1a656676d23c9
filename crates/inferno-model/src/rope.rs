//! Rotary position embeddings: which numbers rotate by which angle at which position.
//!
//! Sources: RoFormer (<https://arxiv.org/abs/2104.09864>), position interpolation
//! (<https://arxiv.org/abs/2306.15595>), YaRN (<https://arxiv.org/abs/2309.00071>).

/// Which two numbers of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// `(x[2i], x[2i + 1])`.
    Adjacent,
    /// `(x[i], x[i + dims / 2])`.
    Halves,
}

/// How a model trained on short contexts is stretched to longer ones.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// As trained.
    None,
    /// All angles divided by `factor`.
    Linear {
        /// How many times longer the context is.
        factor: f32,
    },
    /// Slow rotations divided by `factor`, fast ones kept, a ramp between.
    Yarn {
        /// How many times longer the context is.
        factor: f32,
        /// Positions the model was first trained on.
        original_context: usize,
        /// What cosine and sine are multiplied by; `None`: `1 + ln(factor) / 10`.
        magnitude: Option<f32>,
        /// Rotations over the original context from which on a pair keeps its angle.
        beta_fast: f32,
        /// Rotations up to which a pair is fully interpolated.
        beta_slow: f32,
        /// The ramp begins and ends at whole pairs.
        rounds_borders: bool,
    },
}

/// Queries far from the start of a context are scaled up: that at position `p` by `1 + beta · ln(1 + ⌊p / length⌋)`.
///
/// Source: `get_llama_4_attn_scale` in Hugging Face transformers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// Growth of the scale.
    pub beta: f32,
    /// Positions that have the same scale.
    pub length: usize,
}

impl Temperature {
    /// The scale of the query at `position`, rounded once.
    pub fn scale(&self, position: u32) -> f32 {
        let periods = position as usize / self.length;
        (1.0 + f64::from(self.beta) * libm::log(1.0 + periods as f64)) as f32
    }
}

/// One rotation: the angle per position of every pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Which two numbers rotate together.
    pub pairing: Pairing,
    /// Numbers of a head that rotate; the rest stays.
    pub dims: usize,
    /// Radians per position of each pair, `dims / 2` of them.
    inv_freq: Vec<f64>,
    /// Cosine and sine are multiplied by this (YaRN's and LongRoPE's attention factor).
    magnitude: f64,
    /// Of queries, once they are rotated.
    pub temperature: Option<Temperature>,
}

impl Rope {
    /// Pair `i` turns by `theta^(-2i / dims)` a position, divided by `factors[i]`, then scaled.
    pub fn new(
        pairing: Pairing,
        dims: usize,
        theta: f32,
        scaling: &Scaling,
        factors: Option<&[f32]>,
        attn_factor: f32,
    ) -> Rope {
        let theta = f64::from(theta);
        let mut magnitude = f64::from(attn_factor);
        let mut inv_freq: Vec<f64> = (0..dims / 2)
            .map(|i| {
                let freq = libm::pow(theta, -((2 * i) as f64) / dims as f64);
                factors.map_or(freq, |f| freq / f64::from(f[i]))
            })
            .collect();
        match *scaling {
            Scaling::None => {}
            Scaling::Linear { factor } => inv_freq.iter_mut().for_each(|f| *f /= f64::from(factor)),
            Scaling::Yarn {
                factor,
                original_context,
                magnitude: given,
                beta_fast,
                beta_slow,
                rounds_borders,
            } => {
                // The pair that turns `rotations` times over the original context.
                let pair_of = |rotations: f32| {
                    let full_turns = original_context as f64 / (f64::from(rotations) * std::f64::consts::TAU);
                    dims as f64 * libm::log(full_turns) / (2.0 * libm::log(theta))
                };
                let last = (dims - 1) as f64;
                let (low, high) = (pair_of(beta_fast), pair_of(beta_slow));
                let (low, high) = if rounds_borders { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.clamp(0.0, last), high.clamp(0.0, last));
                for (i, f) in inv_freq.iter_mut().enumerate() {
                    let interpolate = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                    *f *= interpolate / f64::from(factor) + (1.0 - interpolate);
                }
                magnitude *= match given {
                    Some(given) => f64::from(given),
                    None => 1.0 + 0.1 * libm::log(f64::from(factor.max(1.0))),
                };
            }
        }
        Rope { pairing, dims, inv_freq, magnitude, temperature: None }
    }
}

/// Cosines and sines of one batch's rows under one [`Rope`]; every layer of the step reuses them.
#[derive(Debug, Clone)]
pub struct Angles {
    /// Which two numbers rotate together.
    pub pairing: Pairing,
    /// Numbers of a head that rotate.
    pub dims: usize,
    /// (n_rows, dims / 2)
    pub cos: Vec<f32>,
    /// (n_rows, dims / 2)
    pub sin: Vec<f32>,
    /// (n_rows,), what queries are multiplied by once they are rotated; empty where that is one.
    pub query_scales: Vec<f32>,
}

impl Angles {
    /// Room for the angles of `rope`, no rows yet.
    pub fn new(rope: &Rope) -> Angles {
        let Rope { pairing, dims, .. } = *rope;
        Angles { pairing, dims, cos: Vec::new(), sin: Vec::new(), query_scales: Vec::new() }
    }

    /// Computes the rows of `positions`, in f64, rounded once.
    pub fn fill(&mut self, rope: &Rope, positions: &[u32]) {
        self.cos.clear();
        self.sin.clear();
        self.query_scales.clear();
        if let Some(temperature) = &rope.temperature {
            self.query_scales.extend(positions.iter().map(|&position| temperature.scale(position)));
        }
        for &position in positions {
            for &freq in &rope.inv_freq {
                let (sin, cos) = libm::sincos(f64::from(position) * freq);
                self.cos.push((cos * rope.magnitude) as f32);
                self.sin.push((sin * rope.magnitude) as f32);
            }
        }
    }
}
