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

/// Starts a response of at most `n` tokens in the background.
fn begun(probe: &Probe<'_>, n: u32) -> Result<Rc<Answer>, Stop> {
    let more = json!({ "background": true, "store": true, "max_output_tokens": n });
    let answer = probe.post(PATH, &story_with(probe, &more))?;
    answer.offered()?;
    match answer.status {
        400 => Err(Stop::NotOffered(format!("400: {}", answer.message()))),
        _ => Ok(answer),
    }
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
    let response = begun(probe, 24)?.shaped("Response")?;
    let status = &response["status"];
    demand!(is_at_work(&response), "`status` is {status}, expected \"queued\" or \"in_progress\"");
    demand!(response["background"] == true, "`background` is {}, expected true", response["background"]);
    Ok(())
}

pub(super) fn retrieve(probe: &Probe<'_>) -> Verdict {
    let path = path(&*begun(probe, 24)?)?;
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
    let path = path(&*begun(probe, 400)?)?;
    let cancel = Request::post(&format!("{path}/cancel"), &json!({}));
    // A second time has the same answer.
    for request in [cancel.clone(), Request::get(&path), cancel] {
        let answer = probe.ask_again(request)?;
        let response = answer.offered()?.answered()?;
        let status = &response["status"];
        if status == "completed" || status == "incomplete" {
            return Err(Stop::skipped("the answer ended before it was cancelled"));
        }
        demand!(status == "cancelled", "`status` is {status}, expected \"cancelled\"");
    }
    Ok(())
}
