//! Models of the data directory on every instruction set of this machine: the bits of the reference, which matches their
//! goldens (see the tests of `inferno-model`).

use inferno_cpu::Isa;
use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::error::LoadError;
use inferno_model::reference::Reference;

use crate::invariance::{PLAIN, cpu, logits};

const LEVELS: [Isa; 6] = [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::AvxVnni, Isa::Avx512, Isa::Amx];

#[test]
fn every_model_of_the_data_has_the_bits_of_the_reference() {
    let mut wrong = Vec::new();
    for (name, path, _) in xtask::testing::data_goldens() {
        let file = Gguf::open(&path).unwrap();
        if matches!(Architecture::read(&file, None), Err(LoadError::Family { .. })) {
            continue;
        }
        // A page and a part of the next.
        let expected = logits(&file, Reference::default(), KvType::F32, 40, 0, PLAIN);
        for isa in LEVELS.into_iter().filter(|isa| isa.is_available()) {
            if logits(&file, cpu(isa, 1), KvType::F32, 40, 0, PLAIN) != expected {
                wrong.push(format!("{name} on {isa}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join(", "));
}
