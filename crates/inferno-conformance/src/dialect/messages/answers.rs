//! Whole answers, and counts of tokens.

use serde_json::{Value, json};

use super::{PATH, VERSION, post, request, story, story_with, text};
use crate::dialect::rules::{PROMPT, merged, stop_within, without};
use crate::exchange::Request;
use crate::probe::{Probe, Stop, Verdict, demand};

pub(super) fn shape(probe: &Probe<'_>) -> Verdict {
    post(probe, &story(probe))?.shaped("Message")?;
    Ok(())
}

pub(super) fn usage(probe: &Probe<'_>) -> Verdict {
    let usage = post(probe, &story(probe))?.ok()?.json()?["usage"].clone();
    demand!(input_of(&usage) > 0, "a prompt of 0 tokens");
    let output = &usage["output_tokens"];
    demand!(
        output.as_u64().is_some_and(|n| (1..=32).contains(&n)),
        "{output} tokens of output, though `max_tokens` is 32"
    );
    Ok(())
}

/// Tokens of the prompt: `input_tokens` are those that no cache had.
fn input_of(usage: &Value) -> u64 {
    let names = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
    names.iter().filter_map(|name| usage[name].as_u64()).sum()
}

pub(super) fn length(probe: &Probe<'_>) -> Verdict {
    let body = post(probe, &story_with(probe, &json!({ "max_tokens": 3 })))?.ok()?.json()?;
    let (reason, used) = (&body["stop_reason"], &body["usage"]["output_tokens"]);
    if reason == "end_turn" && used.as_u64().is_some_and(|used| used < 3) {
        return Err(Stop::skipped("the model ended its answer within 3 tokens"));
    }
    demand!(*used == 3, "{used} tokens of output, though `max_tokens` is 3");
    demand!(reason == "max_tokens", "stop_reason is {reason}, expected \"max_tokens\"");
    Ok(())
}

/// The answer to a request is that to another.
fn same(probe: &Probe<'_>, plain: &Value, other: &Value, how: &str) -> Verdict {
    let expected = text(&*post(probe, plain)?)?;
    let found = text(&*post(probe, other)?)?;
    demand!(found == expected, "{how} the answer is {found:?}, expected {expected:?}");
    Ok(())
}

pub(super) fn blocks(probe: &Probe<'_>) -> Verdict {
    let messages = json!([{ "role": "user", "content": [{ "type": "text", "text": PROMPT }] }]);
    same(
        probe,
        &story(probe),
        &story_with(probe, &json!({ "messages": messages })),
        "with the text as a block",
    )
}

pub(super) fn system(probe: &Probe<'_>) -> Verdict {
    const SYSTEM: &str = "You are a friendly storyteller.";
    let block = json!({ "type": "text", "text": SYSTEM, "cache_control": { "type": "ephemeral" } });
    let plain = story_with(probe, &json!({ "system": SYSTEM }));
    same(probe, &plain, &story_with(probe, &json!({ "system": [block] })), "with `system` as a block")
}

pub(super) fn beta(probe: &Probe<'_>) -> Verdict {
    let request = request(&format!("{PATH}?beta=true"), &story(probe));
    let answer =
        probe.ask(request.with("anthropic-beta", "claude-code-20250219,interleaved-thinking-2025-05-14"))?;
    answer.answered()?;
    Ok(())
}

pub(super) fn fields(probe: &Probe<'_>) -> Verdict {
    let fields = json!({ "metadata": { "user_id": "u" }, "service_tier": "auto" });
    same(probe, &story(probe), &story_with(probe, &fields), "with fields about the caller")
}

pub(super) fn thinking_history(probe: &Probe<'_>) -> Verdict {
    let thinking = json!({ "type": "thinking", "thinking": "A short story.", "signature": "c2lnbmF0dXJl" });
    let messages = json!([
        { "role": "user", "content": PROMPT },
        { "role": "assistant", "content": [thinking, { "type": "text", "text": "Once there was a dragon." }] },
        { "role": "user", "content": "Go on." }
    ]);
    post(probe, &story_with(probe, &json!({ "messages": messages, "max_tokens": 8 })))?.answered()?;
    Ok(())
}

pub(super) fn equals_chat(probe: &Probe<'_>) -> Verdict {
    let chat = probe.ask(Request::post("/v1/chat/completions", &story(probe)))?;
    chat.offered()?;
    let body = chat.ok()?.json()?;
    let message = &body["choices"][0]["message"];
    let part = |name: &str| message[name].as_str().unwrap_or_default();
    let expected = part("reasoning_content").to_owned() + part("content");
    let found = text(&*post(probe, &story(probe))?)?;
    demand!(found == expected, "the answer is {found:?}, that of chat completions {expected:?}");
    Ok(())
}

pub(super) fn stop(probe: &Probe<'_>) -> Verdict {
    let (stop, expected) = stop_within(&text(&*post(probe, &story(probe))?)?)?;
    let answer = post(probe, &story_with(probe, &json!({ "stop_sequences": [stop] })))?;
    let (found, body) = (text(&answer)?, answer.json()?);
    demand!(
        found == expected,
        "with the stop sequence {stop:?} the text is {found:?}, expected {expected:?}"
    );
    let reason = &body["stop_reason"];
    demand!(reason == "stop_sequence", "stop_reason is {reason}, expected \"stop_sequence\"");
    demand!(
        body["stop_sequence"] == stop.as_str(),
        "stop_sequence is {}, expected {stop:?}",
        body["stop_sequence"]
    );
    Ok(())
}

pub(super) fn count(probe: &Probe<'_>) -> Verdict {
    let system = json!({ "system": "You are a friendly storyteller." });
    let body = without(without(merged(story(probe), &system), "max_tokens"), "temperature");
    let counted =
        probe.ask(Request::post("/v1/messages/count_tokens", &body).with("anthropic-version", VERSION))?;
    let counted = counted.offered()?.ok()?.json()?;
    let usage = post(probe, &story_with(probe, &system))?.ok()?.json()?["usage"].clone();
    let (found, expected) = (&counted["input_tokens"], input_of(&usage));
    demand!(
        found.as_u64() == Some(expected),
        "`input_tokens` is {found}, and the same request uses {expected}"
    );
    Ok(())
}
