//! Responses that are computed without a client.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{PATH, story_with, text_of};
use crate::exchange::{Answer, Request};
use crate::probe::{Probe, Stop, Verdict, demand};

/// Times that a response is looked at before it counts as stuck, and the time between two looks.
const LOOKS: u32 = 200;
const BETWEEN: Duration = Duration::from_millis(100);

/// Responses to begin before one is cancelled in time.
const ATTEMPTS: usize = 5;

/// Request for a response of at most `n` tokens in the background.
fn in_background(probe: &Probe<'_>, n: u32) -> Request {
    let more = json!({ "background": true, "store": true, "max_output_tokens": n });
    Request::post(PATH, &story_with(probe, &more))
}

/// The answer to such a request, if the server has responses in the background.
fn offered(answer: Rc<Answer>) -> Result<Rc<Answer>, Stop> {
    answer.offered()?;
    match answer.status {
        400 => Err(Stop::NotOffered(format!("400: {}", answer.message()))),
        _ => Ok(answer),
    }
}

/// A short response in the background, the same for several checks.
fn begun(probe: &Probe<'_>) -> Result<Rc<Answer>, Stop> {
    offered(probe.ask(in_background(probe, 24))?)
}

/// Path of a response that is computed in the background.
fn path(answer: &Answer) -> Result<String, Stop> {
    let body = answer.answered()?;
    let id = body["id"].as_str().unwrap_or_default();
    demand!(!id.is_empty(), "the response has no id");
    Ok(format!("{PATH}/{id}"))
}

fn is_at_work(response: &Value) -> bool {
    response["status"] == "queued" || response["status"] == "in_progress"
}

pub(super) fn begin(probe: &Probe<'_>) -> Verdict {
    let response = begun(probe)?.shaped("Response")?;
    let status = &response["status"];
    demand!(is_at_work(&response), "`status` is {status}, expected \"queued\" or \"in_progress\"");
    demand!(response["background"] == true, "`background` is {}, expected true", response["background"]);
    Ok(())
}

pub(super) fn retrieve(probe: &Probe<'_>) -> Verdict {
    let path = path(&*begun(probe)?)?;
    let whole = probe.post(PATH, &story_with(probe, &json!({ "max_output_tokens": 24 })))?.answered()?;
    for _ in 0..LOOKS {
        let response = probe.ask_again(Request::get(&path))?.answered()?;
        if is_at_work(&response) {
            std::thread::sleep(BETWEEN);
            continue;
        }
        let (status, expected) = (&response["status"], &whole["status"]);
        demand!(status == expected, "`status` is {status} at the end, without `background` {expected}");
        let (found, expected) = (text_of(&response), text_of(&whole));
        demand!(found == expected, "the text is {found:?}, without `background` {expected:?}");
        return Ok(());
    }
    let seconds = (BETWEEN * LOOKS).as_secs();
    Err(Stop::failed(format!("the response is still at work after {seconds} s")))
}

pub(super) fn cancel(probe: &Probe<'_>) -> Verdict {
    for _ in 0..ATTEMPTS {
        let path = path(&*offered(probe.ask_again(in_background(probe, 400))?)?)?;
        let cancel = Request::post(&format!("{path}/cancel"), &json!({}));
        // A second time has the same answer.
        let requests = [cancel.clone(), Request::get(&path), cancel];
        let mut statuses = requests.into_iter().map(|request| {
            let response = probe.ask_again(request)?.offered()?.answered()?;
            Ok::<_, Stop>(response["status"].clone())
        });
        let first = statuses.next().expect("three requests")?;
        if first == "completed" || first == "incomplete" {
            continue;
        }
        for status in std::iter::once(Ok(first)).chain(statuses) {
            let status = status?;
            demand!(status == "cancelled", "`status` is {status}, expected \"cancelled\"");
        }
        return Ok(());
    }
    Err(Stop::skipped("every answer ended before it was cancelled"))
}
