//! All variants of a kernel on the device at hand: one set of bits.

use inferno_format::DType;

use super::*;
use crate::tests::gpu;

/// Outputs, two tiles of which one is not full, and rows.
const N: usize = 104;
const ROWS_HERE: usize = 2;

#[test]
fn all_variants_give_the_same_bits() {
    let Some(mut gpu) = gpu() else { return };
    if gpu.matrices.is_none() {
        xtask::testing::skip("matrices", &format!("`{}` has no cooperative matrices", gpu.name()));
    }
    for layout in DType::ALL.iter().filter_map(|&dtype| Layout::of(dtype)) {
        let mut pipelines = Pipelines::default();
        let trial = Trial::new(&mut gpu, layout, N, ROWS_HERE).unwrap();
        let few = few_variants(&gpu)
            .into_iter()
            .flat_map(|few| dots(layout).iter().map(move |&dot| Few { dot, ..few }))
            .map(|few| (Kernel::MatmulFew(layout, ROWS_HERE as u32, few, 1), Grid::Groups(N / PANEL)));
        // The first rows of a tile.
        let many = many_variants(&gpu, layout)
            .into_iter()
            .map(|many| (Kernel::MatmulMany(layout, many, 1), many.grid(N, ROWS_HERE)));
        let mut expected = Vec::new();
        for (kernel, grid) in few.chain(many) {
            assert!(pipelines.try_get(&gpu, kernel), "{kernel:?}");
            trial.time(&gpu, &mut pipelines, kernel, &grid, 1);
            let found = trial.output(&gpu);
            if expected.is_empty() {
                assert!(found.iter().all(|&bits| f32::from_bits(bits).is_finite()), "{kernel:?}");
                let n = found.iter().filter(|&&bits| bits == 0).count();
                assert!(n < found.len() / 100, "{kernel:?}: {n} of {} are zero", found.len());
                expected = found;
            } else {
                assert!(expected == found, "{kernel:?}");
            }
        }
        trial.end(&mut gpu);
    }
}

#[test]
fn the_fastest_is_one_of_them() {
    let Some(mut gpu) = gpu() else { return };
    let layout = Layout::of(DType::Q6_K).unwrap();
    let variants = many_variants(&gpu, layout);
    let shape = |many: Many| (Kernel::MatmulMany(layout, many, 1), many.grid(OUTPUTS, ROWS), 1);
    let found = fastest(&mut gpu, &mut Pipelines::default(), layout, ROWS, variants.clone(), shape);
    assert!(variants.contains(&found));
    assert!(gpu.failure.get().is_none());
}
