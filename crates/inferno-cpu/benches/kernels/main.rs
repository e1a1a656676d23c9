//! Every kernel through [`Backend`], on one thread, with its rate beside the peak of the instruction it leans on.
//!
//!     cargo bench -p inferno-cpu --bench kernels                        the best level, everything
//!     INFERNO_ISA=avx2 cargo bench -p inferno-cpu --bench kernels -- 'matmul Q4_K'
//!     INFERNO_ISA=all  cargo bench -p inferno-cpu --bench kernels -- attend
//!
//! Below criterion's lines stands the rate of the fastest sample: operations (a multiplication and an addition are two)
//! against a loop of nothing but that instruction, and bytes against a plain read of as many, again and again: both are
//! timed in this process. What works in place touches half the bytes it counts and may exceed the read of twice as many.
//! `scalar`, `neon` and `amx` have no peak of operations.

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use criterion::Criterion;
use inferno_cpu::{Buffer, Cpu, Isa, Weight};
use inferno_format::{DType, quantize};
use inferno_model::architecture::{Activation, CacheGroup};
use inferno_model::backend::{
    Attention, Backend, DeviceMemory, HostTensor, KvShape, KvType, LayerIdx, Source,
};
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::rope::{Angles, Pairing, Rope, Scaling};

mod peak;

use peak::Peaks;

fn main() {
    let mut c = Criterion::default().without_plots().sample_size(10).configure_from_args();
    c = c.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
    let levels = match std::env::var("INFERNO_ISA").as_deref() {
        Ok("all") => Isa::available(),
        Ok(name) => vec![name.parse().expect("INFERNO_ISA is `all` or an instruction set")],
        Err(_) => vec![Isa::best()],
    };
    for isa in levels {
        let cpu = Cpu::new(isa, NonZeroUsize::MIN).expect("this machine has the instruction set");
        let mut b = Bench { c: &mut c, cpu: RefCell::new(cpu), seed: Cell::new(1), peaks: Peaks::of(isa) };
        for &dtype in DType::ALL.iter().filter(|t| t.can_dequantize()) {
            [1, 64].iter().for_each(|&n_rows| b.matmul(dtype, n_rows));
        }
        b.attend("decode 1 over 4096", 1, 4096);
        b.attend("prefill 512 over 2048", 512, 2048);
        b.rows();
    }
    c.final_summary();
}

/// What one call does.
#[derive(Default)]
struct Work {
    int8: usize,
    float: usize,
    /// Read and written, not counting what a kernel reads again.
    bytes: usize,
}

struct Bench<'a> {
    c: &'a mut Criterion,
    cpu: RefCell<Cpu>,
    seed: Cell<u64>,
    peaks: Peaks,
}

impl Bench<'_> {
    fn matmul(&mut self, dtype: DType, n_rows: usize) {
        let (rows, cols) = (1024, 1024);
        let weight = self.tensor(dtype, rows, cols);
        let (x, mut out) = (self.noise(n_rows, cols), self.buffer(rows));
        let ops = 2 * n_rows * rows * cols;
        let (int8, float) = if dtype.is_float() { (0, ops) } else { (ops, 0) };
        let bytes = dtype.row_bytes(rows * cols).expect("whole blocks") + 4 * n_rows * (rows + cols);
        let work = Work { int8, float, bytes };
        self.run(&format!("matmul {dtype} {n_rows}"), work, |cpu| {
            cpu.matmul(&mut [&mut out], &[&weight], &x)
        });
    }

    /// `n_rows` at the end of a sequence of `len`.
    fn attend(&mut self, name: &str, n_rows: usize, len: usize) {
        let (n_heads, n_kv_heads, head_dim) = (16, 8, 128);
        let layer = LayerIdx { layer: 0, group: 0 };
        let scale = (head_dim as f32).sqrt().recip();
        let (key_width, value_width) = (head_dim, head_dim);
        let (softcap, window) = (None, None);
        let shape = Attention { layer, n_heads, n_kv_heads, key_width, value_width, scale, softcap, window };
        let pages: Vec<PageId> = (0..len.div_ceil(PAGE_LEN) as u32).map(PageId).collect();
        let [k, v] = [(); 2].map(|()| self.noise(len, n_kv_heads * head_dim));
        let q = self.noise(n_rows, n_heads * head_dim);
        let (mut fill, mut batch) = (Batch::default(), Batch::default());
        fill.push(&vec![0; len], 0, &[&pages], Want::Nothing);
        batch.push(&vec![0; n_rows], len - n_rows, &[&pages], Want::Nothing);
        let n_seen: usize = (len - n_rows + 1..=len).sum();
        for (kv_type, half_bytes) in [(KvType::F32, 8), (KvType::F16, 4), (KvType::Q8_0, 2)] {
            let groups =
                vec![(CacheGroup::pages(vec![0], [n_kv_heads, head_dim, head_dim], None), pages.len())];
            let kv_shape = KvShape { groups, kv_type };
            let mut pool = self.cpu.get_mut().kv_pool(&kv_shape).expect("a small pool");
            self.cpu.get_mut().store_kv(&mut pool, layer, &k, &v, &fill);
            let mut out = self.buffer(n_heads * head_dim);
            let float = 4 * n_seen * n_heads * head_dim;
            let work = Work { float, bytes: len * n_kv_heads * head_dim * half_bytes, ..Work::default() };
            let name = format!("attend {name} {kv_type:?}");
            self.run(&name, work, |cpu| cpu.attend(&mut out, &q, &pool, &batch, &shape, None));
        }
    }

    fn rows(&mut self) {
        let (n_rows, width, head_dim) = (512, 1024, 128);
        let bytes = |n: usize| Work { bytes: 4 * n * n_rows * width, ..Work::default() };
        let weight = self.tensor(DType::F32, 1, width);
        let [mut x, y] = [(); 2].map(|()| self.noise(n_rows, width));
        let mut out = self.buffer(width);
        self.run("rms_norm 512 x 1024", bytes(2), |cpu| cpu.rms_norm(&mut out, &y, &weight, 1e-6));
        let rope = Rope::new(Pairing::Halves, head_dim, 1e6, &Scaling::None, None, 1.0);
        let mut angles = Angles::new(&rope);
        angles.fill(&rope, &(0..n_rows as u32).collect::<Vec<_>>());
        self.run("rope 512 x 1024", bytes(2), |cpu| cpu.rope(&mut x, head_dim, &angles));
        let order: Vec<usize> = (0..n_rows).collect();
        for activation in [Activation::Silu, Activation::GeluTanh] {
            // What is activated again and again shrinks to denormal numbers, so each call gets a copy.
            self.run(&format!("copy and glu {activation:?} 512 x 1024"), bytes(5), |cpu| {
                cpu.take_rows(&mut x, &y, &order);
                cpu.glu(&mut x, &y, activation);
            });
        }
    }

    fn run(&mut self, name: &str, work: Work, mut f: impl FnMut(&mut Cpu)) {
        let cpu = self.cpu.get_mut();
        let mut best = f64::INFINITY;
        self.c.bench_function(&format!("{}/{name}", cpu.isa()), |bencher| {
            bencher.iter_custom(|n| {
                let start = Instant::now();
                (0..n).for_each(|_| f(cpu));
                let elapsed = start.elapsed();
                best = best.min(elapsed.as_secs_f64() / n as f64);
                elapsed
            });
        });
        if best == f64::INFINITY {
            return; // filtered out
        }
        let Peaks { int8, float, .. } = self.peaks;
        let read = Some(self.peaks.read(work.bytes));
        let all = [(work.int8, "Gop/s", int8), (work.float, "GFLOP/s", float), (work.bytes, "GB/s", read)];
        for (amount, unit, peak) in all.into_iter().filter(|(amount, ..)| *amount > 0) {
            let rate = amount as f64 / best / 1e9;
            let share =
                peak.map(|p| format!("{:5.1} % of {} at {:.1}", 100.0 * rate / p.rate, p.name, p.rate));
            println!("    {rate:9.2} {unit:7} {}", share.unwrap_or_default());
        }
    }

    /// A matrix of noise: floats from -1 to 1, or blocks of bytes whose scales are all finite.
    fn tensor(&self, dtype: DType, rows: usize, cols: usize) -> Weight {
        let bytes = if dtype.is_float() {
            let numbers: Vec<f32> =
                (0..rows * cols).map(|_| self.next() as f32 / (1u64 << 63) as f32 - 1.0).collect();
            quantize(dtype, &numbers).expect("floats are written as they are")
        } else {
            let n = dtype.row_bytes(rows * cols).expect("whole blocks");
            (0..n).map(|_| (self.next() >> 58) as u8).collect()
        };
        let source = Source::Memory(&bytes);
        let tensor = HostTensor { name: "noise".into(), dtype, n_experts: 1, rows, cols, source };
        self.cpu.borrow_mut().upload(&tensor).expect("a small tensor")
    }

    fn noise(&self, n_rows: usize, width: usize) -> Buffer {
        let (table, mut out) = (self.tensor(DType::F32, n_rows, width), self.buffer(width));
        self.cpu.borrow_mut().embed(&mut out, &table, &(0..n_rows as u32).collect::<Vec<_>>(), 1.0);
        out
    }

    fn buffer(&self, width: usize) -> Buffer {
        self.cpu.borrow_mut().buffer(width).expect("a small buffer")
    }

    /// An LCG's high bits are noise enough (Knuth's MMIX).
    fn next(&self) -> u64 {
        self.seed.set(
            self.seed.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407),
        );
        self.seed.get()
    }
}
