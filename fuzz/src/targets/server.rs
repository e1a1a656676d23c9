//! The whole server over pipes in memory, with a model that costs nothing.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use inferno_engine::{Config, Engine};
use inferno_server::{Card, Control, Parts, Server, Settings, Template};
use inferno_text::ChatTemplate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use super::toy::Toy;
use super::vocabulary::chatml;

/// The usual template of ChatML, with tools and reasoning.
pub(crate) const CHATML_TEMPLATE: &str = "{%- if tools %}{{ '<|im_start|>system\\n<tool_call>\\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}\
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}{% if message.content %}{{ message.content }}{% endif %}\
{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Bytes of a pipe: less than most answers, so that the server waits for its reader.
const PIPE: usize = 2 << 10;
/// Nothing takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    runtime: Runtime,
    control: Control,
    _engine: Engine,
}

static RUNNING: LazyLock<Mutex<Running>> = LazyLock::new(|| Mutex::new(start()));

fn start() -> Running {
    let tokenizer = chatml();
    let mut config = Config::new(vec![256]);
    config.limits.max_sequences = 16;
    let engine = Engine::start(Box::new(Toy::new(tokenizer.vocab_size())), config);
    let template = ChatTemplate::new(CHATML_TEMPLATE, Arc::new(tokenizer.template_tokens()));
    let parts = Parts {
        engine: engine.handle(),
        template: Template::Usable(Arc::new(template.expect("a usual template"))),
        card: Card {
            names: vec!["toy".into()],
            context_train: 512,
            n_params: 1,
            file: "toy.gguf".into(),
            n_bytes: 1,
            dim: 64,
            dtype: "F32".into(),
            family: "llama".into(),
            fingerprint: "fp_toy".into(),
            template: Some(CHATML_TEMPLATE.into()),
        },
        tokenizer,
    };
    let settings = Settings {
        any_model: true,
        seed: Some(1),
        max_tokens: Some(12),
        kept_stream_time: Duration::from_secs(1),
        ..Settings::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let inside = runtime.enter();
    let server = Server::bind(([127, 0, 0, 1], 0).into(), settings).expect("a free port");
    let serving = server.open(parts);
    let control = serving.control();
    runtime.spawn(serving.until(std::future::pending()));
    drop(inside);
    Running { runtime, control, _engine: engine }
}

/// A client's side of a connection after its last byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Side {
    /// Closed at once, which ends whatever the server does for it.
    Closed,
    /// Open until the server closes the connection.
    Open,
}

/// Sends `pieces` over one connection, and reads to its end.
pub(crate) fn exchange(pieces: &[&[u8]], side: Side) -> Vec<u8> {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let talk = async {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        running.control.connect(theirs, ([127, 0, 0, 1], 1).into());
        let (mut reader, mut writer) = tokio::io::split(ours);
        let write = async {
            for piece in pieces {
                // A server may close before all is sent.
                if writer.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            if side == Side::Closed {
                let _ = writer.shutdown().await;
            }
        };
        let read = async {
            let mut answer = Vec::new();
            let _ = reader.read_to_end(&mut answer).await;
            answer
        };
        tokio::join!(write, read).1
    };
    let answer = running.runtime.block_on(async { tokio::time::timeout(PATIENCE, talk).await });
    answer.expect("the server neither answers nor closes the connection")
}

/// A response.
#[derive(Debug, PartialEq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// The first response in `bytes` to a request that is no HEAD, and the bytes after it; `None` if it is not whole.
pub(crate) fn response(bytes: &[u8]) -> Option<(Response, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut rest = &bytes[end + 4..];
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let header = |name: &str| {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let content_type = header("content-type").unwrap_or_default().to_owned();
    let mut body = Vec::new();
    if let Some(n) = header("content-length") {
        let (this, after) = rest.split_at_checked(n.parse().ok()?)?;
        (body, rest) = (this.to_vec(), after);
    } else if header("transfer-encoding") == Some("chunked") {
        loop {
            let line = rest.windows(2).position(|window| window == b"\r\n")?;
            let n = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
            let (chunk, after) = rest[line + 2..].split_at_checked(n)?;
            body.extend(chunk);
            rest = after.strip_prefix(b"\r\n")?;
            if n == 0 {
                break;
            }
        }
    }
    Some((Response { status, content_type, body }, rest))
}
