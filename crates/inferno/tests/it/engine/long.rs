//! A long prompt: the same bits in chunks of any length, beside others, moved out of the pool, and over a restart.

use inferno_model::conformance::delta_net_layers;

use super::*;

/// Tokens of the prompt where `INFERNO_LONG_PROMPT` is set.
const LONG: usize = 10_000;
/// Else: quick enough for every run.
const SHORT: usize = 1_000;

const IDENTITY: [(&str, u64); 1] = [("test", 1)];

/// A model with a context that has room for the prompt.
fn case(mut file: Gguf) -> Case {
    let family = Architecture::read(&file, None).unwrap().family;
    file.metadata_mut().set(format!("{family}.context_length"), Value::U32(10_240));
    Case::new(file, false)
}

/// Room for about `n_sequences` of the whole prompt.
fn limits(case: &Case, n_tokens: usize, n_sequences: usize, max_rows: usize) -> Limits {
    let n_pages = (n_tokens + 100).div_ceil(PAGE_LEN) * n_sequences;
    let step_target = 3_600_000_000;
    let limits = Config::new(case.pages(n_pages)).limits;
    Limits { max_rows, min_rows: max_rows, step_target, snapshot_every: 500, ..limits }
}

fn request(prompt: &[u32]) -> Request {
    let logprobs = Some(Logprobs { top: 2, of: Distribution::Raw });
    let sampling = Sampling { logprobs, ..Sampling::default() };
    Request { sampling, ..Request::new(prompt.to_vec(), 6) }
}

fn ask(engine: &Engine, request: Request) -> Completion {
    let ticket = engine.handle().submit(request).unwrap();
    completions(&ticket.events, 1, |_| {}).remove(0).0
}

/// A completion, and the prompt tokens that were found.
fn ask_cached(engine: &Engine, prompt: &[u32]) -> (Completion, usize) {
    let before = engine.handle().metrics().cache.hit_tokens;
    let completion = ask(engine, request(prompt));
    (completion, (engine.handle().metrics().cache.hit_tokens - before) as usize)
}

fn check(file: Gguf) {
    let case = case(file);
    let n = if std::env::var_os("INFERNO_LONG_PROMPT").is_some() { LONG } else { SHORT };
    let mut random = Random(11);
    let prompt: Vec<u32> = (0..n).map(|_| random.below(case.vocab_size) as u32).collect();
    // Every position of the prompt counts.
    let scored = || Request { prompt_logprobs: Some(0), ..request(&prompt) };
    let whole = ask(&case.engine(limits(&case, n, 1, 512), 0), scored());
    assert_eq!(whole.logprobs.len(), n - 1 + 6 * 3);
    let answer = Completion { tokens: whole.tokens.clone(), logprobs: whole.logprobs[n - 1..].to_vec() };

    let alone = ask(&case.engine(limits(&case, n, 1, 7), 0), scored());
    assert!(alone == whole, "chunks of 7");

    // Others take a part of each step, so that chunks have all lengths up to 63.
    let engine = case.engine(limits(&case, n, 3, 63), 0);
    let others: Vec<_> = (0..40)
        .map(|i| {
            let prompt: Vec<u32> = (0..1 + i % 37).map(|_| random.below(case.vocab_size) as u32).collect();
            let other = Request { priority: -1, ..Request::new(prompt, 3 + i * n / 800) };
            engine.handle().submit(other).unwrap()
        })
        .collect();
    assert!(ask(&engine, scored()) == whole, "chunks of 7 to 63 beside others");
    drop(others);

    // Asked in part, and with a border that is no multiple of anything.
    let (border, part) = (n / 3 + 5, n * 2 / 3 + 13);
    let ram = Limits { max_away_bytes: 1 << 30, ..limits(&case, n, 1, 63) };
    let first = case.engine(ram.clone(), 0);
    ask(&first, Request { borders: vec![border], ..request(&prompt[..part]) });
    let mut file = Vec::new();
    first.halt().unwrap().save_cache(&mut file, &IDENTITY, [7; 16], u64::MAX).unwrap();
    let config = Config { limits: ram.clone(), ..Config::new(ram.n_pages.clone()) };
    let file = Box::new(std::io::Cursor::new(file));
    let (second, read) = Engine::start_with_cache(case.model(&ram), config, file, &IDENTITY);
    read.unwrap();
    let (found, n_cached) = ask_cached(&second, &prompt);
    assert!(
        found == answer && n_cached == part / PAGE_LEN * PAGE_LEN,
        "{n_cached} of {part} after a restart"
    );
    let mut other = prompt[..border + 3].to_vec();
    other.extend((0..50).map(|_| random.below(case.vocab_size) as u32));
    let expected = ask(&case.engine(limits(&case, n, 1, 512), 0), request(&other));
    let (found, n_cached) = ask_cached(&second, &other);
    assert!(
        found == expected && n_cached == border / PAGE_LEN * PAGE_LEN,
        "{n_cached} of {border} at the border"
    );

    // There is room for one: another prompt moves this one out.
    let reversed: Vec<u32> = prompt.iter().rev().copied().collect();
    ask(&second, request(&reversed));
    let (found, n_cached) = ask_cached(&second, &prompt);
    assert!(found == answer && n_cached + 2 * PAGE_LEN > n, "{n_cached} of {n} moved out and back");
    assert!(second.handle().metrics().cache.pages_back > 0);
}

/// `INFERNO_LONG_PROMPT=1` has 10,000 tokens.
#[test]
fn a_long_prompt_has_the_same_bits_however_it_is_computed() {
    check(delta_net_layers(true));
    check(golden("qwen3"));
}
