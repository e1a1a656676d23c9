//! Accepting connections: no more than there is room for, and those that only wait make room for those that ask.
#![deny(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use crate::connection::{self, Door};
use crate::descriptors;
use crate::drain::Drain;
use crate::eviction::{self, Waiting};
use crate::io::{Progress, Stage};
use crate::settings::Settings;

/// Bytes that the system keeps for a client that does not read; the rest stays with us, where it is counted.
const SEND_BUFFER: u32 = 128 << 10;
const BACKLOG: u32 = 1024;
/// Longest wait for a free descriptor before the next try to accept.
const PAUSE: Duration = Duration::from_millis(200);
/// Interval between warnings about connections that cannot be accepted.
const WARNING: Duration = Duration::from_secs(10);
/// Connections that are told at once that there is no room; further ones are closed without a word.
const TURNED_AWAY: usize = 64;

/// Takes an address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What a connection is told for which there is no room.
const FULL_BODY: &str = concat!(
    r#"{"error":{"message":"there are too many connections","type":"unavailable_error","#,
    r#""param":null,"code":"connections_full"}}"#,
);

/// Connections, counted.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Open now.
    pub(crate) connections: AtomicU64,
    pub(crate) accepted: AtomicU64,
    /// Closed at once.
    pub(crate) refused: AtomicU64,
    /// Made room for others.
    pub(crate) evicted: AtomicU64,
}

/// Whoever accepts.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) door: Arc<Door>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) traffic: Arc<Traffic>,
    /// Places for connections: those set, or fewer where the process may open fewer files.
    n_places: usize,
    open: Mutex<Open>,
    /// Told of every connection that is closed.
    closed: Notify,
    turned_away: Semaphore,
}

/// All connections.
#[derive(Debug, Default)]
struct Open {
    n: u64,
    all: HashMap<u64, Connection>,
    per_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    progress: Arc<Progress>,
    make_room: Arc<Notify>,
}

impl Acceptor {
    pub(crate) fn new(settings: Arc<Settings>, drain: Arc<Drain>) -> Acceptor {
        let (door, traffic) = (Arc::new(Door::new(&settings)), Arc::default());
        let n_places = descriptors::places(settings.connections);
        if n_places + descriptors::RESERVED < settings.connections {
            tracing::warn!(
                connections = n_places,
                "the limit on open files allows fewer connections than `--connections` (raise it with `ulimit -n`)"
            );
        }
        let turned_away = Semaphore::new(TURNED_AWAY);
        let (open, closed) = (Mutex::default(), Notify::new());
        Acceptor { door, settings, drain, traffic, n_places, open, closed, turned_away }
    }

    /// Accepts until it is dropped.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut warned: Option<Instant> = None;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    if self.take(stream, peer) {
                        // The connection that made room is closed, and what was accepted before is read, before the
                        // next one is let in.
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if warned.is_none_or(|at| at.elapsed() >= WARNING) {
                        tracing::warn!(%error, "cannot accept a connection");
                        warned = Some(Instant::now());
                    }
                    // Most likely there are no descriptors left: a connection without a request gives its own.
                    let closed = self.closed.notified();
                    if self.evict(None) {
                        let _ = timeout(PAUSE, closed).await;
                    } else {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    /// Connections with a request, or with an answer on its way.
    pub(crate) fn n_busy(&self) -> usize {
        let open = self.lock();
        let is_busy =
            |c: &&Connection| matches!(c.progress.get().0, Stage::Busy | Stage::Body | Stage::Closing);
        open.all.values().filter(is_busy).count()
    }

    /// Serves a connection, or turns it away. True if another one made room for it.
    pub(crate) fn take(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
    ) -> bool {
        self.traffic.accepted.fetch_add(1, Ordering::Relaxed);
        let address = peer.ip().to_canonical();
        let (is_full, is_greedy) = {
            let open = self.lock();
            let n = open.per_address.get(&address).copied().unwrap_or(0);
            let is_greedy = self.settings.connections_per_address.is_some_and(|most| n >= most);
            (open.all.len() >= self.n_places, is_greedy)
        };
        let mut has_evicted = false;
        if is_greedy || is_full {
            has_evicted = self.evict(is_greedy.then_some(address));
            if !has_evicted {
                self.traffic.refused.fetch_add(1, Ordering::Relaxed);
                let acceptor = Arc::clone(self);
                tokio::spawn(async move {
                    if let Ok(_place) = acceptor.turned_away.try_acquire() {
                        turn_away(stream).await;
                    }
                });
                return false;
            }
        }
        let (progress, make_room) = (Arc::<Progress>::default(), Arc::<Notify>::default());
        let connection =
            Connection { peer: address, progress: Arc::clone(&progress), make_room: Arc::clone(&make_room) };
        let place = Place { acceptor: Arc::clone(self), number: self.lock().enter(connection) };
        self.traffic.connections.fetch_add(1, Ordering::Relaxed);
        let (door, settings, drain) =
            (Arc::clone(&self.door), Arc::clone(&self.settings), Arc::clone(&self.drain));
        tokio::spawn(async move {
            let _place = place;
            connection::serve(stream, peer, door, settings, drain, (progress, make_room)).await;
        });
        has_evicted
    }

    /// Ends a connection that waits for its client, of `address` alone if one is given; false if there is none.
    fn evict(&self, address: Option<IpAddr>) -> bool {
        let mut open = self.lock();
        let candidates = open.all.iter().filter(|(_, c)| address.is_none_or(|address| c.peer == address));
        let waiting = candidates.filter_map(|(&number, c)| {
            let (stage, since) = c.progress.get();
            Waiting::new(number, c.peer, stage, since, c.progress.stalled())
        });
        let victim = eviction::victim(waiting, Instant::now(), self.settings.header_time);
        let Some(number) = victim else { return false };
        if let Some(connection) = open.leave(number) {
            connection.make_room.notify_one();
            self.traffic.evicted.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Nobody panics with the lock in hand.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Open {
    fn enter(&mut self, connection: Connection) -> u64 {
        *self.per_address.entry(connection.peer).or_default() += 1;
        self.n += 1;
        self.all.insert(self.n, connection);
        self.n
    }

    fn leave(&mut self, number: u64) -> Option<Connection> {
        let connection = self.all.remove(&number)?;
        if let Some(n) = self.per_address.get_mut(&connection.peer) {
            *n -= 1;
            if *n == 0 {
                self.per_address.remove(&connection.peer);
            }
        }
        Some(connection)
    }
}

/// A connection's place, for as long as it is served.
struct Place {
    acceptor: Arc<Acceptor>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.acceptor.lock().leave(self.number);
        self.acceptor.traffic.connections.fetch_sub(1, Ordering::Relaxed);
        self.acceptor.closed.notify_waiters();
    }
}

/// Errors of the connection that was about to be accepted, which say nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Says that there is no room, to whoever listens, and closes.
async fn turn_away(mut stream: impl AsyncWrite + Unpin) {
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{FULL_BODY}",
        FULL_BODY.len()
    );
    let _ = timeout(PAUSE, stream.write_all(head.as_bytes())).await;
    let _ = stream.shutdown().await;
}
