//! F1: clients that leave.

use std::io::{BufReader, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use xtask::testing::Random;

use super::super::harness::{Server, post, read_chunk, read_head, start_with};
use super::super::raw::check_well;
use super::{story, streamed};
use crate::Settings;

fn pages(server: &Server) -> [u64; 3] {
    let load = server.get("/v1/loads").json();
    ["free", "cached", "held"].map(|state| load["kv_pages"][state].as_u64().unwrap())
}

#[test]
fn a_thousand_clients_leave_and_no_page_is_lost() {
    const N: usize = 1000;
    let settings = Settings { hold: std::time::Duration::from_millis(20), ..Settings::default() };
    let server = start_with(settings, |config| config.limits.max_sequences = 16);
    let before = pages(&server);
    assert_eq!(before[2], 0);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= N {
                        return;
                    }
                    leave(&server, &mut Random(i as u64));
                }
            });
        }
    });
    check_well(&server);
    let [free, cached, held] = pages(&server);
    assert_eq!((free + cached, held), (before[0], 0));
    server.raw("POST /admin/reset_prefix_cache HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    server.wait_until(|server| pages(server) == before);
    server.wait_until(|server| server.metric("inferno_http_requests_in_flight") == 1.0);
    assert_eq!(server.get("/v1/loads").json()["requests"], 0);
    assert_eq!(server.metric("inferno_request_seconds_count"), N as f64);
}

/// Asks for something, and leaves at some time.
fn leave(server: &Server, random: &mut Random) {
    let prompt = ["Once", "Tom and Sam went to the park.", "The dragon"][random.below(3)];
    let mut body = streamed(story(prompt, 1 + random.below(12)));
    body["seed"] = random.below(1 << 30).into();
    body["n"] = (1 + random.below(2)).into();
    let mut reader = BufReader::new(server.connect());
    reader.get_mut().write_all(post("/v1/completions", "", &body).as_bytes()).unwrap();
    let n_chunks = random.below(5);
    assert_eq!(read_head(&mut reader).unwrap().status, 200);
    for _ in 0..n_chunks {
        if read_chunk(&mut reader).unwrap().is_none() {
            return;
        }
    }
}
