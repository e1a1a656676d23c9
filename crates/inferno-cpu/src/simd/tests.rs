//! Every operation of every level against [`Scalar`]: the same bits, of everything that is special and of noise.
//!
//! One list of operations runs on each level. A vector of integers has neither load nor store, so [`integers`] and
//! [`read`] go by way of operations that are in the list too.

use xtask::testing::{Random, skip};

use super::scalar::Scalar;
use super::*;
use crate::isa::Isa;

fn does_as_scalar(isa: Isa) {
    if !isa.is_available() {
        return skip(isa.name(), &format!("this machine has no `{isa}`"));
    }
    let (found, expected) = match isa {
        // SAFETY: it is available.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => beside_scalar(unsafe { neon::Neon::proven() }),
        // SAFETY: it is available.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => beside_scalar(unsafe { avx2::Avx2::proven() }),
        // SAFETY: it is available.
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => beside_scalar(unsafe { avx2::AvxVnni::proven() }),
        // SAFETY: it is available.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => beside_scalar(unsafe { avx512::Avx512::<128>::proven() }),
        other => unreachable!("`{other}` has no operations of its own"),
    };
    assert_eq!(found.len(), expected.len());
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        assert_eq!(found.len(), expected.len(), "{name}: results");
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(found == expected, "{name}: result {i} is {found:#010x}, expected {expected:#010x}");
        }
    }
}

#[test]
fn neon_does_as_scalar() {
    does_as_scalar(Isa::Neon);
}

#[test]
fn avx2_does_as_scalar() {
    does_as_scalar(Isa::Avx2);
}

#[test]
fn avx_vnni_does_as_scalar() {
    does_as_scalar(Isa::AvxVnni);
}

#[test]
fn avx512_does_as_scalar() {
    does_as_scalar(Isa::Avx512);
}

/// What each operation gave, in bits.
type Results = Vec<(&'static str, Vec<u32>)>;

/// Results of the level, and of scalar.
fn beside_scalar<S: Simd>(s: S) -> (Results, Results) {
    let (mut found, mut expected) = (run(s), run(Scalar));
    if S::BY_PAIRS {
        words(s, &mut found);
        words(Scalar, &mut expected);
    }
    (found, expected)
}

fn run<S: Simd>(s: S) -> Results {
    let mut all = Results::new();
    moves(s, &mut all);
    arithmetic(s, &mut all);
    lanes_of_integers(s, &mut all);
    bytes(s, &mut all);
    products(s, &mut all);
    sums(s, &mut all);
    all
}

/// What keeps or chooses bits: those of no numbers count.
fn moves<S: Simd>(s: S, all: &mut Results) {
    let mut floats = |name, results: Vec<S::F>| {
        all.push((name, results.into_iter().flat_map(|x| s.to_array(x)).map(f32::to_bits).collect()));
    };
    floats("splat", SPECIAL.iter().map(|x| s.splat(*x)).collect());
    floats("zero", vec![s.zero()]);
    floats("load and store", operands().iter().map(|[x]| s.load(x)).collect());
    floats("load_f16", every_half().iter().map(|x| s.load_f16(x)).collect());
    floats("load_bf16", every_half().iter().map(|x| s.load_bf16(x)).collect());
    floats("load_i8", every_byte().iter().map(|x| s.load_i8(bytemuck::cast_ref(x))).collect());
    floats("load_u8", every_byte().iter().map(|x| s.load_u8(x)).collect());
    floats("load_e8m0", every_byte().iter().map(|x| s.load_e8m0(x)).collect());
    floats("abs", operands().iter().map(|[x]| s.abs(s.load(x))).collect());
    floats("copysign", operands().iter().map(|[x, sign]| s.copysign(s.load(x), s.load(sign))).collect());
    floats("max", operands().iter().map(|[a, b]| s.max(s.load(a), s.load(b))).collect());
    let [x, y] = [1, 2].map(|seed| s.load(&noise(seed)));
    floats("select_lt", operands().iter().map(|[a, b]| s.select_lt(s.load(a), s.load(b), x, y)).collect());

    let mut square = [[0.0; LANES]; LANES];
    square.as_flattened_mut().iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
    s.transpose(&mut square);
    all.push(("transpose", square.as_flattened().iter().map(|x| x.to_bits()).collect()));

    let mut halves = [0; LANES];
    let mut narrow = |x| {
        s.store_f16(&mut halves, x);
        halves.map(u32::from)
    };
    let mut results: Vec<u32> = operands().iter().flat_map(|[x]| narrow(s.load(x))).collect();
    // Every half precision number, the ties between each and the next, and the neighbours of both.
    for x in every_half() {
        for up in [-0x1001, -1, 0, 1, 0x0FFF, 0x1000, 0x1001] {
            let near =
                s.to_array(s.load_f16(&x)).map(|x| f32::from_bits(x.to_bits().wrapping_add_signed(up)));
            results.extend(narrow(s.load(&near)));
        }
    }
    all.push(("store_f16", results));
}

/// What rounds: no number is as good as another.
fn arithmetic<S: Simd>(s: S, all: &mut Results) {
    let mut floats = |name, results: Vec<S::F>| {
        let canonical = |x: f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
        all.push((name, results.into_iter().flat_map(|x| s.to_array(x)).map(canonical).collect()));
    };
    floats("add", operands().iter().map(|[a, b]| s.add(s.load(a), s.load(b))).collect());
    floats("sub", operands().iter().map(|[a, b]| s.sub(s.load(a), s.load(b))).collect());
    floats("mul", operands().iter().map(|[a, b]| s.mul(s.load(a), s.load(b))).collect());
    floats("div", operands().iter().map(|[a, b]| s.div(s.load(a), s.load(b))).collect());
    floats("fma", operands().iter().map(|[a, b, c]| s.fma(s.load(a), s.load(b), s.load(c))).collect());
    floats("fnma", operands().iter().map(|[a, b, c]| s.fnma(s.load(a), s.load(b), s.load(c))).collect());
    floats("round", operands().iter().map(|[x]| s.round(s.load(x))).collect());
    floats("power_of_two", exponents().iter().map(|n| s.power_of_two(integers(s, n))).collect());
    floats("to_f32", some_integers().iter().map(|x| s.to_f32(integers(s, x))).collect());

    // Of numbers, and either zero is the larger of both.
    let numbers = operands().into_iter().map(|[x]| x.map(|x| if x.is_nan() { 1.0 } else { x }));
    let results = numbers.map(|x| (s.max_lane(s.load(&x)) + 0.0).to_bits()).collect();
    all.push(("max_lane", results));
}

fn lanes_of_integers<S: Simd>(s: S, all: &mut Results) {
    let mut list = |name, results: Vec<S::I>| {
        all.push((name, results.into_iter().flat_map(|x| read(s, x)).map(|x| x as u32).collect()));
    };
    list("splat_i32", some_integers().as_flattened().iter().map(|x| s.splat_i32(*x)).collect());
    list("integers and back", some_integers().iter().map(|x| integers(s, x)).collect());
    let whole = |x: &[i32; LANES]| x.map(|x| (x & !0xFF) as f32);
    list("to_i32", some_integers().iter().map(|x| s.to_i32(s.load(&whole(x)))).collect());
    let pairs = some_integers().into_iter().zip(some_integers().into_iter().rev());
    list("sub_i32", pairs.map(|(a, b)| s.sub_i32(integers(s, &a), integers(s, &b))).collect());
    list("halve", some_integers().iter().map(|x| s.halve(integers(s, x))).collect());

    let small = some_integers().into_iter().map(|x| x.map(|x| x >> 4));
    all.push(("sum_lanes", small.map(|x| s.sum_lanes(integers(s, &x)) as u32).collect()));
    let mut out = [0; LANES];
    let mut low = |x| {
        s.store_i8(&mut out, x);
        out.map(|x| x as u32)
    };
    all.push(("store_i8", some_integers().iter().flat_map(|x| low(integers(s, x))).collect()));
}

fn bytes<S: Simd>(s: S, all: &mut Results) {
    let data = byte_vectors();
    let mut list = |name, results: Vec<S::B>| {
        let mut out = [0; 64];
        let mut bits = Vec::new();
        for x in results {
            s.store_weights(&mut out, x);
            bits.extend(out.map(|x| u32::from(x as u8)));
        }
        all.push((name, bits));
    };
    list("load_bytes", data.iter().map(|x| s.load_bytes(x)).collect());
    list("load_weights", data.iter().map(|x| s.load_weights(bytemuck::cast_ref(x))).collect());
    list("low_nibbles", data.iter().map(|x| s.low_nibbles(s.load_bytes(x))).collect());
    list("high_nibbles", data.iter().map(|x| s.high_nibbles(s.load_bytes(x))).collect());
    for i in 0..4 {
        list("crumbs", data.iter().map(|x| s.crumbs(s.load_bytes(x), i)).collect());
    }
    let table = std::array::from_fn(|i| 0xA7 ^ (17 * i as u8));
    list("look_up", data.iter().map(|x| s.look_up(&table, s.low_nibbles(s.load_bytes(x)))).collect());
    let pairs = data.iter().zip(data.iter().rev());
    list("or", pairs.map(|(a, b)| s.or(s.load_bytes(a), s.load_bytes(b))).collect());
    for b in [0, 1, 120, 128, 224, 255] {
        list("add_bytes", data.iter().map(|a| s.add_bytes(s.load_bytes(a), b)).collect());
    }
}

/// Weights from -128, inputs from -127.
fn products<S: Simd>(s: S, all: &mut Results) {
    let mut random = Random(9);
    let mut results = Vec::new();
    let extremes = [[-127; 4], [127; 4], [127, -127, 127, -127], [0, 0, 0, 127], [-127, 0, 1, 0], [0; 4]];
    let weights = byte_vectors().into_iter().chain([[0x80; 64], [0x7F; 64], [0xFF; 64]]);
    for weights in weights {
        let weights = s.add_bytes(s.load_weights(bytemuck::cast_ref(&weights)), S::BIAS);
        let noise = [(); 10].map(|()| [(); 4].map(|()| random.below(255) as i8));
        for inputs in extremes.into_iter().chain(noise.map(|x| x.map(|x| x.max(-127)))) {
            let before: [i32; LANES] = std::array::from_fn(|_| random.bits() as i32 >> 2);
            let sum = inputs.iter().map(|x| i32::from(*x)).sum::<i32>();
            let start = before.map(|before| before - i32::from(S::BIAS) * sum);
            results.extend(read(s, s.dot4(integers(s, &start), weights, inputs)).map(|x| x as u32));
        }
    }
    all.push(("dot4", results));

    let mut results = Vec::new();
    for weights in byte_vectors().as_chunks::<4>().0 {
        let weights = weights.map(|x| s.add_bytes(s.load_weights(bytemuck::cast_ref(&x)), S::BIAS));
        let inputs = [(); 4].map(|()| [(); 4].map(|()| (random.below(255) as i8).max(-127)));
        let sum = inputs.as_flattened().iter().map(|x| i32::from(*x)).sum::<i32>();
        let start = s.splat_i32(77 - i32::from(S::BIAS) * sum);
        results.extend(read(s, s.dot16(start, &weights, &inputs)).map(|x| x as u32));
    }
    all.push(("dot16", results));
}

/// Runs of products with weights of every width in bits, the largest, the smallest and noise. Those of eight bits are signed.
fn sums<S: Simd>(s: S, all: &mut Results) {
    let mut random = Random(11);
    for (bits, is_biased, len) in
        (4..=8).flat_map(|bits| [(bits, true, 16), (bits, true, 32), (bits, false, 16), (bits, false, 32)])
    {
        let run = Run { bits, is_biased: is_biased || bits == 8, len };
        let mut results = Vec::new();
        for case in 0..90 {
            let weights: [[u8; 64]; 8] = [(); 8].map(|()| match case % 5 {
                0 => [0xFF >> (8 - bits); 64],
                1 => [if bits == 8 { 0x80 } else { 0 }; 64],
                _ => [(); 64].map(|()| random.bits() as u8 >> (8 - bits)),
            });
            let inputs: [[i8; 4]; 8] = [(); 8].map(|()| match case % 6 {
                0 | 1 => [127; 4],
                2 | 3 => [-127; 4],
                _ => [(); 4].map(|()| (random.below(255) as i8).max(-127)),
            });
            let (weights, inputs) = (&weights[..len / 4], &inputs[..len / 4]);
            let sum = inputs.as_flattened().iter().map(|x| i32::from(*x)).sum::<i32>();
            let start = s.start(inputs, sum);
            let mut sums = s.begin(run, start);
            for (weights, x) in weights.as_chunks::<2>().0.iter().zip(inputs.as_chunks().0) {
                // Of levels without a bias for such weights, those with one are signed.
                let weights = weights.map(|x| {
                    let x = s.load_weights(bytemuck::cast_ref(&x));
                    match bits {
                        8 => s.add_bytes(x, S::BIAS),
                        _ if is_biased && S::SMALL_BIAS == 0 => {
                            s.add_bytes(x, (256 - (1 << (bits - 1))) as u8)
                        }
                        _ => x,
                    }
                });
                sums = s.dot8(sums, run, weights, *x);
            }
            results.extend(read(s, s.total(sums, run, start)).map(|x| x as u32));
        }
        all.push(("sums", results));
    }
}

/// Bytes in 16 bits, and products of these.
fn words<S: Simd>(s: S, all: &mut Results) {
    let mut random = Random(13);
    let (mut halves, mut products) = (Vec::new(), Vec::new());
    for bytes in byte_vectors() {
        for half in s.to_words(s.load_weights(bytemuck::cast_ref(&bytes))) {
            let mut words = [0i16; 32];
            s.store_weights(bytemuck::cast_mut(&mut words), half);
            halves.extend(words.map(|x| x as u32));
            let inputs = [(); 2].map(|()| [-127, 127, 0, (random.below(255) as i16) - 127][random.below(4)]);
            let before = std::array::from_fn(|_| random.bits() as i32 >> 2);
            let sum = s.dot2(integers(s, &before), s.load_words(&words), inputs);
            products.extend(read(s, sum).map(|x| x as u32));
        }
    }
    all.extend([("to_words", halves), ("dot2 of load_words", products)]);
}

/// Lanes of any integers: the difference of two whole numbers that f32 has.
fn integers<S: Simd>(s: S, x: &[i32; LANES]) -> S::I {
    let high = s.to_i32(s.load(&x.map(|x| (x & !0xFF) as f32)));
    let low = s.to_i32(s.load(&x.map(|x| -((x & 0xFF) as f32))));
    s.sub_i32(high, low)
}

/// The reverse: the lowest byte, and as a number in f32 what is left without it.
fn read<S: Simd>(s: S, x: S::I) -> [i32; LANES] {
    let mut low = [0; LANES];
    s.store_i8(&mut low, x);
    let low = low.map(i32::from);
    let high = s.to_array(s.to_f32(s.sub_i32(x, integers(s, &low))));
    std::array::from_fn(|i| (high[i] as i32).wrapping_add(low[i]))
}

const SPECIAL: [f32; 34] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::from_bits(0xFFC1_2345),
    // Signalling.
    f32::from_bits(0x7F80_0001),
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    // Subnormal.
    f32::from_bits(1),
    f32::from_bits(0x8000_0001),
    f32::from_bits(0x007F_FFFF),
    // Around one.
    1.0 + f32::EPSILON,
    1.0 - f32::EPSILON / 2.0,
    // Ties of `round`, and beside them.
    0.5,
    -0.5,
    1.5,
    2.5,
    -3.5,
    0.499_999_97,
    8_388_607.5,
    -8_388_609.0,
    3e9,
    // The ends of half precision.
    65_504.0,
    65_520.0,
    65_519.996,
    5.960_464_5e-8,
    2.980_232_2e-8,
    -2.980_232_6e-8,
    6.103_515_6e-5,
];

/// All choices of N special numbers, then random bits, then random numbers of like size.
fn operands<const N: usize>() -> Vec<[[f32; LANES]; N]> {
    let n_special = SPECIAL.len().pow(N as u32).next_multiple_of(LANES);
    let mut random = Random(N as u64);
    let mut number = |i: usize, operand: usize| match i {
        i if i < n_special => SPECIAL[i / SPECIAL.len().pow(operand as u32) % SPECIAL.len()],
        i if i % 2 == 0 => f32::from_bits(random.bits() as u32),
        _ => random.numbers(1)[0] * [1.0, 300.0, 1e-6][random.below(3)],
    };
    let vectors = n_special / LANES + 500;
    let mut one = |v: usize| std::array::from_fn(|j| std::array::from_fn(|lane| number(v * LANES + lane, j)));
    (0..vectors).map(&mut one).collect()
}

fn noise(seed: u64) -> [f32; LANES] {
    Random(seed).numbers(LANES).try_into().unwrap()
}

fn every_half() -> Vec<[u16; LANES]> {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    all.as_chunks().0.to_vec()
}

fn every_byte() -> Vec<[u8; LANES]> {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    all.as_chunks().0.to_vec()
}

/// Every byte in every lane, then noise.
fn byte_vectors() -> Vec<[u8; 64]> {
    let mut random = Random(3);
    let shifted = (0..=u8::MAX).map(|first| std::array::from_fn(|i| first.wrapping_add(i as u8)));
    shifted.chain((0..64).map(|_| std::array::from_fn(|_| random.bits() as u8))).collect()
}

fn exponents() -> Vec<[i32; LANES]> {
    let all: Vec<i32> = (-126..=127).chain([0, 1]).collect();
    all.as_chunks().0.to_vec()
}

/// The ends, what rounds in f32, and noise of every size.
fn some_integers() -> Vec<[i32; LANES]> {
    let mut all = vec![0, 1, -1, 2, -2, 3, -3, 127, -128, 128, -129, 255, 256];
    all.extend([i32::MAX, i32::MIN, i32::MIN + 1, i32::MAX - 1, 1 << 24, (1 << 24) + 1, (1 << 25) + 2]);
    all.extend([(1 << 25) + 6, -(1 << 24) - 1, i32::MAX - 64, i32::MAX - 63]);
    let mut random = Random(4);
    all.extend((all.len()..1600).map(|i| random.bits() as i32 >> (i % 32)));
    all.as_chunks().0.to_vec()
}
