//! A wall clock that jumps.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use xtask::testing::Random;

use super::shim::Shim;
use super::stage::Stage;
use crate::load::Result;
use crate::load::client::{Client, explain};
use crate::load::http::{Body, Connection, request};
use crate::load::target::Target;

/// Seconds of a jump.
const HOUR: i64 = 3600;
/// Seconds for the head of a request: `--header-time`.
const HEADER_TIME: u64 = 4;

/// The wall clock jumps by an hour, there and back: no time limit ends early or late.
pub(super) fn clock(stage: &Stage, random: &mut Random) -> Result<()> {
    let shim = Shim::new(stage)?;
    let header_time = HEADER_TIME.to_string();
    // An hour is longer than each of them.
    let limits = ["--stall-time", "20", "--hang-time", "60", "--deadline", "120", "--idle-time", "120"];
    let target = stage.start(&shim.setup(&[&limits[..], &["--header-time", &header_time]].concat()))?;
    let mut jump = || shim.shift_clock([-HOUR, 0, HOUR][random.below(3)]);
    stage.while_asked(&target, &[], || {
        let begun = time_at(&target)?;
        jump_between_requests(&target, &mut jump)?;
        half_a_head_has_its_time(&target, &mut jump)?;
        shim.shift_clock(HOUR)?;
        // Otherwise nothing has jumped.
        match (time_at(&target)? - begun).rem_euclid(24 * HOUR) {
            seconds if (HOUR..2 * HOUR).contains(&seconds) => Ok(()),
            seconds => Err(format!("the clock of the server went on by {seconds} s, and should by an hour")),
        }
    })?;
    stage.is_well(target)
}

/// The server's wall clock in seconds of the day, as an answer of Ollama's API has it: `created` of others goes on evenly.
fn time_at(target: &Target) -> Result<i64> {
    let body = json!({
        "model": target.model, "prompt": "hi", "stream": false, "options": { "num_predict": 1 },
    });
    let (mut connection, head) =
        Client::of_single_requests(target).send("POST", "/api/generate", &body.to_string())?;
    let text = connection.body(&head).and_then(Body::text).map_err(|e| explain(&e))?;
    let answer: Json = serde_json::from_str(&text).unwrap_or_default();
    let time = answer["created_at"].as_str().and_then(|time| time.get(11..19));
    let parts = time.map(|time| time.split(':').filter_map(|part| part.parse().ok()).collect::<Vec<i64>>());
    match parts.as_deref() {
        Some([hours, minutes, seconds]) => Ok((hours * 60 + minutes) * 60 + seconds),
        _ => Err(format!("an answer without a time: {text}")),
    }
}

/// Jumps in the middle of a head and between two requests of a connection, which stays open.
fn jump_between_requests(target: &Target, jump: &mut impl FnMut() -> Result<()>) -> Result<()> {
    let request = request("GET", "/health", "keep-alive", "");
    let (first, rest) = request.split_at(request.len() / 2);
    let mut connection = Connection::open(target.address, target.patience).map_err(|e| explain(&e))?;
    for _ in 0..4 {
        connection.send(first).map_err(|e| explain(&e))?;
        jump()?;
        std::thread::sleep(Duration::from_millis(200));
        connection.send(rest).map_err(|e| explain(&e))?;
        let head = connection.head().map_err(|e| format!("after a jump: {}", explain(&e)))?;
        connection.body(&head).and_then(Body::text).map_err(|e| explain(&e))?;
        if head.status != 200 {
            return Err(format!("after a jump `/health` has status {}", head.status));
        }
        jump()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Half a head that is not continued is answered or closed when its time is over, however the clock jumps.
fn half_a_head_has_its_time(target: &Target, jump: &mut impl FnMut() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    let mut connection = Connection::open(target.address, target.patience).map_err(|e| explain(&e))?;
    connection.send(b"GET /health HTTP/1.1\r\n").map_err(|e| explain(&e))?;
    jump()?;
    match connection.head() {
        Ok(head) if head.status == 408 => {}
        Ok(head) => return Err(format!("half a head has status {}", head.status)),
        Err(e) if matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {}
        Err(e) => return Err(format!("half a head: {}", explain(&e))),
    }
    let (least, most) = (Duration::from_secs(HEADER_TIME), Duration::from_secs(5 * HEADER_TIME));
    match begun.elapsed() {
        time if time < least.mul_f64(0.9) || time > most => {
            Err(format!("half a head had {time:?}, and should have {HEADER_TIME} s"))
        }
        _ => Ok(()),
    }
}
