//! Ollama's API.

use std::rc::Rc;

use serde_json::{Value, json};

use super::bodies::{self, Valid};
use super::rules::{
    self, ASK_WEATHER, PROMPT, WEATHER, has_type, is_person, merged, person, refused, stop_within, weather,
};
use crate::check::{Check, table};
use crate::exchange::{Answer, Request};
use crate::probe::{Probe, Stop, Verdict, demand, fits};

const CHAT: &str = "/api/chat";
const GENERATE: &str = "/api/generate";

const PYTHON: &str = "ollama-python";
const REFERENCE: &str = "Ollama's reference";

pub(super) const CHECKS: &[Check] = table! {
    "ollama.version", "Open WebUI", version:
        "the connection is shown as broken";
    "ollama.tags", PYTHON, tags:
        "clients show no model";
    "ollama.show", PYTHON, show:
        "clients do not know what the model can do";
    "ollama.ps", PYTHON, ps:
        "clients show no running model";
    "ollama.chat.shape", PYTHON, shape:
        "fields that its types promise are absent";
    "ollama.chat.done", REFERENCE, counts:
        "speeds and counts of tokens are wrong";
    "ollama.chat.length", REFERENCE, length:
        "`num_predict` has no effect, or the reason is not told";
    "ollama.chat.stop", REFERENCE, stop:
        "text behind a stop sequence is shown";
    "ollama.chat.seed", REFERENCE, seed:
        "answers cannot be reproduced";
    "ollama.chat.latest", "Ollama's names of models", latest:
        "clients that add `:latest` to a name get 404";
    "ollama.chat.load", REFERENCE, loads:
        "clients that load a model before the first message fail";
    "ollama.chat.equals_chat", "users", equals_chat:
        "the same model answers otherwise in another API";
    "ollama.stream.type", REFERENCE, stream_type:
        "clients do not take it for a stream: it is on by default";
    "ollama.stream.lines", PYTHON, lines:
        "a line that its types do not take ends the stream";
    "ollama.stream.done_last", PYTHON, done_last:
        "clients wait for the end";
    "ollama.stream.equals_whole", REFERENCE, equals_whole:
        "streaming changes the answer";
    "ollama.generate.shape", PYTHON, generate:
        "fields that its types promise are absent";
    "ollama.generate.stream", PYTHON, generate_stream:
        "streaming changes the answer, or has no end";
    "ollama.format.schema", REFERENCE, schema:
        "structured outputs do not fit their schema";
    "ollama.format.json", REFERENCE, json_format:
        "JSON mode gives no JSON";
    "ollama.tools.call", PYTHON, tools:
        "arguments of calls are text where clients expect an object";
    "ollama.tools.round_trip", PYTHON, round_trip:
        "the second turn of every agent fails";
    "ollama.embed", PYTHON, embed:
        "RAG in Open WebUI and LangChain fails";
    "ollama.error.bad_json", PYTHON, bad_json:
        "ollama-js shows `[object Object]`: `error` is a string";
    "ollama.error.model", PYTHON, model:
        "clients that pull what is missing look for 404";
    "ollama.error.wrong_type", PYTHON, wrong_type:
        "wrong types are computed as something else, or a 500";
    "ollama.error.nul", "RFC 8259", nul:
        "a NUL byte ends a text, or is a 500 that is retried";
    "ollama.error.huge", "RFC 9110", huge:
        "a huge request is a 500 or a broken connection, and is sent again";
};

/// A request for a story of 32 tokens at temperature 0; a stream, as it is without a word.
fn story(probe: &Probe<'_>) -> Value {
    json!({
        "model": probe.model,
        "messages": [{ "role": "user", "content": PROMPT }],
        "options": { "temperature": 0, "num_predict": 32 }
    })
}

fn whole(probe: &Probe<'_>, more: &Value) -> Value {
    merged(merged(story(probe), &json!({ "stream": false })), more)
}

fn ask(probe: &Probe<'_>, more: &Value) -> Result<Rc<Answer>, Stop> {
    probe.post(CHAT, &whole(probe, more))
}

fn text(answer: &Answer) -> Result<String, Stop> {
    let body = answer.ok()?.json()?;
    let message = &body["message"];
    let Some(content) = message["content"].as_str() else {
        return Err(Stop::failed("`message.content` is not a string"));
    };
    Ok(message["thinking"].as_str().unwrap_or_default().to_owned() + content)
}

fn recorded(probe: &Probe<'_>) -> Result<Vec<Value>, Stop> {
    let lines = probe.post(CHAT, &story(probe))?.lines()?;
    Ok(lines.into_iter().map(|line| line.0).collect())
}

fn version(probe: &Probe<'_>) -> Verdict {
    let body = probe.get("/api/version")?.ok()?.json()?;
    let version = &body["version"];
    demand!(
        version.as_str().is_some_and(|text| !text.is_empty()),
        "`version` is {version}, expected a string"
    );
    Ok(())
}

fn tags(probe: &Probe<'_>) -> Verdict {
    let body = probe.get("/api/tags")?.offered()?.shaped("OllamaTags")?;
    demand!(body["models"].as_array().is_some_and(|models| !models.is_empty()), "no model is listed");
    Ok(())
}

fn show(probe: &Probe<'_>) -> Verdict {
    probe.post("/api/show", &json!({ "model": probe.model }))?.offered()?.shaped("OllamaShow")?;
    Ok(())
}

fn ps(probe: &Probe<'_>) -> Verdict {
    probe.get("/api/ps")?.offered()?.shaped("OllamaPs")?;
    Ok(())
}

fn shape(probe: &Probe<'_>) -> Verdict {
    let body = ask(probe, &json!({}))?.shaped("OllamaChat")?;
    demand!(body["done"] == true, "`done` of a whole answer is {}", body["done"]);
    Ok(())
}

fn counts(probe: &Probe<'_>) -> Verdict {
    are_counts(&ask(probe, &json!({}))?.ok()?.json()?)
}

/// Numbers of the end of an answer of at most 32 tokens.
fn are_counts(end: &Value) -> Verdict {
    fits("OllamaDone", end)?;
    let n = |name: &str| end[name].as_u64().unwrap_or_default();
    demand!(n("prompt_eval_count") > 0, "a prompt of 0 tokens");
    demand!((1..=32).contains(&n("eval_count")), "{} tokens, though `num_predict` is 32", n("eval_count"));
    let (total, eval) = (n("total_duration"), n("eval_duration"));
    demand!(total >= eval, "`eval_duration` {eval} is more than `total_duration` {total}");
    demand!(total >= 100_000, "`total_duration` is {total}: it is in nanoseconds");
    Ok(())
}

fn length(probe: &Probe<'_>) -> Verdict {
    let body = ask(probe, &json!({ "options": { "temperature": 0, "num_predict": 3 } }))?.ok()?.json()?;
    let (reason, used) = (&body["done_reason"], &body["eval_count"]);
    if reason == "stop" && used.as_u64().is_some_and(|used| used < 3) {
        return Err(Stop::skipped("the model ended its answer within 3 tokens"));
    }
    demand!(*used == 3, "`eval_count` is {used}, though `num_predict` is 3");
    demand!(reason == "length", "done_reason is {reason}, expected \"length\"");
    Ok(())
}

fn stop(probe: &Probe<'_>) -> Verdict {
    let (stop, expected) = stop_within(&text(&*ask(probe, &json!({}))?)?)?;
    let options = json!({ "options": { "temperature": 0, "num_predict": 32, "stop": [stop] } });
    let answer = ask(probe, &options)?;
    let (found, body) = (text(&answer)?, answer.json()?);
    demand!(
        found == expected,
        "with the stop sequence {stop:?} the text is {found:?}, expected {expected:?}"
    );
    demand!(body["done_reason"] == "stop", "done_reason is {}, expected \"stop\"", body["done_reason"]);
    Ok(())
}

fn seed(probe: &Probe<'_>) -> Verdict {
    let options = json!({ "options": { "temperature": 1, "num_predict": 32, "seed": 42 } });
    let request = Request::post(CHAT, &whole(probe, &options));
    let (first, second) = (text(&*probe.ask(request.clone())?)?, text(&*probe.ask_again(request)?)?);
    demand!(first == second, "with the same seed the second answer is {second:?}, the first {first:?}");
    Ok(())
}

fn latest(probe: &Probe<'_>) -> Verdict {
    if probe.model.contains(':') {
        return Err(Stop::skipped(format!("the name {:?} has a tag of its own", probe.model)));
    }
    let answer = ask(probe, &json!({ "model": format!("{}:latest", probe.model) }))?;
    let (found, expected) = (text(&answer)?, text(&*ask(probe, &json!({}))?)?);
    demand!(found == expected, "the answer is {found:?}, without `:latest` {expected:?}");
    Ok(())
}

fn loads(probe: &Probe<'_>) -> Verdict {
    let body = probe
        .post(CHAT, &json!({ "model": probe.model, "messages": [], "stream": false }))?
        .shaped("OllamaChat")?;
    demand!(body["done"] == true, "`done` is {}", body["done"]);
    Ok(())
}

fn equals_chat(probe: &Probe<'_>) -> Verdict {
    let request = json!({
        "model": probe.model, "messages": story(probe)["messages"], "max_tokens": 32, "temperature": 0
    });
    let chat = probe.post("/v1/chat/completions", &request)?;
    chat.offered()?;
    let body = chat.ok()?.json()?;
    let message = &body["choices"][0]["message"];
    let part = |name: &str| message[name].as_str().unwrap_or_default();
    let expected = part("reasoning_content").to_owned() + part("reasoning") + part("content");
    let found = text(&*ask(probe, &json!({}))?)?;
    let is_same = found == expected || found == part("reasoning_content").to_owned() + part("content");
    demand!(is_same, "the answer is {found:?}, that of chat completions {expected:?}");
    Ok(())
}

fn stream_type(probe: &Probe<'_>) -> Verdict {
    has_type(&*probe.post(CHAT, &story(probe))?, "application/x-ndjson")
}

fn lines(probe: &Probe<'_>) -> Verdict {
    recorded(probe)?.iter().try_for_each(|line| fits("OllamaChat", line))
}

fn done_last(probe: &Probe<'_>) -> Verdict {
    is_done_last(&recorded(probe)?)
}

fn is_done_last(lines: &[Value]) -> Verdict {
    let n = lines.iter().filter(|line| line["done"] == true).count();
    demand!(n == 1, "{n} lines have `done: true`, expected the last alone");
    let last = &lines[lines.len() - 1];
    demand!(last["done"] == true, "the line with `done: true` is not the last");
    are_counts(last)
}

fn equals_whole(probe: &Probe<'_>) -> Verdict {
    let expected = text(&*ask(probe, &json!({}))?)?;
    let lines = recorded(probe)?;
    let part =
        |name: &str| -> String { lines.iter().filter_map(|line| line["message"][name].as_str()).collect() };
    let found = part("thinking") + &part("content");
    demand!(found == expected, "the stream's text is {found:?}, the whole answer's {expected:?}");
    Ok(())
}

fn generated(probe: &Probe<'_>, is_stream: bool) -> Result<Rc<Answer>, Stop> {
    let options = json!({ "temperature": 0, "num_predict": 32 });
    let body = json!({ "model": probe.model, "prompt": PROMPT, "options": options, "stream": is_stream });
    probe.post(GENERATE, &body)
}

fn generate(probe: &Probe<'_>) -> Verdict {
    let answer = generated(probe, false)?;
    let body = answer.offered()?.shaped("OllamaGenerate")?;
    are_counts(&body)
}

fn generate_stream(probe: &Probe<'_>) -> Verdict {
    let whole = generated(probe, false)?;
    let whole = whole.offered()?.ok()?.json()?;
    let lines: Vec<Value> = generated(probe, true)?.lines()?.into_iter().map(|line| line.0).collect();
    lines.iter().try_for_each(|line| fits("OllamaGenerate", line))?;
    is_done_last(&lines)?;
    let found: String = lines.iter().filter_map(|line| line["response"].as_str()).collect();
    demand!(
        whole["response"] == found.as_str(),
        "the stream's text is {found:?}, the whole answer's {}",
        whole["response"]
    );
    Ok(())
}

fn formatted(probe: &Probe<'_>, format: &Value) -> Result<String, Stop> {
    let messages = json!([{ "role": "user", "content": "Describe a member of the club as a JSON object." }]);
    let options = json!({ "temperature": 0, "num_predict": 256 });
    let body =
        ask(probe, &json!({ "messages": messages, "format": format, "options": options }))?.ok()?.json()?;
    if body["done_reason"] == "length" {
        return Err(Stop::skipped("the model did not end within 256 tokens"));
    }
    Ok(body["message"]["content"].as_str().unwrap_or_default().to_owned())
}

fn schema(probe: &Probe<'_>) -> Verdict {
    is_person(&formatted(probe, &person())?)
}

fn json_format(probe: &Probe<'_>) -> Verdict {
    let text = formatted(probe, &json!("json"))?;
    let value = serde_json::from_str::<Value>(text.trim());
    demand!(value.is_ok(), "the text is not JSON: {text:?}");
    Ok(())
}

fn with_tools(more: &Value) -> Value {
    let function = json!({ "name": "get_weather", "description": WEATHER, "parameters": weather() });
    let base = json!({
        "messages": [{ "role": "user", "content": ASK_WEATHER }],
        "tools": [{ "type": "function", "function": function }],
        "options": { "temperature": 0, "num_predict": 128 }
    });
    merged(base, more)
}

fn tools(probe: &Probe<'_>) -> Verdict {
    let body = ask(probe, &with_tools(&json!({})))?.shaped("OllamaChat")?;
    if body["message"]["tool_calls"].as_array().is_none_or(Vec::is_empty) {
        return Err(Stop::skipped("the model called no tool"));
    }
    Ok(())
}

fn round_trip(probe: &Probe<'_>) -> Verdict {
    let call = json!({ "function": { "name": "get_weather", "arguments": { "city": "Paris" } } });
    let messages = json!([
        { "role": "user", "content": ASK_WEATHER },
        { "role": "assistant", "content": "", "tool_calls": [call] },
        { "role": "tool", "tool_name": "get_weather", "content": "clear, 21 degrees" }
    ]);
    let options = json!({ "temperature": 0, "num_predict": 8 });
    ask(probe, &with_tools(&json!({ "messages": messages, "options": options })))?.answered()?;
    Ok(())
}

fn embed(probe: &Probe<'_>) -> Verdict {
    let body = probe.post("/api/embed", &json!({ "model": probe.model, "input": ["a", "b"] }))?;
    let body = body.offered()?.ok()?.json()?;
    let n = body["embeddings"].as_array().map_or(0, Vec::len);
    demand!(n == 2, "2 texts have {n} embeddings");
    Ok(())
}

fn bad_json(probe: &Probe<'_>) -> Verdict {
    refused(&*probe.ask(rules::bad_json(CHAT))?, &[400], "OllamaError")
}

fn model(probe: &Probe<'_>) -> Verdict {
    let answer = ask(probe, &json!({ "model": "no-such-model" }))?;
    if answer.status == 200 {
        return Err(Stop::skipped("the server takes any name of a model"));
    }
    refused(&answer, &[404], "OllamaError")
}

fn wrong_type(probe: &Probe<'_>) -> Verdict {
    refused(&*ask(probe, &json!({ "messages": "Hi" }))?, &[400], "OllamaError")
}

/// The request that bodies are made from.
fn valid(probe: &Probe<'_>) -> Valid<'static> {
    Valid { request: Request::post(CHAT, &whole(probe, &json!({}))), prompt: PROMPT, error: "OllamaError" }
}

fn nul(probe: &Probe<'_>) -> Verdict {
    bodies::nul(probe, &valid(probe))
}

fn huge(probe: &Probe<'_>) -> Verdict {
    bodies::huge(probe, &valid(probe))
}
