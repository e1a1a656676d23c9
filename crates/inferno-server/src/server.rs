//! A server from its first connection to its last.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::app::{App, Parts};
use crate::drain::{Drain, Ended, LAST_WORDS};
use crate::listener::{self, Acceptor};
use crate::routes::router;
use crate::settings::Settings;
use crate::watchdog::Watchdog;

/// A server that accepts. Until it is given a model it says that it loads one.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    settings: Arc<Settings>,
    drain: Arc<Drain>,
    acceptor: Arc<Acceptor>,
    accepting: JoinHandle<()>,
}

/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(20);

impl Server {
    /// Takes `address` (port 0 is any that is free) and accepts connections, in the runtime that this is called from.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn bind(address: SocketAddr, settings: Settings) -> io::Result<Server> {
        let listener: TcpListener = listener::bind(address)?;
        let address = listener.local_addr()?;
        let (settings, drain) = (Arc::new(settings), Arc::<Drain>::default());
        let acceptor = Arc::new(Acceptor::new(Arc::clone(&settings), Arc::clone(&drain)));
        let accepting = tokio::spawn(Arc::clone(&acceptor).run(listener));
        Ok(Server { address, settings, drain, acceptor, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the door to a model: from here on requests are answered.
    pub fn open(self, parts: Parts) -> Serving {
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
        self.accepting.abort();
    }
}

/// A server with a model.
#[derive(Debug)]
pub struct Serving {
    server: Server,
    app: Arc<App>,
    _watchdog: Watchdog,
}

impl Serving {
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

    /// Nothing new; what runs has its time; then it is told that it is over.
    async fn end(&self, ended: Ended) {
        let Server { settings, drain, acceptor, .. } = &self.server;
        let time = if ended == Ended::Drained { settings.drain } else { LAST_WORDS };
        tracing::info!(busy = acceptor.n_busy(), "no new requests are taken");
        drain.begin();
        if !self.is_quiet_by(Instant::now() + time).await {
            tracing::warn!(busy = acceptor.n_busy(), "what still runs is ended");
            drain.end();
            self.is_quiet_by(Instant::now() + LAST_WORDS).await;
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
