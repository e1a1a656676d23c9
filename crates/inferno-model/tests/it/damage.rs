//! Headers with random bytes changed: the file opens and runs, or ends in a typed error. Nothing panics.

use inferno_format::Gguf;
use xtask::testing::Random;

use crate::run;

#[test]
fn a_damaged_header_is_an_error_or_a_model() {
    let (mut opened, mut ran) = (0, 0);
    for (seed, name) in
        ["llama-yarn", "phi3-longrope", "qwen3moe-plain-shares", "gemma3-linear"].iter().enumerate()
    {
        let bytes = std::fs::read(xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap();
        let find = |needle: &[u8]| bytes.windows(needle.len()).position(|w| w == needle).unwrap();
        // The vocabulary lies between the hyperparameters and the tensor table; it is another crate's business.
        let hyperparameters = 24..find(b"tokenizer.ggml.tokens");
        let first_tensor = ["rope_f", "token_embd", "blk.0"]
            .iter()
            .filter_map(|n| bytes.windows(n.len()).position(|w| w == n.as_bytes()));
        let table = first_tensor.min().unwrap();
        let table = table..table + 1500;
        let mut random = Random(seed as u64);
        for _ in 0..400 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random.below(3) {
                let part = if random.below(3) == 0 { &table } else { &hyperparameters };
                let at = part.start + random.below(part.len());
                damaged[at] = match random.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => damaged[at] ^ 1 << random.below(8),
                    _ => random.bits() as u8,
                };
            }
            let Ok(file) = Gguf::from_bytes(damaged) else { continue };
            opened += 1;
            let Ok(mut sequence) = run::load(&file, 64) else { continue };
            let logits = sequence.append(&[1, 2, 3]);
            assert_eq!((logits.len(), logits[0].len()), (3, 320), "{name}");
            ran += 1;
        }
    }
    // Enough of both kinds that the test means something.
    assert!(opened > 400 && ran > 100, "{opened} opened, {ran} ran");
}
