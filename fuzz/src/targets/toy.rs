//! A model that computes nothing: its logits are hashes of the last token and the position.

use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::batch::Batch;
use inferno_model::error::StepError;
use inferno_model::model::Model;
use inferno_model::output::Output;

use super::input::{Bits, repository_file};

/// The model.
pub(crate) struct Toy {
    arch: Architecture,
    output: Output,
}

impl Toy {
    /// A model of `vocab_size` tokens, with the shape of a golden.
    pub(crate) fn new(vocab_size: usize) -> Toy {
        let file = Gguf::open(&repository_file("testdata/goldens/llama.gguf")).expect("a golden");
        let mut arch = Architecture::read(&file, None).expect("a golden's shape");
        arch.vocab_size = vocab_size;
        Toy { arch, output: Output::default() }
    }
}

impl Model for Toy {
    fn architecture(&self) -> &Architecture {
        &self.arch
    }

    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError> {
        self.output.fill(batch, self.arch.vocab_size, |row, logits| {
            let seed = u64::from(batch.tokens()[row]) << 32 | u64::from(batch.positions()[row]);
            let mut bits = Bits(seed);
            let mut high = 0;
            for logit in logits {
                high = if high == 0 { bits.next() } else { high };
                *logit = (high & 0xff) as f32 / 32.0;
                high >>= 8;
            }
        });
        Ok(&self.output)
    }

    fn output(&self) -> &Output {
        &self.output
    }
}
