//! What rows may ask for, in one step.

use inferno_format::Gguf;
use inferno_model::batch::{Batch, PageId, Want};
use inferno_model::output::RowOutput;
use inferno_model::sample::{SampleSpec, argmax, logsumexp};
use inferno_model::transformer::Model;

use crate::run;

#[test]
fn every_row_gets_what_it_wanted_and_nothing_else() {
    let file = Gguf::open(&xtask::testing::testdata("goldens/qwen3.gguf")).unwrap();
    let mut sequence = run::load(&file, 64).unwrap();
    let expected = sequence.append(&[9, 8, 7, 6, 5]);

    let mut model = run::load(&file, 64).unwrap().model;
    let mut batch = Batch::default();
    let pages = [PageId(1), PageId(0)];
    let wants = [Want::Hidden, Want::Nothing, Want::TopK(3), Want::Sample(SampleSpec::GREEDY), Want::Logits];
    batch.push_each(&[9, 8, 7, 6, 5], 0, &[&pages], &wants);
    let output = model.step(&batch).unwrap();

    assert_eq!(output.rows(), [0, 2, 3, 4]);
    assert!(matches!(output.get(0), Some(RowOutput::Hidden(h)) if h.len() == 64));
    assert_eq!(output.logits(0), None);
    assert_eq!(output.get(1), None);
    let Some(RowOutput::TopK { best, logsumexp: sum }) = output.get(2) else { panic!("no top k") };
    assert_eq!((best.len(), best[0].0), (3, argmax(&expected[2])));
    assert!(best.is_sorted_by(|a, b| a.1 >= b.1) && sum == logsumexp(&expected[2]));
    assert_eq!(output.get(3), Some(RowOutput::Token(argmax(&expected[3]))));
    assert_eq!(output.get(4), Some(RowOutput::Logits(&expected[4])));

    // A step that nobody wants anything of, and one that wants a hidden state only.
    batch.clear();
    batch.push(&[1, 2], 5, &[&pages], Want::Nothing);
    assert!(model.step(&batch).unwrap().rows().is_empty());
    batch.clear();
    batch.push(&[3], 7, &[&pages], Want::Hidden);
    assert!(matches!(model.step(&batch).unwrap().get(0), Some(RowOutput::Hidden(_))));
}
