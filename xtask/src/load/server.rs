//! A server that is started here, and ends when it is dropped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::{Result, STACK, address};

/// A model may have to be read first.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Server {
    child: Child,
    name: String,
    address: SocketAddr,
    /// Its stderr.
    log: PathBuf,
}

impl Server {
    /// Starts the program and waits for the line with its address. Its stderr goes to `log`.
    pub(crate) fn start(program: &Path, options: &[String], log: &Path) -> Result<Server> {
        eprintln!("starting {} {}", program.display(), options.join(" "));
        let (mut server, addresses) = Server::spawn(program, options, log)?;
        server.listen(&addresses)?;
        Ok(server)
    }

    /// Waits for the line with the address.
    pub(crate) fn listen(&mut self, addresses: &Receiver<String>) -> Result<()> {
        match addresses.recv_timeout(PATIENCE) {
            Ok(url) => self.address = address::of_url(&url)?,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("`{}` printed no address in {} seconds", self.name, PATIENCE.as_secs()));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().map_or("no status".into(), |status| status.to_string());
                let words = self.last_words();
                return Err(format!("`{}` ended without an address: {status}\n{words}", self.name));
            }
        }
        Ok(())
    }

    /// Starts a program whose options name `address`, and waits until `is_ready` says so.
    pub(crate) fn start_at(
        address: SocketAddr,
        program: &Path,
        options: &[String],
        log: &Path,
        is_ready: impl Fn(SocketAddr) -> bool,
    ) -> Result<Server> {
        eprintln!("starting {} {}", program.display(), options.join(" "));
        let (mut server, _) = Server::spawn(program, options, log)?;
        server.address = address;
        let start = Instant::now();
        while !is_ready(address) {
            if let Some(end) = server.end() {
                return Err(end);
            }
            if start.elapsed() > PATIENCE {
                let (name, seconds) = (program.display(), PATIENCE.as_secs());
                return Err(format!("`{name}` is not ready after {seconds} seconds"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    /// Starts the program; the addresses it prints come later.
    pub(crate) fn spawn(
        program: &Path,
        options: &[String],
        log: &Path,
    ) -> Result<(Server, Receiver<String>)> {
        let folder = log.parent().map_or(Ok(()), std::fs::create_dir_all);
        let file = folder.and_then(|()| File::create(log));
        let file = file.map_err(|e| format!("cannot write `{}`: {e}", log.display()))?;
        let name = program.display().to_string();
        let mut command = Command::new(program);
        command.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().map_err(|e| format!("cannot run `{name}`: {e}"))?;
        let stdout = child.stdout.take().expect("stdout is a pipe");
        // From here on it ends with us.
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server { child, name, address, log: log.to_owned() };
        let (sender, receiver) = mpsc::channel();
        let reader = std::thread::Builder::new().stack_size(STACK);
        reader.spawn(move || read(stdout, &sender)).map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok((server, receiver))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended; `None` if it goes on for longer than `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            match self.child.try_wait().ok().flatten() {
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                status => return status,
            }
        }
    }

    /// How it ended, if it did.
    pub(crate) fn end(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the server ended with {status}\n{}", self.last_words()))
    }

    /// The last lines of its log.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&self.log, 10)
    }
}

/// The last `n` lines of a file, or none.
pub(crate) fn last_lines(path: &Path, n: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(n)..].join("\n")
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends the first address, and reads on so that the program can always write.
fn read(stdout: ChildStdout, addresses: &Sender<String>) {
    for line in BufReader::new(stdout).split(b'\n').map_while(std::result::Result::ok) {
        if let Some(url) = address::in_line(&String::from_utf8_lossy(&line)) {
            // Only the first one is waited for.
            let _ = addresses.send(url.to_owned());
        }
    }
}
