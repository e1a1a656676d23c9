//! An allocation that fails in the real program, another one in each try.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::json;
use xtask::testing::Random;

use super::shim::Shim;
use super::stage::{GONE, Stage, has_words, pause};
use crate::load::Result;
use crate::load::ask::words;
use crate::load::client::{CHAT, Client, excerpt, explain};
use crate::load::http::Body;
use crate::load::target::Target;

/// Allocations of a server from its start to the first token: 18,861 were counted.
const N_LOADING: usize = 19_000;
/// Allocations of about four requests.
const N_SERVING: usize = 4000;
/// From this size on, and how many of them the requests of [`large`] make.
const LARGE: usize = 64 << 10;
const N_LARGE: usize = 16;
/// Time in which the chosen number is reached.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers to requests for which there is no memory.
const MAY_FAIL: [&str; 3] = ["out_of_memory", "out_of_threads", "template_unavailable"];

/// One of the allocations up to the first token: the program ends with a reason, or serves as ever.
pub(super) fn loading(stage: &Stage, random: &mut Random) -> Result<()> {
    let shim = Shim::new(stage)?;
    let n = stage.one_of(random, N_LOADING);
    shim.fail(n, 0)?;
    let (mut server, addresses) = stage.spawn(&shim.setup(&[]))?;
    let outcome = match server.listen(&addresses) {
        Ok(()) => {
            let target = stage.named(server);
            let asked = stage.answers(&target);
            outlives(stage, target, &shim, asked)
        }
        Err(why) if why.contains("exit status: 1\n") && why.contains("error: ") => Ok(()),
        Err(why) => match server.wait(PATIENCE) {
            Some(status) => is_abort(stage, &shim, status),
            None => Err(why),
        },
    };
    outcome.map_err(|why| format!("allocation {n}: {why}"))
}

/// One of the allocations while good clients ask, of any size or a large one: a request is refused, or the program ends with
/// a message.
pub(super) fn serving(stage: &Stage, random: &mut Random) -> Result<()> {
    let shim = Shim::new(stage)?;
    let target = stage.start(&shim.setup(&[]))?;
    let (n, least_size) = match random.below(2) {
        0 => (stage.one_of(random, N_SERVING), 0),
        _ => (stage.one_of(random, N_LARGE), LARGE),
    };
    let asked = stage.while_asked(&target, &MAY_FAIL, || {
        pause(random, Duration::from_millis(300));
        shim.fail(n, least_size)?;
        let begun = Instant::now();
        while shim.failed_size()?.is_none() {
            large(&target, random)?;
            if begun.elapsed() > PATIENCE {
                return Err("the allocation that is to fail was not reached".into());
            }
        }
        pause(random, Duration::from_millis(300));
        Ok(())
    });
    outlives(stage, target, &shim, asked)
        .map_err(|why| format!("allocation {n} of at least {least_size} bytes: {why}"))
}

/// A request whose size asks for large allocations: it is refused, as the prompt is too long, or there is no memory for it.
fn large(target: &Target, random: &mut Random) -> Result<()> {
    let text = words(random, 20_000);
    let message = match random.below(2) {
        0 => json!(text),
        _ => text.split(' ').map(|word| json!({ "type": "text", "text": word })).collect(),
    };
    let body = json!({ "model": target.model, "messages": [{ "role": "user", "content": message }] });
    let (mut connection, head) = Client::of_single_requests(target).send("POST", CHAT, &body.to_string())?;
    let text = connection.body(&head).and_then(Body::text).map_err(|e| explain(&e))?;
    match head.status {
        400 => Ok(()),
        503 if has_words(&text, &MAY_FAIL) => Ok(()),
        status => Err(format!("a large request has status {status}: {}", excerpt(&text))),
    }
}

/// The server lives and is well, and requests were right or refused; or it aborted, and requests were right until then.
fn outlives(stage: &Stage, mut target: Target, shim: &Shim, asked: Result<()>) -> Result<()> {
    let server = target.server().ok_or("the server is not ours")?;
    // One that aborts is gone a moment after its connections.
    let patience = Duration::from_secs(if asked.is_err() { 5 } else { 0 });
    match server.wait(patience) {
        Some(status) => {
            is_abort(stage, shim, status)?;
            asked.or_else(|why| if has_words(&why, &GONE) { Ok(()) } else { Err(why) })
        }
        None => {
            shim.fail_none()?;
            asked.or_else(|why| if has_words(&why, &MAY_FAIL) { Ok(()) } else { Err(why) })?;
            stage.is_well(target)
        }
    }
}

/// Checks that the program aborted for the allocation that failed, and said so.
fn is_abort(stage: &Stage, shim: &Shim, status: ExitStatus) -> Result<()> {
    let size = shim.failed_size()?.ok_or_else(|| format!("{status}, and no allocation had failed"))?;
    let message = format!("memory allocation of {size} bytes failed");
    match status.to_string().starts_with("signal: 6 ") && stage.log().contains(&message) {
        true => Ok(()),
        false => Err(format!("{status} after {size} bytes were refused")),
    }
}
