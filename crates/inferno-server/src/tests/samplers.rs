//! Samplers beyond the usual ones, words that may not come, and log-probabilities that were asked for.

use serde_json::{Value, json};

use super::harness::Server;
use super::start;
use crate::Settings;
use crate::tests::harness::start_with;

const TEXT: &str = "/v1/completions";

/// The body of an answer to a prompt with these members.
#[track_caller]
fn answer(server: &Server, members: &Value) -> Value {
    let mut body = json!({ "prompt": "Once upon a time", "max_tokens": 24, "seed": 7, "temperature": 1 });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    let reply = server.post(TEXT, &body);
    assert_eq!(reply.status, 200, "{members}: {}", reply.text());
    reply.json()
}

#[track_caller]
fn text(server: &Server, members: &Value) -> String {
    answer(server, members)["choices"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn neutral_samplers_change_no_token_and_others_do() {
    let server = start(Settings::default());
    let plain = text(&server, &json!({}));
    let neutral = json!({
        "typical_p": 1, "top_n_sigma": -1, "xtc_probability": 0, "xtc_threshold": 0.1, "dynatemp_range": 0,
        "dry_multiplier": 0, "dry_base": 1.75, "mirostat": 0, "mirostat_tau": 5, "min_keep": 0, "bad_words": [],
        "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"],
    });
    assert_eq!(text(&server, &neutral), plain);
    assert_eq!(text(&server, &json!({ "samplers": "edskypmxt" })), plain);
    for members in [
        json!({ "typical_p": 0.2 }),
        json!({ "top_n_sigma": 0.1 }),
        json!({ "xtc_probability": 1, "xtc_threshold": 0.05 }),
        json!({ "dynatemp_range": 1 }),
        json!({ "mirostat": 1, "mirostat_tau": 8 }),
        json!({ "mirostat": 2, "mirostat_tau": 8 }),
        json!({ "samplers": ["top_k"], "temperature": 0 }),
    ] {
        let changed = text(&server, &members);
        assert_ne!(changed, plain, "{members}");
        assert_eq!(text(&server, &members), changed, "{members}: a seed gives the same again");
    }
}

/// The tokens of a text.
fn tokens(server: &Server, text: &str) -> Vec<Value> {
    let reply = server.post("/tokenize", &json!({ "content": text })).json();
    reply["tokens"].as_array().unwrap().clone()
}

/// The tokens of an answer.
fn token_ids(server: &Server, members: &Value) -> Vec<Value> {
    let mut members = members.clone();
    members["return_token_ids"] = json!(true);
    answer(server, &members)["choices"][0]["token_ids"].as_array().unwrap().clone()
}

#[test]
fn dry_ends_repetitions() {
    let server = start(Settings::default());
    // With three tokens there is nothing but repetition.
    let allowed = tokens(&server, "one two three");
    let members =
        json!({ "temperature": 0, "max_tokens": 12, "allowed_token_ids": allowed, "ignore_eos": true });
    let with = |more: Value| {
        let mut members = members.clone();
        more.as_object().unwrap().iter().for_each(|(name, value)| members[name] = value.clone());
        token_ids(&server, &members)
    };
    let plain = with(json!({}));
    let n_repeated =
        |ids: &[Value]| (2..ids.len()).filter(|&i| ids[..i].windows(3).any(|w| *w == ids[i - 2..=i])).count();
    let strong = json!({ "dry_multiplier": 50, "dry_penalty_last_n": -1 });
    let dry = with(strong.clone());
    assert!(n_repeated(&dry) < n_repeated(&plain), "{dry:?} and {plain:?}");
    // Across a breaker nothing is a repetition.
    let mut broken = strong;
    broken["dry_sequence_breakers"] = json!(["one", "two", "three"]);
    assert_eq!(with(broken), plain);
    let reply = server.post(TEXT, &json!({ "prompt": "x", "dry_multiplier": 1, "dry_base": 0.5 }));
    assert_eq!(reply.error(), (400, "invalid_value".into(), "dry_base".into()));
}

#[test]
fn bad_words_do_not_come_as_they_are_tokenized() {
    let server = start(Settings::default());
    let plain = text(&server, &json!({ "temperature": 0 }));
    let word = plain.split_whitespace().find(|word| word.len() > 2).unwrap();
    let sequences = [tokens(&server, word), tokens(&server, &format!(" {word}"))];
    let has_word =
        |ids: &[Value]| sequences.iter().any(|word| ids.windows(word.len()).any(|ids| ids == &word[..]));
    assert!(has_word(&token_ids(&server, &json!({ "temperature": 0 }))), "{plain:?}");
    assert!(!has_word(&token_ids(&server, &json!({ "temperature": 0, "bad_words": [word] }))), "{word:?}");
    let reply = server.post(TEXT, &json!({ "prompt": "x", "bad_words": ["a", "  "] }));
    assert_eq!(reply.error(), (400, "invalid_value".into(), "bad_words[1]".into()));
}

#[test]
fn an_operators_samplers_hold_where_a_request_does_not_say() {
    use inferno_engine::{SamplerKind, Samplers};
    let order = Some([SamplerKind::TopK, SamplerKind::Temperature].into());
    let mut settings = Settings::default();
    settings.defaults.samplers = Samplers { order, xtc_probability: 1.0, ..Samplers::default() };
    let server = start_with(settings, |_| ());
    let shown = server.get("/server_info").json()["sampling_defaults"].clone();
    assert_eq!(shown["samplers"], json!(["top_k", "temperature"]));
    assert_eq!(shown["xtc_probability"], json!(1.0));
    assert!(shown.get("mirostat").is_none());
    let plain = start(Settings::default());
    // XTC has no place in that order, min-p neither.
    assert_eq!(text(&server, &json!({})), text(&plain, &json!({ "min_p": 0 })));
    // A sampler that a request asks for gets its place.
    assert_eq!(text(&server, &json!({ "min_p": 0.2 })), text(&plain, &json!({ "min_p": 0.2 })));
    let all = "edskypmxt";
    assert_eq!(
        text(&server, &json!({ "samplers": all, "xtc_probability": 0 })),
        text(&plain, &json!({ "samplers": all }))
    );
}

#[test]
fn log_probabilities_of_tokens_that_were_asked_for_stand_beside_the_token() {
    let server = start(Settings::default());
    let members = json!({
        "logprobs": 2, "logprob_token_ids": [9, 5, 5], "max_tokens": 3, "return_tokens_as_token_ids": true,
    });
    let logprobs = answer(&server, &members)["choices"][0]["logprobs"].clone();
    for (token, best) in
        logprobs["tokens"].as_array().unwrap().iter().zip(logprobs["top_logprobs"].as_array().unwrap())
    {
        let mut names: Vec<&str> = best.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut expected = vec!["token_id:5", "token_id:9", token.as_str().unwrap()];
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(names, expected);
    }
    let body = json!({
        "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 2, "logprobs": true,
        "logprob_token_ids": [5], "return_tokens_as_token_ids": true,
    });
    let reply = server.post("/v1/chat/completions", &body).json();
    let first = &reply["choices"][0]["logprobs"]["content"][0];
    let names: Vec<&Value> =
        first["top_logprobs"].as_array().unwrap().iter().map(|top| &top["token"]).collect();
    assert!(names.contains(&&json!("token_id:5")) && names.contains(&&first["token"]), "{first}");
    let reply = server.post(TEXT, &json!({ "prompt": "x", "logprob_token_ids": [5] }));
    assert_eq!(reply.error(), (400, "invalid_value".into(), "logprob_token_ids".into()));
}

#[test]
fn a_prompts_log_probabilities_have_vllms_shape() {
    let server = start(Settings::default());
    let prompt = server.post("/tokenize", &json!({ "content": "Once upon a time" })).json();
    let prompt = prompt["tokens"].as_array().unwrap().clone();
    let members =
        json!({ "prompt": prompt, "prompt_logprobs": 3, "max_tokens": 1, "echo": true, "logprobs": 1 });
    let choice = answer(&server, &members)["choices"][0].clone();
    let told = choice["prompt_logprobs"].as_array().unwrap();
    assert_eq!(told.len(), prompt.len());
    assert!(told[0].is_null());
    for (i, (token, entry)) in prompt.iter().zip(told).enumerate().skip(1) {
        let entry = entry.as_object().unwrap();
        let own = &entry[&token.to_string()];
        let n_best = entry.values().filter(|scored| scored["rank"].as_u64().unwrap() <= 3).count();
        assert!(
            n_best == 3 && entry.len() == 3 + usize::from(own["rank"].as_u64().unwrap() > 3),
            "{entry:?}"
        );
        let echoed = choice["logprobs"]["token_logprobs"][i].as_f64().unwrap();
        assert!((own["logprob"].as_f64().unwrap() - echoed).abs() < 1e-6);
        assert_eq!(own["decoded_token"], choice["logprobs"]["tokens"][i]);
        assert!(choice["logprobs"]["top_logprobs"][i].as_object().unwrap().len() <= 2);
    }
    let alone = answer(&server, &json!({ "prompt_logprobs": 0, "max_tokens": 1 }))["choices"][0].clone();
    assert!(alone["prompt_logprobs"][1].as_object().unwrap().len() == 1 && alone["logprobs"].is_null());
    assert!(answer(&server, &json!({}))["choices"][0].get("prompt_logprobs").is_none());
    let chat = json!({
        "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 1, "n": 2, "prompt_logprobs": 1,
    });
    let reply = server.post("/v1/chat/completions", &chat).json();
    let n_prompt = reply["usage"]["prompt_tokens"].as_u64().unwrap() as usize;
    assert_eq!(reply["prompt_logprobs"].as_array().unwrap().len(), n_prompt);
    let reply = server.post(TEXT, &json!({ "prompt": "x", "prompt_logprobs": 1, "stream": true }));
    assert_eq!(reply.error(), (400, "invalid_value".into(), "prompt_logprobs".into()));
}
