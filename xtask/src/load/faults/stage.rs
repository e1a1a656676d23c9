//! A server for one try, good clients that ask it, and the rules that hold whatever happens to it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::{Duration, Instant};

use xtask::testing::Random;

use crate::load::Result;
use crate::load::args::Args;
use crate::load::ask::Ask;
use crate::load::board::Ender;
use crate::load::client::{Answer, Client};
use crate::load::known::known;
use crate::load::metrics::Metrics;
use crate::load::server::{Server, last_lines};
use crate::load::target::Target;

/// Good clients at a time.
const N_CLIENTS: usize = 6;
/// Requests whose texts are known.
const N_KNOWN: usize = 8;
/// Tokens of each, at most.
const MAX_TOKENS: usize = 48;
/// Time in which a server has ended, or has forgotten what was asked of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Words of a client whose server has ended or does not listen yet.
pub(super) const GONE: [&str; 6] = [
    "cannot connect",
    "the connection ended",
    "the stream ended",
    "Connection reset by peer",
    "Broken pipe",
    "status 503",
];

pub(super) struct Stage {
    program: PathBuf,
    /// The model file of the repository.
    model: PathBuf,
    folder: PathBuf,
    patience: Duration,
    control: Vec<Ask>,
    /// The model's name in requests.
    name: String,
    n_good: AtomicUsize,
    /// Tries of each kind, and the number of this one from 0 on.
    n_tries: usize,
    n_try: AtomicUsize,
}

/// Surroundings and options of a server.
#[derive(Debug, Default)]
pub(super) struct Setup {
    /// Commands of the shell before, such as `ulimit -n 64 &&`.
    pub(super) before: String,
    /// Redirections, such as `2>/dev/full`.
    pub(super) after: String,
    pub(super) options: Vec<String>,
}

impl Setup {
    pub(super) fn with(options: &[&str]) -> Setup {
        Setup { options: options.iter().copied().map(String::from).collect(), ..Setup::default() }
    }
}

impl Stage {
    /// Asks a server that nothing happens to for the texts.
    pub(super) fn new(args: &Args, program: &Path) -> Result<Stage> {
        let folder = xtask::testing::root().join("target/load/faults");
        std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make `{}`: {e}", folder.display()))?;
        let model = xtask::testing::root().join("crates/inferno/models/ember/ember-q8_0.gguf");
        let (program, patience) = (program.to_owned(), args.patience);
        let mut stage = Stage {
            program,
            model,
            folder,
            patience,
            control: Vec::new(),
            name: String::new(),
            n_good: AtomicUsize::new(0),
            n_tries: args.n_tries(),
            n_try: AtomicUsize::new(0),
        };
        // All use a template in a child process, as most models have one that the program does not know.
        let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";
        write(&stage.template(), template.as_bytes())?;
        let target = stage.start(&Setup::default())?;
        let mut random = Random(args.seed ^ 0x5eed);
        stage.control = known(&target, N_KNOWN, || Ask::chat(&mut random, MAX_TOKENS))?;
        stage.name = target.model.clone();
        Ok(stage)
    }

    /// Says which try of a kind it is, from 0 on.
    pub(super) fn begin_try(&self, number: usize) {
        self.n_try.store(number, Relaxed);
    }

    /// A number from 1 to `most` out of this try's share of them: as many tries as there are numbers have each once.
    pub(super) fn one_of(&self, random: &mut Random, most: usize) -> usize {
        let start = |n_try: usize| n_try * most / self.n_tries;
        let n_try = self.n_try.load(Relaxed);
        1 + start(n_try) + random.below((start(n_try + 1) - start(n_try)).max(1))
    }

    fn template(&self) -> PathBuf {
        self.folder.join("template.jinja")
    }

    /// A file of this stage.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A fresh copy of the model.
    pub(super) fn copy_of_model(&self) -> Result<PathBuf> {
        let copy = self.folder.join("model.gguf");
        // The copy of a try before may be unlinked, or be another file.
        let _ = std::fs::remove_file(&copy);
        std::fs::copy(&self.model, &copy).map_err(|e| format!("cannot write `{}`: {e}", copy.display()))?;
        Ok(copy)
    }

    /// The last lines that the last server has written.
    pub(super) fn last_words(&self) -> String {
        last_lines(&self.folder.join("server.log"), 3)
    }

    /// All that the last server has written.
    pub(super) fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Good requests answered so far.
    pub(super) fn n_good(&self) -> usize {
        self.n_good.load(Relaxed)
    }

    /// A server that has printed its address.
    pub(super) fn start(&self, setup: &Setup) -> Result<Target> {
        let (mut server, addresses) = self.spawn(setup)?;
        server.listen(&addresses)?;
        self.target(server)
    }

    /// A server that listens, as a target.
    pub(super) fn target(&self, server: Server) -> Result<Target> {
        Target::of_server(server, self.patience)
    }

    /// The same, which is not asked for its model's name.
    pub(super) fn named(&self, server: Server) -> Target {
        Target::of_model(server, self.name.clone(), self.patience)
    }

    /// A server that starts.
    pub(super) fn spawn(&self, setup: &Setup) -> Result<(Server, Receiver<String>)> {
        let Setup { before, after, options } = setup;
        let script = format!("{before} exec \"$0\" \"$@\" {after}");
        let mut arguments: Vec<String> = vec!["-c".into(), script, self.program.display().to_string()];
        let fixed = ["serve", "--host", "127.0.0.1", "--kv-memory", "32MiB", "--threads", "2"];
        arguments.extend(fixed.map(String::from));
        let given = |name: &str| options.iter().any(|option| option == name);
        let model = ["-m".to_owned(), self.model.display().to_string()];
        let template = ["--chat-template".to_owned(), self.template().display().to_string()];
        arguments.extend(model.into_iter().filter(|_| !given("-m")));
        arguments.extend(template);
        arguments.extend(["--port", "0"].map(String::from).into_iter().filter(|_| !given("--port")));
        arguments.extend(options.iter().cloned());
        Server::spawn(Path::new("/bin/sh"), &arguments, &self.folder.join("server.log"))
    }

    /// Good clients ask while `disturb` goes on. Their requests have the known texts, or fail with one of the words that
    /// are allowed here.
    ///
    /// # Errors
    /// The first rule that was broken, or the error of `disturb`.
    pub(super) fn while_asked<T>(
        &self,
        target: &Target,
        may_fail: &[&str],
        disturb: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let (is_over, broken) = (AtomicBool::new(false), Mutex::new(None));
        let client = |i: usize| {
            let mut client = Client::new(target);
            for n in i.. {
                if is_over.load(Relaxed) {
                    return;
                }
                let why = match client.whole(&self.control[n % N_KNOWN]) {
                    Ok(Answer::Done(..)) => {
                        self.n_good.fetch_add(1, Relaxed);
                        continue;
                    }
                    Ok(other) => format!("{other:?}"),
                    Err(why) => why,
                };
                if !has_words(&why, may_fail) {
                    broken.lock().expect("no client panics").get_or_insert(why);
                    return;
                }
                client = Client::new(target);
                sleep(Duration::from_millis(10));
            }
        };
        let outcome = std::thread::scope(|scope| {
            let _ender = Ender::new(&is_over);
            for i in 0..N_CLIENTS {
                let client = &client;
                scope.spawn(move || client(i));
            }
            disturb()
        });
        match broken.into_inner().expect("no client panics") {
            Some(why) => Err(format!("a good request: {why}")),
            None => outcome,
        }
    }

    /// Checks that a server answers and has nothing left of what happened, then tells it to end.
    pub(super) fn is_well(&self, target: Target) -> Result<()> {
        self.is_well_or(target, &[])
    }

    /// The same, where good requests may fail with some words.
    pub(super) fn is_well_or(&self, target: Target, may_fail: &[&str]) -> Result<()> {
        self.answers(&target).or_else(|why| if has_words(&why, may_fail) { Ok(()) } else { Err(why) })?;
        let (mut client, end) = (Client::of_single_requests(&target), Instant::now() + PATIENCE);
        loop {
            let metrics = Metrics::of(&mut client)?;
            if metrics.is_idle() {
                break;
            }
            if Instant::now() > end {
                return Err(format!("no client asks, and there is left: {metrics:?}"));
            }
            sleep(Duration::from_millis(10));
        }
        ends_by(target, "TERM", Some(0))
    }

    /// Asks for two of the texts that are known.
    pub(super) fn answers(&self, target: &Target) -> Result<()> {
        let mut client = Client::of_single_requests(target);
        for ask in &self.control[..2] {
            match client.whole(ask)? {
                Answer::Done(..) => _ = self.n_good.fetch_add(1, Relaxed),
                other => return Err(format!("a good request alone: {other:?}")),
            }
        }
        Ok(())
    }
}

/// Whether an error has one of the words.
pub(super) fn has_words(why: &str, any: &[&str]) -> bool {
    any.iter().any(|words| why.contains(words))
}

/// Waits for a random time up to `most`.
pub(super) fn pause(random: &mut Random, most: Duration) {
    sleep(most.mul_f64(random.below(1001) as f64 / 1000.0));
}

/// Sends a signal, by its name without `SIG`.
pub(super) fn signal(pid: u32, name: &str) -> Result<()> {
    let mut command = std::process::Command::new("kill");
    let status =
        command.args([format!("-{name}"), pid.to_string()]).stderr(std::process::Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("no process {pid} takes SIG{name}")),
        Err(e) => Err(format!("cannot run `kill`: {e}")),
    }
}

/// Sends a signal and waits for the end, with an exit code or by a signal.
pub(super) fn ends_by(mut target: Target, name: &str, code: Option<i32>) -> Result<()> {
    signal(target.pid.unwrap_or_default(), name)?;
    has_ended(&mut target, code)
}

/// Waits for the end, with an exit code or by a signal.
pub(super) fn has_ended(target: &mut Target, code: Option<i32>) -> Result<()> {
    let server = target.server().ok_or("the server is not ours")?;
    match server.wait(PATIENCE) {
        Some(status) if status.code() == code => Ok(()),
        Some(status) => Err(format!("the server ended with {status}\n{}", server.last_words())),
        None => Err(format!("the server goes on after {} s", PATIENCE.as_secs())),
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|e| format!("cannot write `{}`: {e}", path.display()))
}
