use super::*;
use crate::tests::gpu;
use naga::back::{msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};

#[test]
fn a_device_has_limits() {
    let Some(mut gpu) = gpu() else { return };
    let limits = Limits::measure(&mut gpu).unwrap();
    assert!(limits.dispatch.by_host > 0.0 && limits.dispatch.seconds() < 1e-2, "{limits:?}");
    assert!(limits.matrices.flop_per_s > 1e8, "{limits:?}");
    println!("{limits:?}");
}

#[test]
fn the_device_s_clock_counts_unless_it_is_implausible() {
    let time = |by_device| DispatchTime { by_host: 4.0, by_device }.seconds();
    assert_eq!(time(Some(3.0)), 3.0);
    assert_eq!([None, Some(0.0), Some(400.0)].map(time), [4.0; 3]);
}

#[test]
fn chains_of_multiplications_are_computed() {
    let Some(mut gpu) = gpu() else { return };
    let factors = storage(&mut gpu, 32).unwrap();
    let out = storage(&mut gpu, 4 * u64::from(FUSED_THREADS)).unwrap();
    gpu.queue.write_buffer(&factors.buffer, 0, bytemuck::cast_slice(&[[0.5f32; 4], [0.25; 4]]));
    let fused = kernel(&gpu, &fused_wgsl(), &[&factors, &out]).unwrap();
    fused.run(&gpu, Size { n_groups: 1, n_dispatches: 1 }).unwrap();
    let mut recorder =
        crate::recorder::Recorder::new(crate::recorder::Recorder::first_uploads(&mut gpu).unwrap());
    let mut found = Vec::new();
    let take = |bytes: &[u8]| found = bytemuck::pod_collect_to_vec::<u8, f32>(bytes);
    recorder.read(&mut gpu, &out, (0, out.n_bytes), take).unwrap();
    // Each of 32 chains goes to 0.25 / (1 - 0.5).
    assert_eq!(found, vec![16.0; FUSED_THREADS as usize]);
}

#[test]
fn kernels_translate() {
    let plain = [limit!("empty").to_owned(), fused_wgsl()];
    let reads = streaming::VARIANTS.iter().map(|variant| variant.wgsl());
    let matrices = [8, 16].map(matrices_wgsl);
    for wgsl in plain.into_iter().chain(reads).chain(matrices) {
        let module =
            naga::front::wgsl::parse_str(&wgsl).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&wgsl)));
        let capabilities =
            Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP;
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{}", e.emit_to_string(&wgsl)));
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        spv::write_vec(&module, &info, &options, None).unwrap();
        let options =
            msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        let (text, _) =
            msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).unwrap();
        assert!(text.contains("kernel void"), "{text}");
    }
}
