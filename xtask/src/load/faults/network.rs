//! A bad network between clients and a server: a proxy that loses connections, delays, and is narrow.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use xtask::testing::Random;

use super::stage::{Setup, Stage};
use crate::load::look::{remains, settled};
use crate::load::{Result, STACK};

/// Time in which clients ask by way of the proxy.
const TIME: Duration = Duration::from_secs(5);
const DELAY: Duration = Duration::from_millis(200);
/// 64 kbit/s.
const BYTES_PER_SECOND: usize = 8000;
/// A connection is lost after fewer bytes.
const MOST_BYTES: usize = 20_000;
/// Words of clients whose connection was lost.
const LOST: [&str; 4] =
    ["the connection ended", "the stream ended", "Connection reset by peer", "Broken pipe"];

/// Clients ask by way of a bad network, others directly: texts are right, and nothing of lost connections stays behind.
pub(super) fn network(stage: &Stage, random: &mut Random) -> Result<()> {
    let target = stage.start(&Setup::default())?;
    let before = settled(&target, None)?;
    let proxy = Proxy::start(target.address, random.bits())?;
    let far = target.by_way_of(proxy.address);
    stage.while_asked(&target, &[], || {
        stage.while_asked(&far, &LOST, || {
            sleep(TIME);
            Ok(())
        })
    })?;
    if proxy.n_lost() == 0 {
        return Err("no connection was lost".into());
    }
    let remains = remains(before, settled(&target, Some(before))?);
    if !remains.is_empty() {
        return Err(format!("after {} lost connections: {}", proxy.n_lost(), remains.join(", ")));
    }
    stage.is_well(target)
}

/// Treatment of the bytes of a connection.
#[derive(Debug, Clone, Copy)]
enum Weather {
    /// Both ends are closed after as many bytes of one direction.
    Lost(usize),
    /// Delayed by [`DELAY`].
    Late,
    /// At [`BYTES_PER_SECOND`].
    Narrow,
    /// One byte at a time.
    Pieces,
}

impl Weather {
    fn of(i: usize, random: &mut Random) -> Weather {
        match i % 4 {
            0 => Weather::Lost(random.below(MOST_BYTES)),
            1 => Weather::Late,
            2 => Weather::Narrow,
            _ => Weather::Pieces,
        }
    }
}

/// Listens, and carries bytes to the server and back until it is dropped.
struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    n_lost: AtomicUsize,
}

impl Proxy {
    fn start(server: SocketAddr, seed: u64) -> Result<Proxy> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = listener.map_err(|e| format!("cannot listen: {e}"))?;
        let shared = Arc::new(Shared::default());
        let known = Arc::clone(&shared);
        let accept = move || {
            let mut random = Random(seed);
            for (i, client) in listener.incoming().enumerate() {
                if known.is_over.load(Relaxed) {
                    return;
                }
                let weather = Weather::of(i, &mut random);
                // A client of a connection that is not made sees it closed.
                let _ = client.and_then(|client| connect(client, server, weather, &known));
            }
        };
        let listener = spawn(accept).map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok(Proxy { address, shared, listener: Some(listener) })
    }

    fn n_lost(&self) -> usize {
        self.shared.n_lost.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        // The listener waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().stack_size(STACK).spawn(work)
}

/// Carries bytes in both directions until both ends have closed.
fn connect(client: TcpStream, server: SocketAddr, weather: Weather, shared: &Arc<Shared>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for [from, to] in [[&client, &server], [&server, &client]] {
        to.set_nodelay(true)?;
        let (from, to, shared) = (from.try_clone()?, to.try_clone()?, Arc::clone(shared));
        spawn(move || {
            // The end of one side is the end of the other.
            let lost = carry(&from, &to, weather).unwrap_or(true);
            let _ = to.shutdown(if lost { Shutdown::Both } else { Shutdown::Write });
            if lost {
                let _ = from.shutdown(Shutdown::Both);
                shared.n_lost.fetch_add(1, Relaxed);
            }
        })?;
    }
    Ok(())
}

/// Carries bytes until there are no more; `true` if the connection is lost before.
fn carry(mut from: &TcpStream, mut to: &TcpStream, weather: Weather) -> io::Result<bool> {
    let (mut buffer, mut n_carried) = ([0; 2048], 0);
    loop {
        let n = from.read(&mut buffer)?;
        let bytes = &buffer[..n];
        match weather {
            _ if n == 0 => return Ok(false),
            Weather::Lost(most) if n_carried + n > most => {
                to.write_all(&bytes[..most - n_carried])?;
                return Ok(true);
            }
            Weather::Lost(_) => to.write_all(bytes)?,
            Weather::Late => {
                sleep(DELAY);
                to.write_all(bytes)?;
            }
            Weather::Narrow => {
                to.write_all(bytes)?;
                sleep(Duration::from_secs_f64(n as f64 / BYTES_PER_SECOND as f64));
            }
            Weather::Pieces => bytes.chunks(1).try_for_each(|byte| to.write_all(byte))?,
        }
        n_carried += n;
    }
}
