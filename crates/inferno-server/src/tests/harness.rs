//! A server to ask, whose model can be made to fail.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use inferno_engine::{Config, Engine};
use inferno_format::{Gguf, Metadata};
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::{Batch, PAGE_LEN};
use inferno_model::conformance::first_layers;
use inferno_model::error::StepError;
use inferno_model::heartbeat::Heartbeat;
use inferno_model::model::{KvRoom, Model};
use inferno_model::output::Output;
use inferno_model::reference::Reference;
use inferno_model::transformer::Transformer;
use inferno_text::{ChatTemplate, Special, Tokenizer, template_source};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::app::App;
use crate::{Card, Ended, Parts, Settings, Template};

/// Three of Ember's nine layers: its vocabulary and template, and text enough, in a third of the time.
static EMBER: LazyLock<Gguf> = LazyLock::new(|| {
    let whole = xtask::testing::root().join("crates/inferno/models/ember/ember-q8_0.gguf");
    first_layers(&Gguf::open(&whole).unwrap(), 3)
});

/// Nothing a test waits for takes longer, unless it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What can go wrong with a model.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Steps that have a row with this token panic.
    pub(super) poison: Mutex<Option<u32>>,
    /// The next step panics, and only that.
    pub(super) panic_once: AtomicBool,
    /// Steps wait until it is false again.
    pub(super) blocked: Mutex<bool>,
    pub(super) released: Condvar,
    /// Each step takes so much longer.
    pub(super) delay: Mutex<Duration>,
    /// The model's words, in place of its own.
    script: Mutex<Option<Script>>,
}

/// Tokens that every sequence says, from the first position on that wants one.
#[derive(Debug)]
struct Script {
    tokens: Vec<u32>,
    first: Option<u32>,
}

impl Faults {
    pub(super) fn block(&self, is_blocked: bool) {
        *self.blocked.lock().unwrap() = is_blocked;
        self.released.notify_all();
    }
}

struct Faulty {
    model: Box<dyn Model>,
    faults: Arc<Faults>,
    /// The output of a scripted step.
    scripted: Option<Output>,
}

impl Model for Faulty {
    fn architecture(&self) -> &Architecture {
        self.model.architecture()
    }

    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError> {
        let poison = *self.faults.poison.lock().unwrap();
        assert!(!poison.is_some_and(|token| batch.tokens().contains(&token)), "a poisonous token");
        assert!(!self.faults.panic_once.swap(false, Ordering::Relaxed), "a fault of the model");
        let mut blocked = self.faults.blocked.lock().unwrap();
        while *blocked {
            blocked = self.faults.released.wait(blocked).unwrap();
        }
        drop(blocked);
        std::thread::sleep(*self.faults.delay.lock().unwrap());
        let mut script = self.faults.script.lock().unwrap();
        // The engine's self-test, when nothing has come for a while: no sequence.
        let is_test = batch.positions() == [0] && batch.tokens() == [0];
        let Some(Script { tokens, first }) = script.as_mut().filter(|_| !is_test) else {
            self.scripted = None;
            return self.model.step(batch);
        };
        self.model.step(batch)?;
        let vocab_size = self.model.architecture().vocab_size;
        let output = self.scripted.get_or_insert_default();
        output.fill(batch, vocab_size, |row, logits| {
            let position = batch.positions()[row];
            let i = position - *first.get_or_insert(position);
            logits[tokens[(i as usize).min(tokens.len() - 1)] as usize] = 100.0;
        });
        Ok(output)
    }

    fn output(&self) -> &Output {
        self.scripted.as_ref().unwrap_or_else(|| self.model.output())
    }

    fn heartbeat(&self) -> Option<Arc<Heartbeat>> {
        self.model.heartbeat()
    }
}

/// A server on a port of its own.
pub(crate) struct Server {
    pub(super) address: SocketAddr,
    pub(super) faults: Arc<Faults>,
    stop: Arc<Notify>,
    ended: Option<std::thread::JoinHandle<Ended>>,
    engine: Option<Engine>,
}

pub(crate) fn start(settings: Settings) -> Server {
    start_with(settings, |_| {})
}

/// The same, with another engine: its pages are `config.limits.n_pages`.
pub(super) fn start_with(settings: Settings, change: impl FnOnce(&mut Config)) -> Server {
    start_as(settings, change, |_| {})
}

/// The same, with a vocabulary that the file does not have.
pub(super) fn start_as(
    settings: Settings,
    change: impl FnOnce(&mut Config),
    retell: impl FnOnce(&mut Metadata),
) -> Server {
    let (engine, parts, faults) = made(change, retell);
    let stop = Arc::<Notify>::default();
    let told = Arc::clone(&stop);
    let (sender, address) = std::sync::mpsc::channel();
    let ended = std::thread::spawn(move || {
        let runtime = Runtime::new().unwrap();
        let _inside = runtime.enter();
        let server = crate::Server::bind(([127, 0, 0, 1], 0).into(), settings).unwrap();
        sender.send(server.address()).unwrap();
        let ended = runtime.block_on(server.open(parts).until(told.notified()));
        runtime.shutdown_timeout(Duration::from_millis(200));
        ended
    });
    let address = address.recv().unwrap();
    let server = Server { address, faults, stop, ended: Some(ended), engine: Some(engine) };
    server.wait_until(|server| server.get("/ready").status == 200);
    server
}

/// A model in an engine, and what a server is made of.
fn made(
    change: impl FnOnce(&mut Config),
    retell: impl FnOnce(&mut Metadata),
) -> (Engine, Parts, Arc<Faults>) {
    let arch = Architecture::read(&EMBER, None).unwrap();
    let mut config = Config::new(vec![8 * arch.context_len.div_ceil(PAGE_LEN)]);
    change(&mut config);
    let n_pages = config.limits.n_pages.clone();
    let room = KvRoom { n_pages, kv_type: KvType::F16 };
    let model = Transformer::load(&EMBER, arch, Reference::default(), &room).unwrap();
    let faults = Arc::<Faults>::default();
    let engine = Engine::start(
        Box::new(Faulty { model: Box::new(model), faults: Arc::clone(&faults), scripted: None }),
        config,
    );
    let mut metadata = EMBER.metadata().clone();
    retell(&mut metadata);
    let tokenizer = Tokenizer::from_metadata(&metadata).unwrap();
    let source = template_source(EMBER.metadata()).unwrap().unwrap();
    let template = ChatTemplate::new(source, Arc::new(tokenizer.template_tokens())).unwrap();
    let parts = Parts {
        engine: engine.handle(),
        tokenizer,
        template: Template::Usable(Arc::new(template)),
        card: Card {
            names: vec!["ember".into(), "alias".into()],
            context_train: 2048,
            n_params: 8_394_624,
            file: "ember-q8_0.gguf".into(),
            n_bytes: 9_106_176,
            dim: 256,
            dtype: "Q8_0".into(),
            family: "qwen3".into(),
            fingerprint: "fp_test".into(),
            template: EMBER.metadata().opt_str("tokenizer.chat_template").unwrap().map(str::to_owned),
        },
    };
    (engine, parts, faults)
}

/// State shared by all requests, without a server around it. It computes nothing when the engine is dropped.
pub(crate) fn app() -> (Engine, Arc<App>) {
    app_as(|_| {})
}

/// The same, with a vocabulary that the file does not have.
pub(crate) fn app_as(retell: impl FnOnce(&mut Metadata)) -> (Engine, Arc<App>) {
    let (engine, parts, _) = made(|_| {}, retell);
    let app = App::new(parts, Arc::default(), Arc::default(), Arc::default());
    (engine, Arc::new(app))
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|h| h.0 == name).map(|h| h.1.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// Status, `code` and `param` of an error.
    #[track_caller]
    pub(super) fn error(&self) -> (u16, String, String) {
        let error = &self.json()["error"];
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{error}");
        let word = |name: &str| error[name].as_str().unwrap_or("null").to_owned();
        (self.status, word("code"), word("param"))
    }

    /// The events of a stream as JSON; the last is `[DONE]` as a string, if it is there.
    #[track_caller]
    pub(super) fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.map(|data| match data {
            "[DONE]" => Value::String("[DONE]".into()),
            data => serde_json::from_str(data).unwrap(),
        })
        .collect()
    }
}

impl Server {
    /// The model says `text` from now on, whatever it is asked, to prompts of one length.
    pub(super) fn say(&self, text: &str) {
        let tokenizer = Tokenizer::from_metadata(EMBER.metadata()).unwrap();
        let mut tokens = tokenizer.encode(text, Special::Recognise);
        tokens.extend(tokenizer.end_of_generation().first());
        *self.faults.script.lock().unwrap() = Some(Script { tokens, first: None });
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes, and reads one answer.
    pub(super) fn raw(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.connect();
        // The answer may come before all is sent.
        let _ = stream.write_all(bytes.as_ref());
        read_reply(&mut BufReader::new(stream)).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Reply {
        self.raw(post(path, "", body))
    }

    /// Headers are lines that end in `\r\n`.
    pub(super) fn post_with(&self, path: &str, headers: &str, body: &Value) -> Reply {
        self.raw(post(path, headers, body))
    }

    /// A connection whose answer is a stream that is not read yet.
    pub(super) fn open_stream(&self, path: &str, body: &Value) -> BufReader<TcpStream> {
        let mut stream = self.connect();
        stream.write_all(post(path, "", body).as_bytes()).unwrap();
        BufReader::new(stream)
    }

    /// A metric's value, by its name and labels as they are written.
    pub(super) fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name}")).parse().unwrap()
    }

    /// Waits for something that will be so before long.
    #[track_caller]
    pub(super) fn wait_until(&self, is_so: impl Fn(&Server) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < PATIENCE, "it is still not so");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// No sequence runs or waits, and no page is held.
    pub(super) fn is_idle(&self) -> bool {
        let load = self.get("/v1/loads").json();
        load["sequences_running"] == 0 && load["sequences_waiting"] == 0 && load["kv_pages"]["held"] == 0
    }

    /// Begins the end, as SIGTERM does.
    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Ends the engine under the server.
    pub(super) fn break_engine(&mut self) {
        drop(self.engine.take());
    }

    /// Waits for the end.
    pub(super) fn join(&mut self) -> Ended {
        self.ended.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.faults.block(false);
        self.stop.notify_one();
        if let Some(ended) = self.ended.take() {
            let _ = ended.join();
        }
        drop(self.engine.take());
    }
}

pub(super) fn post(path: &str, headers: &str, body: &Value) -> String {
    let body = body.to_string();
    let n = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {n}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Status line and headers.
pub(super) fn read_head(reader: &mut impl BufRead) -> std::io::Result<Reply> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => return Ok(Reply { status, headers, body: Vec::new() }),
        }
    }
}

/// A whole answer.
pub(super) fn read_reply(reader: &mut impl BufRead) -> std::io::Result<Reply> {
    let mut reply = read_head(reader)?;
    if let Some(n) = reply.header("content-length").map(|n| n.parse().unwrap()) {
        reply.body = vec![0; n];
        reader.read_exact(&mut reply.body)?;
    } else if reply.header("transfer-encoding") == Some("chunked") {
        while let Some(chunk) = read_chunk(reader)? {
            reply.body.extend(chunk);
        }
    } else {
        reader.read_to_end(&mut reply.body)?;
    }
    Ok(reply)
}

/// The next chunk of a body; `None` at its end.
pub(super) fn read_chunk(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let n = usize::from_str_radix(line.trim_end(), 16).map_err(std::io::Error::other)?;
    let mut chunk = vec![0; n + 2];
    reader.read_exact(&mut chunk)?;
    chunk.truncate(n);
    Ok((n > 0).then_some(chunk))
}
