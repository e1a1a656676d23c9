//! Routes of llama-server and vLLM. Each is looked for by itself: few servers have all.

use std::rc::Rc;

use serde_json::{Value, json};

use super::bodies::{self, Valid};
use super::rules::{self, merged, refused};
use crate::check::{Check, table};
use crate::exchange::{Answer, Request};
use crate::probe::{Probe, Stop, Verdict, demand, fits};

const LLAMA: &str = "llama-server's README";
const VLLM: &str = "vLLM's reference";
const TEXT: &str = "Once upon a time";

pub(super) const CHECKS: &[Check] = table! {
    "native.health", LLAMA, health:
        "load balancers and Open WebUI take the server for broken";
    "native.props", LLAMA, props:
        "editors and UIs do not recognize the server, or show no context length";
    "native.slots", LLAMA, slots:
        "monitors show no work";
    "native.tokenize", LLAMA, tokenize:
        "clients count tokens wrongly";
    "native.tokenize_pieces", LLAMA, pieces:
        "UIs cannot show tokens";
    "native.apply_template", LLAMA, apply_template:
        "clients cannot see the prompt that the model gets";
    "native.completion.whole", LLAMA, whole:
        "llama.cpp's own clients lack fields";
    "native.completion.stream", LLAMA, stream:
        "llama.cpp's own clients do not see the end";
    "native.completion.probabilities", LLAMA, probabilities:
        "UIs show no alternatives: `n_probs`";
    "native.completion.equals", "users", equals:
        "the same prompt is answered otherwise in another API";
    "native.completion.error", LLAMA, error:
        "no typed error";
    "native.completion.nul", "RFC 8259", nul:
        "a NUL byte ends a text, or is a 500 that is retried";
    "native.completion.huge", "RFC 9110", huge:
        "a huge request is a 500 or a broken connection, and is sent again";
    "native.infill", "llama.vscode, llama.vim", infill:
        "editors get no suggestions";
    "native.lora_adapters", LLAMA, lora_adapters:
        "UIs that list adapters fail";
    "native.version", VLLM, version:
        "clients of vLLM do not know its version";
    "native.vllm_tokenize", VLLM, vllm_tokenize:
        "clients of vLLM count tokens wrongly";
    "native.load", VLLM, load:
        "routers do not see the load";
    "native.metrics", "Prometheus' text format", metrics:
        "dashboards stay empty";
};

/// An answer of a route that may be absent.
fn offered(answer: Rc<Answer>) -> Result<Value, Stop> {
    answer.offered()?.ok()?.json()
}

/// The same, with a shape.
fn shaped(answer: &Answer, name: &str) -> Result<Value, Stop> {
    answer.offered()?.shaped(name)
}

fn health(probe: &Probe<'_>) -> Verdict {
    let answer = probe.get("/health")?;
    answer.offered()?.ok()?;
    Ok(())
}

fn props(probe: &Probe<'_>) -> Verdict {
    shaped(&*probe.get("/props")?, "Props")?;
    Ok(())
}

fn slots(probe: &Probe<'_>) -> Verdict {
    shaped(&*probe.get("/slots")?, "Slots")?;
    Ok(())
}

fn tokenize(probe: &Probe<'_>) -> Verdict {
    let tokens = offered(probe.post("/tokenize", &json!({ "content": TEXT }))?)?["tokens"].clone();
    let all = tokens.as_array().cloned().unwrap_or_default();
    let are_ids = !all.is_empty() && all.iter().all(Value::is_u64);
    demand!(are_ids, "`tokens` is {tokens}, expected ids");
    let back = offered(probe.post("/detokenize", &json!({ "tokens": tokens }))?)?;
    let text = back["content"].as_str().or(back["prompt"].as_str()).unwrap_or_default();
    // Some vocabularies put a space in front of every text.
    demand!(text.trim_start() == TEXT, "the tokens of {TEXT:?} are the text {text:?}");
    Ok(())
}

fn pieces(probe: &Probe<'_>) -> Verdict {
    let body = offered(probe.post("/tokenize", &json!({ "content": TEXT, "with_pieces": true }))?)?;
    let tokens = body["tokens"].as_array().cloned().unwrap_or_default();
    demand!(!tokens.is_empty(), "`tokens` is {}", body["tokens"]);
    let joined: String = tokens.iter().filter_map(|token| token["piece"].as_str()).collect();
    demand!(joined.trim_start() == TEXT, "the pieces of {TEXT:?} are {joined:?}");
    demand!(tokens.iter().all(|token| token["id"].is_u64()), "a piece has no `id`");
    Ok(())
}

fn apply_template(probe: &Probe<'_>) -> Verdict {
    let messages = json!([{ "role": "user", "content": TEXT }]);
    let body = offered(probe.post("/apply-template", &json!({ "messages": messages }))?)?;
    let prompt = body["prompt"].as_str().unwrap_or_default();
    demand!(prompt.contains(TEXT), "`prompt` is {}, expected the message within", body["prompt"]);
    Ok(())
}

fn request(more: &Value) -> Value {
    merged(json!({ "prompt": TEXT, "n_predict": 8, "temperature": 0 }), more)
}

fn whole(probe: &Probe<'_>) -> Verdict {
    let body = shaped(&*probe.post("/completion", &request(&json!({})))?, "NativeCompletion")?;
    demand!(body["stop"] == true, "`stop` of a whole answer is {}", body["stop"]);
    let used = &body["tokens_predicted"];
    demand!(used.as_u64().is_some_and(|n| (1..=8).contains(&n)), "{used} tokens, though `n_predict` is 8");
    if *used == 8 {
        let kind = &body["stop_type"];
        demand!(kind == "limit", "`stop_type` is {kind}, expected \"limit\"");
    }
    Ok(())
}

fn stream(probe: &Probe<'_>) -> Verdict {
    let whole = offered(probe.post("/completion", &request(&json!({})))?)?;
    let answer = probe.post("/completion", &request(&json!({ "stream": true })))?;
    rules::has_type(&answer, "text/event-stream")?;
    let chunks = answer.chunks()?;
    chunks.iter().try_for_each(|chunk| fits("NativeChunk", chunk))?;
    let ends: Vec<usize> = (0..chunks.len()).filter(|&i| chunks[i]["stop"] == true).collect();
    demand!(ends == [chunks.len() - 1], "`stop` is true in the events {ends:?}, expected the last alone");
    let found: String = chunks.iter().filter_map(|chunk| chunk["content"].as_str()).collect();
    demand!(
        whole["content"] == found.as_str(),
        "the stream's text is {found:?}, the whole answer's {}",
        whole["content"]
    );
    Ok(())
}

fn probabilities(probe: &Probe<'_>) -> Verdict {
    let body = offered(probe.post("/completion", &request(&json!({ "n_probs": 2 })))?)?;
    let all = &body["completion_probabilities"];
    fits("NativeProbabilities", all)?;
    let all = all.as_array().cloned().unwrap_or_default();
    demand!(!all.is_empty(), "`n_probs` is 2, and no token has probabilities");
    let is_wrong = |token: &&Value| token["top_logprobs"].as_array().map_or(0, Vec::len) != 2;
    match all.iter().find(is_wrong) {
        Some(token) => {
            Err(Stop::failed("`n_probs` is 2, and a token has another number of alternatives").at(token))
        }
        None => Ok(()),
    }
}

fn equals(probe: &Probe<'_>) -> Verdict {
    let native = offered(probe.post("/completion", &request(&json!({})))?)?;
    let body = json!({ "model": probe.model, "prompt": TEXT, "max_tokens": 8, "temperature": 0 });
    let openai = offered(probe.post("/v1/completions", &body)?)?;
    let (found, expected) = (&native["content"], &openai["choices"][0]["text"]);
    demand!(found == expected, "the answer is {found}, that of /v1/completions {expected}");
    Ok(())
}

fn error(probe: &Probe<'_>) -> Verdict {
    let answer = probe.ask(rules::bad_json("/completion"))?;
    answer.offered()?;
    refused(&answer, &[400, 422], "Error")
}

fn valid() -> Valid<'static> {
    Valid { request: Request::post("/completion", &request(&json!({}))), prompt: TEXT, error: "Error" }
}

fn nul(probe: &Probe<'_>) -> Verdict {
    bodies::nul(probe, &valid())
}

fn huge(probe: &Probe<'_>) -> Verdict {
    bodies::huge(probe, &valid())
}

fn infill(probe: &Probe<'_>) -> Verdict {
    let body = json!({
        "input_prefix": "def add(a, b):\n    ", "input_suffix": "\n", "input_extra": [], "prompt": "", "n_predict": 8,
        "temperature": 0
    });
    let answer = probe.post("/infill", &body)?;
    answer.offered()?;
    if answer.status == 400 {
        // A model that was not trained for it has no tokens for it.
        return Err(Stop::NotOffered(format!("400: {}", answer.message())));
    }
    let body = answer.ok()?.json()?;
    demand!(body["content"].is_string(), "`content` is {}", body["content"]);
    Ok(())
}

fn lora_adapters(probe: &Probe<'_>) -> Verdict {
    let body = offered(probe.get("/lora-adapters")?)?;
    demand!(body.is_array(), "the body is {body}, expected an array");
    Ok(())
}

fn version(probe: &Probe<'_>) -> Verdict {
    let body = offered(probe.get("/version")?)?;
    demand!(body["version"].is_string(), "`version` is {}", body["version"]);
    Ok(())
}

fn vllm_tokenize(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post("/tokenize", &json!({ "model": probe.model, "prompt": TEXT }))?;
    let body = offered(answer)?;
    if body["count"].is_null() && body["tokens"] == json!([]) {
        return Err(Stop::NotOffered("`/tokenize` is llama-server's, which reads `content`".into()));
    }
    fits("VllmTokenize", &body)?;
    let n = body["tokens"].as_array().map_or(0, Vec::len);
    demand!(n > 0 && body["count"].as_u64() == Some(n as u64), "`count` is {} for {n} tokens", body["count"]);
    Ok(())
}

fn load(probe: &Probe<'_>) -> Verdict {
    let body = offered(probe.get("/load")?)?;
    demand!(body["server_load"].is_number(), "`server_load` is {}", body["server_load"]);
    Ok(())
}

fn metrics(probe: &Probe<'_>) -> Verdict {
    let answer = probe.ask(Request::get("/metrics"))?;
    if matches!(answer.status, 401 | 403) {
        return Err(Stop::skipped(format!("the key may not read it: {}", answer.status)));
    }
    answer.offered()?;
    rules::has_type(&answer, "text/plain")?;
    let text = answer.text();
    let samples: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    demand!(!samples.is_empty(), "there is no sample");
    for line in samples {
        let value = line.rsplit(' ').next().unwrap_or_default();
        if value.parse::<f64>().is_err() && !matches!(value, "+Inf" | "-Inf" | "NaN") {
            return Err(Stop::failed("a line is not a sample").at(line));
        }
    }
    Ok(())
}
