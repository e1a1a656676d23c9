//! Whole answers.

use serde_json::{Value, json};

use super::{PATH, story, story_with, text, text_of};
use crate::dialect::rules::{PROMPT, is_person, person};
use crate::probe::{Probe, Stop, Verdict, demand};

pub(super) fn shape(probe: &Probe<'_>) -> Verdict {
    let body = probe.post(PATH, &story(probe))?.shaped("Response")?;
    demand!(body["output"].as_array().is_some_and(|items| !items.is_empty()), "`output` is empty");
    Ok(())
}

pub(super) fn usage(probe: &Probe<'_>) -> Verdict {
    let usage = probe.post(PATH, &story(probe))?.ok()?.json()?["usage"].clone();
    let n = |name: &str| usage[name].as_u64().unwrap_or_default();
    let (input, output, total) = (n("input_tokens"), n("output_tokens"), n("total_tokens"));
    demand!(input + output == total, "usage does not add up: {input} + {output} is not {total}");
    demand!(input > 0, "a prompt of 0 tokens");
    demand!((1..=32).contains(&output), "{output} tokens of output, though `max_output_tokens` is 32");
    Ok(())
}

pub(super) fn incomplete(probe: &Probe<'_>) -> Verdict {
    let body = probe.post(PATH, &story_with(probe, &json!({ "max_output_tokens": 16 })))?.ok()?.json()?;
    let (status, used) = (&body["status"], &body["usage"]["output_tokens"]);
    if status == "completed" && used.as_u64().is_some_and(|used| used < 16) {
        return Err(Stop::skipped("the model ended its answer within 16 tokens"));
    }
    demand!(*used == 16, "{used} tokens of output, though `max_output_tokens` is 16");
    demand!(status == "incomplete", "status is {status}, expected \"incomplete\"");
    let reason = &body["incomplete_details"]["reason"];
    demand!(reason == "max_output_tokens", "the reason is {reason}, expected \"max_output_tokens\"");
    Ok(())
}

/// The answer to a request is that to the plain one.
fn same(probe: &Probe<'_>, other: &Value, how: &str) -> Verdict {
    let expected = text(&*probe.post(PATH, &story(probe))?)?;
    let found = text(&*probe.post(PATH, other)?)?;
    demand!(found == expected, "{how} the answer is {found:?}, expected {expected:?}");
    Ok(())
}

pub(super) fn items(probe: &Probe<'_>) -> Verdict {
    let part = json!({ "type": "input_text", "text": PROMPT });
    let input = json!([{ "type": "message", "role": "user", "content": [part] }]);
    same(probe, &story_with(probe, &json!({ "input": input })), "with the input as an item")
}

pub(super) fn instructions(probe: &Probe<'_>) -> Verdict {
    const SYSTEM: &str = "You are a friendly storyteller.";
    let input = json!([{ "role": "system", "content": SYSTEM }, { "role": "user", "content": PROMPT }]);
    let expected = text(&*probe.post(PATH, &story_with(probe, &json!({ "input": input })))?)?;
    let answer = probe.post(PATH, &story_with(probe, &json!({ "instructions": SYSTEM })))?;
    let (found, told) = (text(&answer)?, answer.json()?["instructions"].clone());
    demand!(
        found == expected,
        "with `instructions` the answer is {found:?}, with a system message {expected:?}"
    );
    demand!(told == SYSTEM, "the response's `instructions` are {told}");
    Ok(())
}

pub(super) fn history(probe: &Probe<'_>) -> Verdict {
    let said = json!({ "type": "output_text", "text": "Once there was a dragon." });
    let thought = json!({ "type": "reasoning", "summary": [], "encrypted_content": null });
    let input = json!([
        { "type": "message", "role": "developer", "content": [{ "type": "input_text", "text": "Be brief." }] },
        { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": PROMPT }] },
        thought,
        { "type": "message", "role": "assistant", "content": [said] },
        { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "Go on." }] }
    ]);
    let answer = probe.post(PATH, &story_with(probe, &json!({ "input": input, "max_output_tokens": 16 })))?;
    answer.answered()?;
    Ok(())
}

pub(super) fn fields(probe: &Probe<'_>) -> Verdict {
    let fields = json!({
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "parallel_tool_calls": false,
        "metadata": { "k": "v" }, "truncation": "disabled", "text": { "format": { "type": "text" } }
    });
    same(probe, &story_with(probe, &fields), "with fields that change no answer")
}

pub(super) fn equals_chat(probe: &Probe<'_>) -> Verdict {
    let messages = json!([{ "role": "user", "content": PROMPT }]);
    let request = json!({ "model": probe.model, "messages": messages, "max_tokens": 32, "temperature": 0 });
    let chat = probe.post("/v1/chat/completions", &request)?;
    chat.offered()?;
    let body = chat.ok()?.json()?;
    let message = &body["choices"][0]["message"];
    let part = |name: &str| message[name].as_str().unwrap_or_default();
    let expected = part("reasoning_content").to_owned() + part("content");
    let found = text(&*probe.post(PATH, &story(probe))?)?;
    demand!(found == expected, "the answer is {found:?}, that of chat completions {expected:?}");
    Ok(())
}

pub(super) fn schema(probe: &Probe<'_>) -> Verdict {
    let format = json!({ "type": "json_schema", "name": "member", "strict": true, "schema": person() });
    let input = "Describe a member of the club as a JSON object.";
    let more = json!({ "input": input, "text": { "format": format }, "max_output_tokens": 256 });
    let body = probe.post(PATH, &story_with(probe, &more))?.ok()?.json()?;
    if body["status"] == "incomplete" {
        return Err(Stop::skipped("the model did not end within 256 tokens"));
    }
    let items = body["output"].as_array().cloned().unwrap_or_default();
    let message: Vec<Value> = items.into_iter().filter(|item| item["type"] == "message").collect();
    is_person(&text_of(&json!({ "output": message })))
}
