//! What rows may ask for, in one step.

use inferno_format::Gguf;
use inferno_model::batch::{Batch, PageId, Want};
use inferno_model::model::Model;
use inferno_model::output::RowOutput;
use inferno_model::sample::{SampleSpec, argmax};

use crate::run;

#[test]
fn every_row_gets_what_it_wanted_and_nothing_else() {
    let file = Gguf::open(&xtask::testing::testdata("goldens/qwen3.gguf")).unwrap();
    let mut sequence = run::load(&file, 64).unwrap();
    let expected = sequence.append(&[9, 8, 7, 6, 5]);

    let mut model = run::load(&file, 64).unwrap().model;
    let mut batch = Batch::default();
    let pages = [PageId(1), PageId(0)];
    let wants = [Want::Logits, Want::Nothing, Want::Nothing, Want::Sample(SampleSpec::GREEDY), Want::Logits];
    batch.push_each(&[9, 8, 7, 6, 5], 0, &[&pages], &wants);
    let output = model.step(&batch).unwrap();

    assert_eq!(output.rows(), [0, 3, 4]);
    assert_eq!(output.get(0), Some(RowOutput::Logits(&expected[0])));
    assert_eq!((output.get(1), output.logits(2)), (None, None));
    assert_eq!(output.get(3), Some(RowOutput::Token(argmax(&expected[3]))));
    assert_eq!(output.get(4), Some(RowOutput::Logits(&expected[4])));

    // A step of which nothing is wanted.
    batch.clear();
    batch.push(&[1, 2], 5, &[&pages], Want::Nothing);
    assert!(model.step(&batch).unwrap().rows().is_empty());
}
