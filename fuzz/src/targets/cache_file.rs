//! Files of the prefix cache: a byte that says whether checksums are made right again, and the file.
//!
//! A file is refused, or used. What was changed and has the checksums of what was written never changes an answer; what has
//! checksums of its own may hold any keys and values, and the engine still answers to the end, or with an error.

use std::io::Cursor;
use std::sync::{LazyLock, Mutex, PoisonError};

use inferno_engine::{Config, Engine, Event, Finish, Request, Stopped, cache_file_checksum};
use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::PAGE_LEN;
use inferno_model::model::{KvRoom, Model};
use inferno_model::reference::Reference;
use inferno_model::transformer::Transformer;

use super::input::{head, repository_file};
use crate::Target;

pub(crate) const TARGET: Target =
    Target { name: "cache_file", check, max_len: 64 << 10, seeds, words: &["INFCACHE", "\u{1}\0\0\0"] };

const IDENTITY: [(&str, u64); 2] = [("model file", 1), ("build", 2)];
/// Pages of the pool: one more than a request needs.
const PAGES: usize = 4;
/// Tokens of an answer.
const N_TOKENS: usize = 4;

/// A model, the file of a prompt that it has computed, and its answer.
struct Written {
    /// Between two runs.
    model: Option<Box<dyn Model>>,
    file: Vec<u8>,
    answer: Vec<u32>,
}

static WRITTEN: LazyLock<Mutex<Written>> = LazyLock::new(|| {
    let file = Gguf::open(&repository_file("testdata/goldens/llama.gguf")).expect("a golden");
    let arch = Architecture::read(&file, None).expect("a golden's shape");
    let room = KvRoom { n_pages: vec![PAGES; arch.cache_groups.len()], kv_type: KvType::F16 };
    let model = Transformer::load(&file, arch, Reference::default(), &room).expect("a golden");
    let (answer, mut stopped) = answer(Engine::start(Box::new(model), Config::new(vec![PAGES])));
    let mut file = Vec::new();
    stopped.save_cache(&mut file, &IDENTITY, [7; 16], u64::MAX).expect("a cache");
    Mutex::new(Written { model: Some(stopped.into_model()), file, answer })
});

/// The engine's answer to a prompt of two pages and a bit; then it has stopped.
fn answer(engine: Engine) -> (Vec<u32>, Stopped) {
    let prompt = (0..2 * PAGE_LEN as u32 + 5).map(|i| i * i % 61).collect();
    let ticket = engine.handle().submit(Request::new(prompt, N_TOKENS)).expect("it fits");
    let mut tokens = Vec::new();
    let mut ends = Vec::new();
    for event in ticket.events.iter() {
        match event {
            Event::Token { token, .. } => tokens.push(token),
            Event::Finished { finish, .. } => ends.push(finish),
            _ => {}
        }
    }
    // Keys and values may be no numbers, which are no logits: that ends with an error.
    let is_whole = ends == [Finish::Length] && tokens.len() == N_TOKENS;
    assert!(is_whole || matches!(&ends[..], [Finish::Failed(_)]), "{tokens:?}, then {ends:?}");
    (tokens, engine.halt().expect("nothing fails"))
}

fn seeds() -> Vec<Vec<u8>> {
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    [0, 1].map(|repairs| [&[repairs], &written.file[..]].concat()).into()
}

fn check(data: &[u8]) {
    let ([repairs], data) = head(data);
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    let repairs = repairs & 1 == 1;
    let data = if repairs { repaired(data, &written.file) } else { data.to_vec() };
    let is_whole = data == written.file;
    let model = written.model.take().expect("it came back");
    let file = Box::new(Cursor::new(data));
    let (engine, outcome) = Engine::start_with_cache(model, Config::new(vec![PAGES]), file, &IDENTITY);
    let (found, stopped) = answer(engine);
    written.model = Some(stopped.into_model());
    assert!(!is_whole || outcome.is_ok(), "what was written is refused: {outcome:?}");
    assert!(repairs && !is_whole || found == written.answer, "another answer after {outcome:?}");
}

/// The file with right checksums of its header and of records that are as long as the first one of `good` is.
fn repaired(data: &[u8], good: &[u8]) -> Vec<u8> {
    const HEADER: usize = 8 + 4 + 4 + 8 * (IDENTITY.len() + 1) + 4 + 4 + 4 + 8 + 16 + 8 + 8;
    let n_records = 2;
    let record = (good.len() - HEADER) / n_records;
    let mut all = data.to_vec();
    let mut from = 0;
    for (number, n_bytes) in (0..).zip(std::iter::once(HEADER).chain(std::iter::repeat(record))) {
        let Some(part) = all.get_mut(from..from + n_bytes) else { break };
        let (content, sum) = part.split_at_mut(n_bytes - 8);
        sum.copy_from_slice(&cache_file_checksum(number, content).to_le_bytes());
        from += n_bytes;
    }
    all
}
