//! Rows of products are the same bits in any company: few rows are multiplied by other kernels than many.

use inferno_cpu::{Buffer, Cpu, Isa, Weight};
use inferno_format::DType;
use inferno_model::backend::{Backend, DeviceMemory, HostTensor, Source};
use xtask::testing::Random;

use crate::invariance::cpu;

/// More inputs than are unpacked at once, and no whole number of them.
const COLS: usize = 5 * 256;

fn upload(cpu: &mut Cpu, dtype: DType, rows: usize, bytes: &[u8]) -> Weight {
    let (name, source) = ("noise".into(), Source::Memory(bytes));
    cpu.upload(&HostTensor { name, dtype, n_experts: 1, rows, cols: COLS, source }).unwrap()
}

fn product(cpu: &mut Cpu, out: &mut Buffer, weight: &Weight, x: &[f32]) -> Vec<u32> {
    let (mut input, mut numbers) = (cpu.buffer(COLS).unwrap(), Vec::new());
    cpu.write(&mut input, x);
    cpu.matmul(&mut [out], &[weight], &input);
    cpu.read(out, &mut numbers).unwrap();
    numbers.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn few_rows_of_long_matrices_have_the_bits_of_many() {
    let mut random = Random(8);
    for isa in Isa::available() {
        let mut cpu = cpu(isa, 1);
        for &dtype in DType::ALL.iter().filter(|dtype| dtype.is_quantized()) {
            let rows = 17;
            // Scales of such bytes are finite.
            let n_bytes = dtype.row_bytes(rows * COLS).unwrap();
            let bytes: Vec<u8> = (0..n_bytes).map(|_| random.bits() as u8 >> 2).collect();
            let weight = upload(&mut cpu, dtype, rows, &bytes);
            let mut out = cpu.buffer(rows).unwrap();
            let x = random.numbers(9 * COLS);
            let many = product(&mut cpu, &mut out, &weight, &x);
            assert!(many.iter().any(|bits| f32::from_bits(*bits) != 0.0), "{dtype}");
            for n in [1, 2, 4, 8] {
                let few = product(&mut cpu, &mut out, &weight, &x[..n * COLS]);
                assert!(few == many[..n * rows], "{n} rows of {dtype} on {isa}");
            }
        }
    }
}
