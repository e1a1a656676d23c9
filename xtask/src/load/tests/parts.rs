use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use crate::load::address;
use crate::load::args::{Args, Scenario};
use crate::load::figures::{Times, is_at_least, is_at_most};
use crate::load::http::{Body, Head};
use crate::load::metrics::Metrics;
use crate::load::server::Server;
use crate::load::sse::Events;
use crate::load::vitals::{Vitals, soft_limit};

fn args(text: &str) -> Result<Args, String> {
    Args::parse(&text.split_whitespace().map(String::from).collect::<Vec<_>>())
}

#[test]
fn options_are_read_and_wrong_ones_refused() {
    assert_eq!(args("").unwrap(), Args::default());
    let parsed = args("overload --sequences 4 --queue 0 --json --seconds 0.5 -- -m x.gguf --json").unwrap();
    let expected = Args {
        scenario: Scenario::Overload,
        sequences: 4,
        queue: 0,
        json: true,
        seconds: 0.5,
        server_args: ["-m", "x.gguf", "--json"].map(String::from).into(),
        ..Args::default()
    };
    assert_eq!(parsed, expected);
    for (text, expected) in [
        ("many", "there is no scenario `many`"),
        ("mixed overload", "there is no option `overload`"),
        ("--streams", "`--streams` needs a value"),
        ("--streams 0", "`--streams` takes a number from 1 on, not `0`"),
        ("--minutes -1", "`--minutes` takes a number above 0, not `-1`"),
        ("--minutes NaN", "`--minutes` takes a number above 0, not `NaN`"),
        ("--url http://127.0.0.1:1 --server x", "a server that runs (`--url`) takes no program"),
        ("--url http://127.0.0.1:1 -- -m x", "a server that runs (`--url`) takes no program"),
        ("--pid 1", "`--pid` belongs to `--url`"),
    ] {
        let error = args(text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_server_gets_the_options_of_its_scenario_unless_they_are_given() {
    let options = |text: &str| args(text).unwrap().server_options()[5..].join(" ");
    assert_eq!(options("mixed"), "--sequences 32 --queue 160 --kv-memory 64MiB --write-time 6");
    assert_eq!(options("overload -- -m x"), "--sequences 8 --queue 16 --kv-memory 64MiB -m x");
    assert_eq!(options("aborts --streams 3 -- --queue 5"), "--sequences 3 --kv-memory 64MiB --queue 5");
    let given = "--kv-memory 1GiB --queue=5 --sequences=7 --write-time=9";
    assert_eq!(options(&format!("mixed -- {given}")), given);
}

#[test]
fn a_minute_has_a_clean_and_an_attacked_phase_unless_told_otherwise() {
    let n = |text: &str| args(text).unwrap().n_phases();
    assert_eq!([n(""), n("--minutes 0.1"), n("--minutes 2.4"), n("--phases 3")], [20, 2, 4, 3]);
}

#[test]
fn only_addresses_of_this_machine_are_taken() {
    for (url, expected) in [
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://127.8.0.1:8080/", "127.8.0.1:8080"),
        ("http://localhost:80", "127.0.0.1:80"),
        ("http://[::1]:80", "[::1]:80"),
    ] {
        assert_eq!(address::of_url(url).unwrap().to_string(), expected);
    }
    for url in
        ["http://10.0.0.1:80", "http://example.com:80", "http://0.0.0.0:80", "http://127.0.0.1.nip.io:80"]
    {
        let error = address::of_url(url).unwrap_err();
        assert!(error.contains("is not an address of this machine"), "{error}");
    }
    for url in ["https://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1", "http://127.0.0.1:1/v1"] {
        let error = address::of_url(url).unwrap_err();
        assert!(error.contains("is not an address like"), "{error}");
    }
    assert_eq!(address::in_line("serving at http://127.0.0.1:81/ now"), Some("http://127.0.0.1:81"));
    assert_eq!(address::in_line("see `http://127.0.0.1:81`."), Some("http://127.0.0.1:81"));
    assert_eq!(address::in_line("nothing"), None);
}

#[test]
fn percentiles_are_nearest_ranks() {
    let summary = |times: &[u64]| {
        let mut all = Times::default();
        times.iter().for_each(|&ms| all.push(Duration::from_millis(ms)));
        let summary = all.summary();
        (summary.p50, summary.p99, summary.max)
    };
    assert_eq!(summary(&[7]), (7.0, 7.0, 7.0));
    assert_eq!(summary(&[4, 1, 3, 2]), (2.0, 4.0, 4.0));
    assert_eq!(summary(&(1..=100).rev().collect::<Vec<_>>()), (50.0, 99.0, 100.0));
    assert_eq!(summary(&(1..=1000).collect::<Vec<_>>()), (500.0, 990.0, 1000.0));
    assert!(summary(&[]).1.is_nan());
    assert!(is_at_most(1.5, 1.5) && !is_at_most(1.51, 1.5) && !is_at_most(f64::NAN, 1.5));
    assert!(is_at_least(0.9, 0.9) && !is_at_least(0.89, 0.9) && !is_at_least(f64::NAN, 0.9));
}

#[test]
fn bodies_end_where_they_say() {
    let body = |head: &str, body: &str| {
        let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}");
        // Small reads: everything falls apart somewhere.
        let mut from = BufReader::with_capacity(3, text.as_bytes());
        let head = Head::read(&mut from).unwrap();
        let text = Body::new(&mut from, &head).and_then(Body::text).map_err(|e| e.to_string())?;
        let mut rest = String::new();
        from.read_to_string(&mut rest).unwrap();
        Ok::<_, String>((text, rest, head.keeps_alive()))
    };
    let is = |text: &str, rest: &str, keeps: bool| Ok((text.to_owned(), rest.to_owned(), keeps));
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(body("Content-Length: 4\r\n", "abcdHTTP"), is("abcd", "HTTP", true));
    assert_eq!(body("content-length: 0\r\n", "HTTP"), is("", "HTTP", true));
    assert_eq!(body("content-length: 1\r\nConnection: Close\r\n", "a"), is("a", "", false));
    assert_eq!(body("", "abcd"), is("abcd", "", false));
    assert_eq!(
        body(chunked, "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nHTTP"),
        is("abc0123456789", "HTTP", true)
    );
    assert_eq!(body(chunked, "0\r\nTrailer: x\r\n\r\nHTTP"), is("", "HTTP", true));
    for (head, text, expected) in [
        ("content-length: 5\r\n", "abcd", "the connection ended within a body"),
        ("content-length: x\r\n", "abcd", "`x` is not a content-length"),
        (chunked, "3\r\nab", "the connection ended within a body"),
        (chunked, "3\r\nabc\r\n", "the connection ended within a head"),
        (chunked, "2\r\nabc\r\n0\r\n\r\n", "a chunk is longer than it says"),
        (chunked, "zz\r\n", "`zz` is not a chunk size"),
    ] {
        assert_eq!(body(head, text).unwrap_err(), expected, "{text:?}");
    }
}

#[test]
fn events_are_told_apart() {
    let events = |text: &str| {
        let mut events = Events::new(text.as_bytes());
        let mut all = Vec::new();
        loop {
            match events.next() {
                Ok(Some(data)) => all.push(String::from_utf8(data.to_vec()).unwrap()),
                Ok(None) => return Ok(all),
                Err(e) => return Err(e.to_string()),
            }
        }
    };
    assert_eq!(
        events("data: a\n\ndata:b\r\n\r\n: still there\n\n\nevent: x\ndata: c\ndata: d\n\n").unwrap(),
        ["a", "b", "c\nd"]
    );
    assert_eq!(events("").unwrap(), [""; 0]);
    assert_eq!(events("data: a\n").unwrap_err(), "the stream ended within an event");
    assert_eq!(events("data: a\n\nda").unwrap_err(), "the stream ended within `da`");
    assert_eq!(events("{}\n").unwrap_err(), "`{}` is not a line of an event");
}

#[test]
fn metrics_and_processes_are_read() {
    let text = "# TYPE inferno_sequences_running gauge\ninferno_sequences_running 3\ninferno_sequences_waiting 0\n\
                inferno_kv_pages{state=\"free\"} 4e1\ninferno_kv_pages{state=\"cached\"} 50.0\n\
                inferno_kv_pages{state=\"held\"} 6 1700000000\ninferno_requests_abandoned_total 7\n\
                inferno_completion_tokens_total 8\n";
    let metrics = Metrics::parse(text).unwrap();
    assert_eq!(
        metrics,
        Metrics { running: 3, waiting: 0, free: 40, cached: 50, held: 6, abandoned: 7, tokens: 8 }
    );
    assert!(metrics.pages() == 96 && !metrics.is_idle());
    let error = Metrics::parse("inferno_sequences_running_total 3\n").unwrap_err();
    assert_eq!(error, "`/metrics` has no number `inferno_sequences_running`");

    let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t7\n";
    let expected = Vitals { rss_bytes: 2 << 20, n_threads: 7, n_files: 9 };
    assert_eq!(Vitals::parse(status, 9), Some(expected));
    assert_eq!(Vitals::parse("Name:\tx\n", 9), None);
    let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024     4096     files\n";
    assert_eq!(soft_limit(limits), Some(1024));
}

#[cfg(unix)]
mod servers {
    use super::*;

    fn start(test: &str, program: &str, script: &str) -> Result<Server, String> {
        let log = xtask::testing::root().join(format!("target/load/test-{test}.log"));
        Server::start(Path::new(program), &["-c".into(), script.into()], &log)
    }

    #[test]
    fn a_server_ends_when_it_is_dropped() {
        let mut server =
            start("drop", "/bin/sh", "echo loading; echo listening on http://127.0.0.1:81; exec sleep 1000")
                .unwrap();
        assert_eq!(server.address().to_string(), "127.0.0.1:81");
        assert_eq!(server.end(), None);
        let program = format!("/proc/{}/cmdline", server.pid());
        let is_there = || std::fs::File::open(&program).is_ok_and(|f| BufReader::new(f).fill_buf().is_ok());
        assert!(is_there() || !cfg!(target_os = "linux"));
        drop(server);
        assert!(!is_there());
    }

    #[test]
    fn a_server_that_cannot_be_used_is_no_server() {
        let error = start("early", "/bin/sh", "echo out of memory >&2; exit 3").err().unwrap();
        assert!(error.contains("ended without an address") && error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("out of memory"), "{error}");
        let error = start("early", "/bin/sh", "echo http://0.0.0.0:81; exec sleep 1000").err().unwrap();
        assert!(error.contains("is not an address of this machine"), "{error}");
        let error = start("early", "no/such/program", "").err().unwrap();
        assert!(error.starts_with("cannot run `no/such/program`"), "{error}");
    }

    #[test]
    fn a_server_at_a_known_address_is_waited_for() {
        let log = xtask::testing::root().join("target/load/test-at.log");
        let address = "127.0.0.1:81".parse().unwrap();
        let start = |script: &str, is_ready: &dyn Fn() -> bool| {
            let options = ["-c".into(), script.into()];
            Server::start_at(address, Path::new("/bin/sh"), &options, &log, |_| is_ready())
        };
        let n_asked = std::cell::Cell::new(0);
        let is_third = || {
            n_asked.set(n_asked.get() + 1);
            n_asked.get() == 3
        };
        assert_eq!(start("exec sleep 1000", &is_third).unwrap().address(), address);
        assert_eq!(n_asked.get(), 3);
        let error = start("echo no memory >&2; exit 5", &|| false).err().unwrap();
        assert_eq!(error, "the server ended with exit status: 5\nno memory");
    }

    #[test]
    fn a_server_that_died_is_told() {
        let mut server =
            start("died", "/bin/sh", "echo http://127.0.0.1:81; echo oh no >&2; exit 4").unwrap();
        let end = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(10));
            server.end()
        });
        let end = end.take(500).flatten().next().unwrap();
        assert_eq!(end, "the server ended with exit status: 4\noh no");
    }
}
