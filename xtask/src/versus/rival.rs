//! The two servers.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;

use super::Result;
use super::args::{Args, file_name};
use crate::load::http::{Connection, request};
use crate::load::server::Server;
use crate::load::target::Target;

/// For a request of which nothing is measured to connect; those that are measured have their own.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of ours at once; more wait.
pub(super) const N_SEQUENCES: usize = 32;
/// And so many; at theirs there is no limit.
const N_QUEUE: usize = 64;

/// How `llama-server` shares out its memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Setting {
    pub(super) n_slots: usize,
    /// One cache for all slots, or one for each.
    is_unified: bool,
}

/// The first one is taken where there is no time for more.
pub(super) const SETTINGS: [Setting; 4] = [
    Setting { n_slots: 32, is_unified: false },
    Setting { n_slots: 32, is_unified: true },
    Setting { n_slots: 8, is_unified: false },
    Setting { n_slots: 8, is_unified: true },
];

impl Setting {
    /// With room for `context` tokens in every slot.
    pub(super) fn options(self, context: usize) -> String {
        let kind = if self.is_unified { "-kvu" } else { "-no-kvu" };
        format!("-np {} -c {} {kind}", self.n_slots, self.n_slots * context)
    }
}

pub(super) struct Rival {
    pub(super) name: &'static str,
    pub(super) target: Target,
    pub(super) pid: u32,
}

/// Ours, with a context of so many tokens for each sequence.
pub(super) fn ours(args: &Args, program: &Path, context: usize) -> Result<Rival> {
    let log = xtask::testing::root().join("target/bench-server/ours.log");
    let server = Server::start(program, &words(&our_options(args, context), args, &[]), &log)?;
    Rival::new("inferno", server)
}

/// Theirs, with as much for each slot.
pub(super) fn theirs(args: &Args, program: &Path, setting: &Setting, context: usize) -> Result<Rival> {
    let address = free_address()?;
    let options = their_options(args, &address.port().to_string(), &setting.options(context));
    let log = xtask::testing::root().join("target/bench-server/theirs.log");
    let server =
        Server::start_at(address, program, &words(&options, args, &args.their_args), &log, is_healthy)?;
    Rival::new("llama-server", server)
}

impl Rival {
    fn new(name: &'static str, server: Server) -> Result<Rival> {
        let pid = server.pid();
        Ok(Rival { name, target: Target::of_server(server, PATIENCE)?, pid })
    }
}

/// Version and command of ours, for people.
pub(super) fn describe_ours(args: &Args, program: &Path, context: usize) -> Result<String> {
    let (version, model) = (version(program)?, file_name(&args.model()));
    let options = our_options(args, context);
    Ok(format!("{version} (commit {}): `inferno {options} {model}`", crate::peer::commit()))
}

/// And of theirs.
pub(super) fn describe_theirs(args: &Args, program: &Path) -> Result<String> {
    let (version, model) = (version(program)?, file_name(&args.model()));
    let ggml = ggml_version(program).map_or(String::new(), |ggml| format!(", ggml {ggml}"));
    let options = their_options(args, "PORT", "SETTING");
    let more: String = args.their_args.iter().map(|arg| format!(" {arg}")).collect();
    Ok(format!("llama.cpp {version}{ggml}: `llama-server {options} {model}{more}`"))
}

fn our_options(args: &Args, context: usize) -> String {
    let n_threads = args.n_threads();
    format!(
        "serve --host 127.0.0.1 --port 0 --sequences {N_SEQUENCES} --queue {N_QUEUE} --context {context} \
         --threads {n_threads} -m"
    )
}

fn their_options(args: &Args, port: &str, setting: &str) -> String {
    format!("--host 127.0.0.1 --port {port} -t {} {setting} --no-ui -m", args.n_threads())
}

/// The context of a model, as our program reads it.
pub(super) fn model_context(program: &Path, model: &Path) -> Result<usize> {
    let output = Command::new(program).args(["inspect", "--json", "-m"]).arg(model).output();
    let output = output.map_err(|e| format!("cannot run `{}`: {e}", program.display()))?;
    let found: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let context = found["hyperparameters"]["context_len"].as_u64();
    context.map(|n| n as usize).ok_or_else(|| {
        let (name, words) = (model.display(), String::from_utf8_lossy(&output.stderr).into_owned());
        format!("our program names no context of `{name}`: {words}")
    })
}

fn words(options: &str, args: &Args, more: &[String]) -> Vec<String> {
    let mut all: Vec<String> = options.split(' ').map(String::from).collect();
    all.push(args.model().to_string_lossy().into_owned());
    all.extend_from_slice(more);
    all
}

/// A port that is free now; nobody else takes ports here.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map_err(|e| format!("no port is free: {e}"))
}

fn is_healthy(address: SocketAddr) -> bool {
    let status = || {
        let mut connection = Connection::open(address, Duration::from_secs(5))?;
        connection.send(&request("GET", "/health", "close", ""))?;
        connection.head().map(|head| head.status)
    };
    matches!(status(), Ok(200))
}

/// What a program says of itself, on one line.
fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|e| format!("cannot run `{}`: {e}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join("; ");
    Ok(text.strip_prefix("version: ").unwrap_or(&text).to_owned())
}

/// From the names of the libraries beside the program.
fn ggml_version(program: &Path) -> Option<String> {
    let names = std::fs::read_dir(program.parent()?).ok()?.flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let versions = names.filter_map(|name| Some(name.strip_prefix("libggml-base.so.")?.to_owned()));
    versions.max_by_key(String::len)
}
