//! All variants of a kernel on the device at hand: one set of bits.

use inferno_format::DType;
use xtask::testing::is_thorough;

use super::*;
use crate::tests::gpu;

/// Outputs: two tiles, one of them not full.
const N: usize = 104;

/// Makes sure that all kernels give the same bits, which are numbers and not just zeros.
fn compare(
    (gpu, pipelines): (&mut Gpu, &mut Pipelines),
    layout: Layout,
    n_rows: usize,
    kernels: impl Iterator<Item = (Kernel, Grid)>,
) {
    let trial = Trial::new(gpu, layout, N, n_rows).unwrap();
    let mut expected = Vec::new();
    for (kernel, grid) in kernels {
        assert!(pipelines.try_get(gpu, kernel), "{kernel:?}");
        trial.time(gpu, pipelines, kernel, &grid, 1);
        let found = trial.output(gpu);
        if expected.is_empty() {
            assert!(found.iter().all(|&bits| f32::from_bits(bits).is_finite()), "{kernel:?}");
            let n = found.iter().filter(|&&bits| bits == 0).count();
            assert!(n < found.len() / 100, "{kernel:?}: {n} of {} are zero", found.len());
            expected = found;
        } else {
            assert!(expected == found, "{n_rows} rows: {kernel:?}");
        }
    }
    trial.end(gpu);
}

/// Types whose variants are all compared. `INFERNO_THOROUGH=1` has more types: the first variant of each, one other (by the type's
/// index) and that with matrices.
const COMPARED: [DType; 2] = [DType::F32, DType::Q8_0];

/// The first of `all`, and of the others the one whose turn it is.
fn first_and_another<V: Copy + PartialEq>(all: &[V], turn: usize) -> Vec<V> {
    let others: Vec<V> = all.iter().copied().filter(|&variant| variant != all[0]).collect();
    vec![all[0], others[turn % others.len()]]
}

#[test]
fn variants_give_the_same_bits() {
    let Some(mut gpu) = gpu() else { return };
    if gpu.matrices.is_none() {
        xtask::testing::skip("matrices", &format!("`{}` has no cooperative matrices", gpu.name()));
    }
    let types = if is_thorough() { DType::ALL } else { &COMPARED };
    for (i, &dtype) in types.iter().enumerate() {
        let Some(layout) = Layout::of(dtype) else { continue };
        let mut pipelines = Pipelines::default();
        let mut few = few_variants(&gpu);
        few.extend(dots(layout).iter().map(|&dot| Few { dot, ..FEW }));
        few.extend([2, 3].map(|in_flight| Few { in_flight, ..FEW }));
        let mut many = many_variants(&gpu, layout, SLICED_ROWS, Few { in_flight: 2, ..FEW });
        many.extend(dots(layout).iter().map(|&dot| Many::Dots(dot, Tile::Small)));
        if !COMPARED.contains(&dtype) {
            few = first_and_another(&few, i);
            let matrices = many.iter().copied().find(|many| matches!(many, Many::Matrices(_)));
            many = first_and_another(&many, i);
            many.extend(matrices);
        }
        let few = few.into_iter().map(|few| (Kernel::MatmulFew(layout, 2, few, 1), Grid::Groups(N / PANEL)));
        let many = |n_rows| {
            let kernel = move |&many: &Many| (many.kernel(layout, 1), many.grid(N, n_rows));
            many.iter().map(kernel)
        };
        compare((&mut gpu, &mut pipelines), layout, 2, few.chain(many(2)));
        compare((&mut gpu, &mut pipelines), layout, 37, many(37));
    }
}

#[test]
fn the_fastest_is_one_of_them() {
    let Some(mut gpu) = gpu() else { return };
    let layout = Layout::of(DType::Q8_0).unwrap();
    let variants = many_variants(&gpu, layout, SMALL_ROWS, FEW);
    let shape = |many: Many| (many.kernel(layout, 1), many.grid(OUTPUTS, SMALL_ROWS), 1);
    let (mut pipelines, later) = (Pipelines::default(), Instant::now() + Duration::from_secs(3600));
    let found = fastest(&mut gpu, &mut pipelines, (layout, SMALL_ROWS), variants.clone(), shape, later);
    assert!(variants.contains(&found.variant) && found.is_whole);
    let found =
        fastest(&mut gpu, &mut pipelines, (layout, SMALL_ROWS), variants.clone(), shape, Instant::now());
    assert_eq!(found, Chosen { variant: variants[0], is_whole: false }, "the time is over");
    assert!(gpu.failure.get().is_none());
}

#[test]
fn numbers_in_half_precision_are_widened_rightly_bit_by_bit() {
    let Some(mut gpu) = gpu() else { return };
    let mut recorder = Recorder::new(Recorder::first_uploads(&mut gpu).unwrap());
    assert!(widens_rightly(&mut gpu, &mut recorder, Halves::ByBits).unwrap());
}

#[test]
fn a_second_start_measures_nothing() {
    let Some(gpu) = gpu() else { return };
    let folder = std::env::temp_dir().join(format!("inferno-tuned-{}", std::process::id()));
    let layout = Layout::of(DType::Q8_0).unwrap();
    let start = |budget: Duration| {
        let mut gpu = gpu.share();
        assert_eq!(gpu.keep_tuning(&folder), None);
        let mut tuning = Tuning { measures_processors: true, budget, ..Tuning::default() };
        let mut pipelines = Pipelines::default();
        (tuning.few(&mut gpu, &mut pipelines, layout), tuning.n_measured)
    };
    // Without time for it, what certainly runs is taken, and nothing is kept.
    assert_eq!(start(Duration::ZERO), (FEW, 0));
    let (few, n_measured) = start(Duration::from_secs(3600));
    assert_eq!(n_measured, 3, "threads, what they ask for at once, and how they multiply");
    assert_eq!(start(Duration::from_secs(3600)), (few, 0));
    std::fs::remove_dir_all(&folder).unwrap();
}
