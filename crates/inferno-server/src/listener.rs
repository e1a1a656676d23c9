//! Accepting connections: no more than there is room for, and those that only wait make room for those that ask.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::connection::{self, Door};
use crate::drain::Drain;
use crate::io::{Progress, Stage};
use crate::settings::Settings;

/// Bytes that the system keeps for a client that does not read; the rest stays with us, where it is counted.
const SEND_BUFFER: u32 = 128 << 10;
const BACKLOG: u32 = 1024;
/// Of one address that is not this machine's own, if nothing is set.
const PER_ADDRESS: usize = 256;
/// After an accept that failed, as there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes an address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection that has not brought a request yet is left alone for this part of the time it has for it.
const YOUNG: u32 = 5;

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
    open: Mutex<Open>,
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
        let (door, traffic) = (Arc::default(), Arc::default());
        Acceptor { door, settings, drain, traffic, open: Mutex::default() }
    }

    /// Accepts until it is dropped.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(error) => {
                    // Most likely there are no descriptors left: those that wait can wait a little longer.
                    tracing::warn!(%error, "cannot accept a connection");
                    self.evict();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Connections with a request, or with an answer on its way.
    pub(crate) fn n_busy(&self) -> usize {
        let open = self.lock();
        let is_busy = |c: &&Connection| matches!(c.progress.get().0, Stage::Busy | Stage::Closing);
        open.all.values().filter(is_busy).count()
    }

    fn take(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        self.traffic.accepted.fetch_add(1, Ordering::Relaxed);
        let address = peer.ip().to_canonical();
        let most = match self.settings.connections_per_address {
            Some(most) => most,
            None if address.is_loopback() => usize::MAX,
            None => PER_ADDRESS,
        };
        let is_full = self.lock().all.len() >= self.settings.connections;
        let is_greedy = self.lock().per_address.get(&address).is_some_and(|&n| n >= most);
        if is_greedy || is_full && !self.evict() {
            self.traffic.refused.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(turn_away(stream));
            return;
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
    }

    /// Ends the connection that has been without a request for the longest; false if all have one.
    fn evict(&self) -> bool {
        let young = self.settings.header_time / YOUNG;
        let mut open = self.lock();
        let waiting = open.all.iter().filter_map(|(number, c)| match c.progress.get() {
            (Stage::Idle, since) => Some((since, *number)),
            // A request may have come that nobody has had the time to read.
            (Stage::New | Stage::Head, since) => (since.elapsed() >= young).then_some((since, *number)),
            (Stage::Busy | Stage::Closing, _) => None,
        });
        let Some((_, number)) = waiting.min() else { return false };
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
    }
}

/// Says that there is no room, to whoever listens, and closes.
async fn turn_away(mut stream: TcpStream) {
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{FULL_BODY}",
        FULL_BODY.len()
    );
    let _ = tokio::time::timeout(PAUSE, stream.write_all(head.as_bytes())).await;
    let _ = stream.shutdown().await;
}
