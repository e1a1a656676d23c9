//! A device that is lost in the middle of its work.

use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::{Batch, PageId, Want};
use inferno_model::model::{KvRoom, Model};
use inferno_model::transformer::Transformer;
use inferno_wgpu::{Gpu, Wgpu};

use crate::choice;

#[test]
fn a_lost_device_is_an_error_of_the_step() {
    if crate::backend().is_none() {
        return;
    }
    let gpu = Gpu::open(&choice()).unwrap();
    let lose = gpu.lose();
    let file = Gguf::open(&xtask::testing::testdata("goldens/qwen3.gguf")).unwrap();
    let arch = Architecture::read(&file, None).unwrap();
    let room = KvRoom { n_pages: vec![4; arch.cache_groups.len()], kv_type: KvType::F16 };
    let mut model = Transformer::load(&file, arch, Wgpu::new(gpu).unwrap(), &room).unwrap();
    let mut batch = Batch::default();
    batch.push(&[1, 2, 3], 0, &[&[PageId(0)]], Want::Logits);
    model.step(&batch).unwrap();
    lose();
    for _ in 0..3 {
        let error = model.step(&batch).unwrap_err().to_string();
        assert!(error.contains("the device failed during a step"), "{error}");
    }
}
