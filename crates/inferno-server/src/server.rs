//! A server from its first connection to its last.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::app::{App, Parts};
use crate::drain::{Drain, Ended, LAST_WORDS};
use crate::keys::{Key, KeyChanges};
use crate::listener::{self, Acceptor};
use crate::routes::router;
use crate::settings::{Defaults, Settings};
use crate::watchdog::Watchdog;

/// A server that accepts. Until it is given a model it says that it loads one.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    settings: Arc<Settings>,
    drain: Arc<Drain>,
    acceptor: Arc<Acceptor>,
    accepting: Vec<JoinHandle<()>>,
}

/// Time for the last event of streams that are cut off at once.
const CUT_OFF: Duration = Duration::from_millis(200);
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(20);

impl Server {
    /// Takes `address` (port 0 is any that is free) and accepts connections, in the runtime that this is called from.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn bind(address: SocketAddr, settings: Settings) -> io::Result<Server> {
        Server::bind_all(&[address], settings)
    }

    /// The same at several addresses, as a name may have. Port 0 is one free port for all. Addresses that this machine does
    /// not have are left out if it has another one.
    ///
    /// # Errors
    /// One of the addresses is taken, or none can be had.
    pub fn bind_all(addresses: &[SocketAddr], settings: Settings) -> io::Result<Server> {
        let mut listeners: Vec<TcpListener> = Vec::new();
        let mut missing = io::Error::new(io::ErrorKind::AddrNotAvailable, "there is no address");
        let mut port = None;
        for address in addresses {
            let address = SocketAddr::new(address.ip(), port.unwrap_or(address.port()));
            match listener::bind(address) {
                Ok(listener) => {
                    port = Some(listener.local_addr()?.port());
                    listeners.push(listener);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                Err(error) => {
                    tracing::info!(%address, %error, "not listening at this address");
                    missing = error;
                }
            }
        }
        let address = match listeners.first() {
            Some(listener) => listener.local_addr()?,
            None => return Err(missing),
        };
        let (settings, drain) = (Arc::new(settings), Arc::<Drain>::default());
        let acceptor = Arc::new(Acceptor::new(Arc::clone(&settings), Arc::clone(&drain)));
        let accept = |listener| tokio::spawn(Arc::clone(&acceptor).run(listener));
        let accepting = listeners.into_iter().map(accept).collect();
        Ok(Server { address, settings, drain, acceptor, accepting })
    }

    /// Where it listens, the first of its addresses.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the settings' sampling defaults, as a model's file may have some of its own; before [`open`](Self::open).
    pub fn set_defaults(&mut self, defaults: Defaults) {
        let settings = Settings { defaults, ..Settings::clone(&self.settings) };
        self.settings = Arc::new(settings);
    }

    /// Sets the [key of salts](Settings::salt_key), for a prefix cache that outlives the process; before [`open`](Self::open).
    pub fn set_salt_key(&mut self, key: [u8; 16]) {
        let settings = Settings { salt_key: Some(key), ..Settings::clone(&self.settings) };
        self.settings = Arc::new(settings);
    }

    /// Opens the door to a model: from here on requests are answered.
    pub fn open(self, parts: Parts) -> Serving {
        if parts.template.renderer().is_some_and(|renderer| renderer.profile().reply.needs_system_text) {
            tracing::info!("the chat template shows no tools: those of requests go to the system message");
        }
        let traffic = Arc::clone(&self.acceptor.traffic);
        let app = App::new(parts, Arc::clone(&self.settings), Arc::clone(&self.drain), traffic);
        let app = Arc::new(app);
        let watchdog = Watchdog::start(&app);
        self.acceptor.door.open(router(&app));
        Serving { server: self, app, _watchdog: watchdog }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

/// A server with a model.
#[derive(Debug)]
pub struct Serving {
    server: Server,
    app: Arc<App>,
    _watchdog: Watchdog,
}

/// Changes to a server that runs.
#[derive(Debug, Clone)]
pub struct Control {
    app: Arc<App>,
    drain: Arc<Drain>,
    acceptor: Arc<Acceptor>,
}

impl Control {
    /// Replaces all keys. Requests that run go on; an owner that is still there keeps its account and its cached prefixes.
    pub fn replace_keys(&self, keys: Vec<Key>) -> KeyChanges {
        self.app.keyring.replace(keys)
    }

    /// Writes the responses of `/v1/responses` that are kept, and returns their number; those of keys without a name are left
    /// out.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn save_responses(&self, out: &mut impl io::Write) -> io::Result<usize> {
        self.app.responses.save(&self.app.keyring, out)
    }

    /// Keeps the responses that [`save_responses`](Self::save_responses) has written, and returns their number.
    ///
    /// # Errors
    /// `input` cannot be read, or has something else; the error names the line.
    pub fn load_responses(&self, input: impl io::BufRead) -> io::Result<usize> {
        self.app.responses.load(&self.app.keyring, input)
    }

    /// Serves a connection that the caller has accepted, such as a pipe in memory, within the same limits as connections of
    /// listeners. It is called inside the server's runtime.
    pub fn connect(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) {
        self.acceptor.take(stream, peer);
    }

    /// Ends all requests with an error: a drain that goes on is over.
    pub fn cut_off(&self) {
        self.drain.begin();
        self.drain.end();
    }
}

impl Serving {
    /// For changes while the server runs.
    pub fn control(&self) -> Control {
        Control {
            app: Arc::clone(&self.app),
            drain: Arc::clone(&self.server.drain),
            acceptor: Arc::clone(&self.server.acceptor),
        }
    }

    /// Until `stop` is ready or the engine is broken; then what runs may finish for a while.
    pub async fn until(self, stop: impl Future<Output = ()>) -> Ended {
        let engine = self.app.engine.clone();
        let broken = async {
            while !engine.is_stopped() {
                sleep(LOOK * 5).await;
            }
        };
        let ended = tokio::select! {
            () = stop => Ended::Drained,
            () = broken => Ended::EngineStopped,
        };
        self.end(ended).await;
        ended
    }

    /// Takes no new requests, gives those that run their time, and then ends them with an error. Logs the server's last line.
    async fn end(&self, ended: Ended) {
        let Server { settings, drain, acceptor, .. } = &self.server;
        let time = if ended == Ended::Drained { settings.drain } else { LAST_WORDS };
        tracing::info!(busy = acceptor.n_busy(), "draining: no new requests are taken");
        drain.begin();
        let is_quiet = tokio::select! {
            is_quiet = self.is_quiet_by(Instant::now() + time) => is_quiet,
            () = drain.ended() => false,
        };
        let (n_busy, is_cut_off) = (acceptor.n_busy(), drain.is_over());
        if !is_quiet {
            drain.end();
            self.is_quiet_by(Instant::now() + if is_cut_off { CUT_OFF } else { LAST_WORDS }).await;
        }
        let uptime_s = self.app.started.elapsed().as_secs();
        match (ended, is_quiet) {
            (Ended::EngineStopped, _) => {
                tracing::error!(uptime_s, cut_off = n_busy, "stopped: the engine is broken");
            }
            (Ended::Drained, true) => tracing::info!(uptime_s, "stopped: every request was answered"),
            (Ended::Drained, false) if is_cut_off => {
                tracing::warn!(uptime_s, cut_off = n_busy, "stopped: at once, as told");
            }
            (Ended::Drained, false) => {
                tracing::warn!(uptime_s, cut_off = n_busy, "stopped: the time to drain (`--drain`) was over");
            }
        }
    }

    async fn is_quiet_by(&self, deadline: Instant) -> bool {
        let quiet = async {
            while self.server.acceptor.n_busy() > 0 {
                sleep(LOOK).await;
            }
        };
        timeout_at(deadline, quiet).await.is_ok()
    }
}
