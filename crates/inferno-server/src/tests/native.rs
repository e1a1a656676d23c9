//! llama-server's own routes, and vLLM's.

use inferno_format::Value as Entry;
use serde_json::{Value, json};

use super::harness::{Reply, Server, start_as, start_with};
use super::start;
use crate::Settings;

mod editors;

const PROMPT: &str = "Once upon a time";

#[track_caller]
fn ask(server: &Server, members: Value) -> Value {
    let reply = server.post("/completion", &asked(members));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// A greedy request with `members`.
fn asked(members: Value) -> Value {
    let mut body = json!({ "prompt": PROMPT, "temperature": 0, "n_predict": 6 });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Status, type and parameter of an error in llama-server's shape.
#[track_caller]
fn error(reply: &Reply) -> (u16, String, String) {
    let error = &reply.json()["error"];
    assert_eq!(error["code"], reply.status, "{error}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    let word = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (reply.status, word("type"), word("param"))
}

#[test]
fn a_completion_has_the_members_of_llama_server() {
    let server = start(Settings::default());
    let whole = ask(&server, json!({ "return_tokens": true, "ignore_eos": true, "seed": 7, "id_slot": 1 }));
    let count = server.post("/tokenize", &json!({ "content": PROMPT })).json()["count"].clone();
    assert_eq!((&whole["tokens_evaluated"], &whole["prompt"]), (&count, &json!(PROMPT)));
    assert_eq!((&whole["tokens_predicted"], &whole["stop_type"]), (&json!(6), &json!("limit")));
    assert_eq!(whole["tokens"].as_array().unwrap().len(), 6);
    assert_eq!((&whole["index"], &whole["stop"], &whole["id_slot"]), (&json!(0), &json!(true), &json!(1)));
    assert_eq!(
        (&whole["truncated"], &whole["stopping_word"], &whole["model"]),
        (&json!(false), &json!(""), &json!("ember"))
    );
    assert_eq!(whole["tokens_cached"], count.as_u64().unwrap() + 5);
    assert!(whole["has_new_line"].is_boolean() && whole["timings"]["predicted_per_second"].is_number());
    let settings = &whole["generation_settings"];
    assert_eq!(
        (&settings["seed"], &settings["n_predict"], &settings["top_k"]),
        (&json!(7), &json!(6), &json!(40))
    );
    assert_eq!(settings["temperature"], 0.0);
    // The ends that are not allowed.
    assert!(settings["logit_bias"].as_array().unwrap().iter().any(|bias| bias["bias"].is_null()));
    // The same tokens as elsewhere.
    let text = server.post(
        "/v1/completions",
        &json!({ "prompt": PROMPT, "temperature": 0, "max_tokens": 6, "ignore_eos": true }),
    );
    assert_eq!(whole["content"], text.json()["choices"][0]["text"]);
    let plain = ask(&server, json!({}));
    assert_eq!((&plain["tokens"], &plain["id_slot"]), (&json!([]), &json!(-1)));
    assert_eq!(plain["generation_settings"]["logit_bias"], json!([]));
    let chosen =
        ask(&server, json!({ "response_fields": ["content", "generation_settings/n_predict", "nothing"] }));
    assert_eq!(chosen, json!({ "content": plain["content"], "generation_settings/n_predict": 6 }));
    server.wait_until(Server::is_idle);
}

#[test]
fn a_stream_has_its_text_in_parts_and_all_else_at_the_end() {
    let server = start(Settings::default());
    for members in
        [json!({}), json!({ "n_probs": 3 }), json!({ "n_cmpl": 2 }), json!({ "prompt": [PROMPT, [5, 6]] })]
    {
        let mut body = members.clone();
        body["return_tokens"] = true.into();
        let whole = ask(&server, body.clone());
        let whole = whole.as_array().cloned().unwrap_or(vec![whole]);
        body["stream"] = true.into();
        let reply = server.post("/completion", &asked(body));
        assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let events = reply.events();
        for (index, whole) in whole.iter().enumerate() {
            let own: Vec<&Value> = events.iter().filter(|event| event["index"] == index).collect();
            let (last, parts) = own.split_last().unwrap();
            let text: String = parts.iter().map(|part| part["content"].as_str().unwrap()).collect();
            assert_eq!(text, whole["content"].as_str().unwrap());
            let all = |name: &str| -> Vec<Value> {
                parts.iter().flat_map(|part| part[name].as_array().cloned().unwrap_or_default()).collect()
            };
            assert_eq!(&all("tokens"), whole["tokens"].as_array().unwrap());
            assert!(parts.iter().all(|part| part["stop"] == false && part.get("stop_type").is_none()));
            let probs = whole["completion_probabilities"].as_array();
            assert_eq!(Some(all("completion_probabilities")).filter(|all| !all.is_empty()).as_ref(), probs);
            assert_eq!(
                (&last["stop"], &last["content"], &last["tokens"]),
                (&json!(true), &json!(""), &json!([]))
            );
            for name in ["stop_type", "tokens_predicted", "tokens_evaluated", "prompt", "has_new_line"] {
                assert_eq!(last[name], whole[name], "{name}");
            }
            if members.get("n_probs").is_some() {
                // The text of each token is its own.
                assert!(parts.iter().all(|part| part["tokens"].as_array().unwrap().len() == 1));
            }
        }
        assert!(!events.contains(&json!("[DONE]")));
    }
    let progress =
        server.post("/completion", &asked(json!({ "stream": true, "return_progress": true }))).events();
    assert!(progress.iter().any(|event| event["prompt_progress"]["total"].is_u64()));
}

#[test]
fn prompts_are_texts_and_tokens_in_any_mixture() {
    let server = start(Settings::default());
    let tokens = server.post("/tokenize", &json!({ "content": PROMPT })).json()["tokens"].clone();
    let first = &tokens[0];
    let plain = ask(&server, json!({}));
    let rest =
        server.post("/detokenize", &json!({ "tokens": tokens.as_array().unwrap()[1..] })).json()["content"]
            .clone();
    for prompt in [json!(tokens), json!({ "prompt_string": PROMPT }), json!([first, rest]), json!([PROMPT])] {
        let same = ask(&server, json!({ "prompt": prompt }));
        assert_eq!((&same["content"], &same["prompt"]), (&plain["content"], &plain["prompt"]), "{prompt}");
    }
    let several =
        ask(&server, json!({ "prompt": [PROMPT, tokens, [first, rest], { "prompt_string": PROMPT }] }));
    let several = several.as_array().unwrap();
    assert_eq!(several.len(), 4);
    for (i, one) in several.iter().enumerate() {
        assert_eq!((&one["index"], &one["content"]), (&json!(i), &plain["content"]));
        assert_eq!(one["timings"]["predicted_n"], one["tokens_predicted"]);
    }
    for (prompt, kind, param) in [
        (json!(null), "invalid_request_error", "prompt"),
        (json!([]), "invalid_request_error", "prompt"),
        (json!(""), "invalid_request_error", "prompt"),
        (json!([1, 99_999]), "invalid_request_error", "prompt[1]"),
        (json!(["a", null]), "invalid_request_error", "prompt[1]"),
        (json!([["a", []]]), "invalid_request_error", "prompt[0][1]"),
        (json!({ "text": "a" }), "invalid_request_error", "prompt"),
        (
            json!({ "prompt_string": "a", "multimodal_data": ["aGk="] }),
            "invalid_request_error",
            "prompt.multimodal_data",
        ),
        (json!("word ".repeat(3000)), "exceed_context_size_error", ""),
    ] {
        let reply = server.post("/completion", &asked(json!({ "prompt": prompt })));
        assert_eq!(error(&reply), (400, kind.into(), param.into()), "{prompt}: {}", reply.text());
        let is_too_long = reply.text().contains("the request exceeds the available context size: the prompt");
        assert_eq!(is_too_long, kind == "exceed_context_size_error");
    }
}

#[test]
fn probabilities_are_the_models_or_those_that_tokens_are_drawn_from() {
    let server = start(Settings::default());
    let before = ask(&server, json!({ "n_probs": 4 }));
    let before = before["completion_probabilities"].as_array().unwrap().clone();
    assert!(!before.is_empty());
    for token in &before {
        assert!(token["logprob"].as_f64().unwrap() <= 0.0 && token["bytes"].is_array());
        assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 4);
        assert_eq!(token["top_logprobs"][0]["id"], token["id"], "the best of a greedy answer");
    }
    let members = json!({ "n_probs": 4, "post_sampling_probs": true, "temperature": 1, "top_k": 3, "top_p": 1, "min_p": 0, "seed": 1 });
    let after = ask(&server, members);
    for token in after["completion_probabilities"].as_array().unwrap() {
        let top = token["top_probs"].as_array().unwrap();
        let sum: f64 = top.iter().map(|other| other["prob"].as_f64().unwrap()).sum();
        assert!(top.len() == 3 && (sum - 1.0).abs() < 1e-3, "{token}");
        assert!(token["prob"].as_f64().unwrap() > 0.0);
    }
    let reply = server.post("/completion", &asked(json!({ "n_probs": 21 })));
    assert_eq!(error(&reply), (400, "invalid_request_error".into(), "n_probs".into()));
}

#[test]
fn an_answer_ends_at_a_word_a_limit_a_line_or_the_context() {
    let server = start(Settings::default());
    server.say("def f():\n    a = 1\n    b = 2\nreturn");
    let end = |members: Value| {
        let answer = ask(&server, members);
        (
            answer["content"].as_str().unwrap().to_owned(),
            answer["stop_type"].as_str().unwrap().to_owned(),
            answer,
        )
    };
    let (text, stop, _) = end(json!({ "n_predict": -1 }));
    assert_eq!((&*text, &*stop), ("def f():\n    a = 1\n    b = 2\nreturn", "eos"));
    let (text, stop, answer) = end(json!({ "n_predict": 50, "stop": ["", " = 1"] }));
    assert_eq!((&*text, &*stop, &answer["stopping_word"]), ("def f():\n    a", "word", &json!(" = 1")));
    let (text, stop, answer) = end(json!({ "n_predict": 50, "n_indent": 4 }));
    assert_eq!(
        (&*text, &*stop, &answer["has_new_line"]),
        ("def f():\n    a = 1\n    b = 2\n", "limit", &json!(true))
    );
    let streamed = server
        .post("/completion", &asked(json!({ "n_predict": 50, "n_indent": 4, "stream": true })))
        .events();
    let said: String = streamed.iter().map(|event| event["content"].as_str().unwrap()).collect();
    assert_eq!(said, text);
    *server.faults.delay.lock().unwrap() = std::time::Duration::from_millis(10);
    let (text, stop, _) = end(json!({ "n_predict": 50, "t_max_predict_ms": 1 }));
    assert!(text.starts_with("def f():\n") && text.len() < 20 && stop == "limit", "{text:?}");
    *server.faults.delay.lock().unwrap() = std::time::Duration::ZERO;
    // The prompt is read and nothing made.
    let (text, stop, answer) = end(json!({ "n_predict": 0, "samplers": [] }));
    assert_eq!((&*text, &*stop, &answer["tokens_predicted"]), ("", "limit", &json!(0)));
    assert_eq!(answer["generation_settings"]["n_predict"], 0);
    let server = start_with(Settings::default(), |config| config.limits.n_pages = vec![2]);
    let answer = ask(&server, json!({ "n_predict": 500, "ignore_eos": true }));
    assert_eq!((&answer["truncated"], &answer["stop_type"]), (&json!(true), &json!("limit")));
}

#[test]
fn parameters_of_llama_server_are_followed_or_refused() {
    let server = start(Settings::default());
    let best = ask(&server, json!({ "n_predict": 1, "n_probs": 1 }))["completion_probabilities"][0].clone();
    for bias in [
        json!([[best["id"], false]]),
        json!([[best["token"], -100]]),
        json!({ best["id"].to_string(): -100 }),
    ] {
        let other = ask(&server, json!({ "n_predict": 1, "return_tokens": true, "logit_bias": bias }));
        assert_ne!(other["tokens"][0], best["id"], "{bias}");
    }
    for samplers in [json!(["top_k", "top_p", "infill"]), json!("kpi")] {
        let answer =
            ask(&server, json!({ "samplers": samplers, "t_max_prompt_ms": 500, "cache_prompt": true }));
        assert_eq!(answer["generation_settings"]["samplers"], json!(["top_k", "top_p", "infill"]));
        assert!(answer.get("warnings").is_none(), "{answer}");
    }
    for (members, param) in [
        (json!({ "n_predict": -2 }), "n_predict"),
        (json!({ "n_predict": 3, "max_tokens": 4 }), "max_tokens"),
        (json!({ "n_probs": "3" }), "n_probs"),
        (json!({ "id_slot": 32 }), "id_slot"),
        (json!({ "response_fields": "content" }), "response_fields"),
        (json!({ "logit_bias": [[1, "x"]] }), "logit_bias"),
        (json!({ "logit_bias": [1] }), "logit_bias[0]"),
        (json!({ "echo": true }), "echo"),
        (json!({ "lora": [{ "id": 0, "scale": 1 }] }), "lora"),
        (json!({ "messages": [{ "role": "user", "content": "a" }] }), "messages"),
        (json!({ "n_indent": -1 }), "n_indent"),
        (json!({ "cache_prompt": 1 }), "cache_prompt"),
        (json!({ "samplers": ["nothing"] }), "samplers[0]"),
        (json!({ "samplers": ["infill", "top_k"] }), "top_k"),
        (json!({ "samplers": ["top_k", "infill"], "top_k": 257 }), "top_k"),
    ] {
        let reply = server.post("/completion", &asked(members.clone()));
        assert_eq!(
            error(&reply),
            (400, "invalid_request_error".into(), param.into()),
            "{members}: {}",
            reply.text()
        );
    }
    let shaped = server
        .post("/completion", &asked(json!({ "n_predict": 60, "json_schema": { "enum": ["a", "b"] } })))
        .json();
    assert!(["\"a\"", "\"b\""].contains(&shaped["content"].as_str().unwrap()), "{shaped}");
}

#[test]
fn the_path_of_both_apis_answers_in_the_one_that_is_asked() {
    let server = start(Settings::default());
    let native = server.post("/completions", &json!({ "prompt": PROMPT, "n_predict": 2 })).json();
    assert!(native["content"].is_string() && native.get("choices").is_none());
    let openai =
        server.post("/completions", &json!({ "model": "ember", "prompt": PROMPT, "max_tokens": 2 })).json();
    assert!(openai["choices"][0]["text"].is_string());
    assert_eq!(error(&server.post("/completions", &json!({}))).0, 400);
    let reply = server.post("/completions", &json!({ "model": "ember" }));
    assert_eq!(reply.error(), (400, "missing_required_parameter".into(), "prompt".into()));
    for (path, status, kind) in [
        ("/completion", 405, "invalid_request_error"),
        ("/completion/1", 404, "not_found_error"),
        ("/infill", 405, "invalid_request_error"),
        ("/slots/0", 405, "invalid_request_error"),
    ] {
        let (found, found_kind, _) = error(&server.get(path));
        assert_eq!((found, &*found_kind), (status, kind), "{path}");
    }
    // SageMaker's path takes either.
    let invoke = |body: Value| server.post("/invocations", &body);
    assert!(invoke(json!({ "prompt": PROMPT, "max_tokens": 2 })).json()["choices"][0]["text"].is_string());
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    assert!(
        invoke(json!({ "messages": messages, "max_tokens": 2 })).json()["choices"][0]["message"].is_object()
    );
    assert_eq!(invoke(json!({ "input": "Hi" })).error().0, 400);
    assert_eq!(server.post("/ping", &json!({})).status, 200);
    let counted = server.post("/v1/chat/completions/input_tokens", &json!({ "messages": messages })).json();
    let usage = server.post("/v1/chat/completions", &json!({ "messages": messages, "max_tokens": 1 })).json();
    assert_eq!(
        counted,
        json!({ "object": "response.input_tokens", "input_tokens": usage["usage"]["prompt_tokens"] })
    );
}

#[test]
fn clients_find_out_about_the_server() {
    let server = start(Settings::default());
    let props = server.get("/props").json();
    assert_eq!((&props["total_slots"], &props["model_path"]), (&json!(32), &json!("ember-q8_0.gguf")));
    assert_eq!(props["default_generation_settings"]["n_ctx"], 2048);
    assert_eq!(props["default_generation_settings"]["params"]["top_k"], 40);
    assert!(
        props["chat_template"].as_str().unwrap().contains("<|im_start|>")
            && props["eos_token"] == "<|im_end|>"
    );
    assert_eq!(error(&server.post("/props", &json!({}))).1, "not_supported_error");
    assert_eq!(error(&server.post("/slots/0?action=save", &json!({}))).1, "not_supported_error");
    assert_eq!(server.get("/lora-adapters").json(), json!([]));
    assert_eq!(server.post("/lora-adapters", &json!([])).json(), json!({ "success": true }));
    assert_eq!(error(&server.post("/lora-adapters", &json!([{ "id": 0, "scale": 1 }]))).0, 501);
    assert_eq!(error(&server.post("/lora-adapters", &json!({}))).0, 400);

    let server = start_with(Settings::default(), |config| config.limits.max_sequences = 2);
    let busy = |server: &Server| {
        let slots = server.get("/slots").json();
        slots.as_array().unwrap().iter().filter(|slot| slot["is_processing"] == true).count()
    };
    assert_eq!((busy(&server), server.get("/slots").json().as_array().unwrap().len()), (0, 2));
    assert_eq!(server.get("/load").json()["server_load"], 0);
    *server.faults.delay.lock().unwrap() = std::time::Duration::from_millis(20);
    let body = asked(json!({ "n_predict": 1000, "ignore_eos": true, "stream": true }));
    let one = server.open_stream("/completion", &body);
    server.wait_until(|server| busy(server) == 1);
    assert_eq!(server.get("/slots?fail_on_no_slot=1").status, 200);
    let slots = server.get("/slots").json();
    let slot = slots.as_array().unwrap().iter().find(|slot| slot["is_processing"] == true).unwrap();
    assert!(slot["n_prompt_tokens"].as_u64().unwrap() > 2 && slot["next_token"][0]["n_remain"].is_u64());
    let two = server.open_stream("/completion", &body);
    server.wait_until(|server| busy(server) == 2);
    assert_eq!(error(&server.get("/slots?fail_on_no_slot=1")).1, "unavailable_error");
    assert_eq!(server.get("/load").json()["server_load"], 2);
    drop((one, two));
    server.wait_until(|server| busy(server) == 0 && server.is_idle());
}

/// A server whose vocabulary can fill gaps: prefix, suffix and middle are tokens 0, 1 and 2. Sequences have room for `n_pages`
/// pages of 32 tokens.
fn filling(n_pages: usize, more: &'static [(&'static str, u32)]) -> Server {
    start_as(
        Settings::default(),
        |config| config.limits.n_pages = vec![n_pages],
        move |metadata| {
            for (key, id) in [("fim_pre", 0), ("fim_suf", 1), ("fim_mid", 2)].iter().chain(more) {
                metadata.set(format!("tokenizer.ggml.{key}_token_id"), Entry::U32(*id));
            }
        },
    )
}

#[test]
fn a_gap_is_filled_with_the_tokens_of_the_vocabulary() {
    let plain = start(Settings::default());
    let body =
        json!({ "input_prefix": "int main() {", "input_suffix": "}", "n_predict": 3, "temperature": 0 });
    let reply = plain.post("/infill", &body);
    assert_eq!(error(&reply).1, "not_supported_error");
    assert!(reply.text().contains("prefix, suffix, middle"), "{}", reply.text());

    let tokens = |text: &str| {
        plain.post("/tokenize", &json!({ "content": text, "parse_special": false })).json()["tokens"].clone()
    };
    let joined = |parts: &[Value]| -> Value {
        parts.iter().flat_map(|part| part.as_array().cloned().unwrap_or_else(|| vec![part.clone()])).collect()
    };
    let with = |members: Value| {
        let mut body = body.clone();
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let check = |server: &Server, members: Value, expected: &[Value]| {
        let answer = server.post("/infill", &with(members)).json();
        let same = server
            .post("/completion", &json!({ "prompt": joined(expected), "n_predict": 3, "temperature": 0 }))
            .json();
        assert_eq!((&answer["prompt"], &answer["content"]), (&same["prompt"], &same["content"]));
        assert!(answer.get("warnings").is_none(), "{answer}");
    };
    let server = filling(64, &[]);
    let (prefix, suffix) = (tokens("int main() {"), tokens("}"));
    check(&server, json!({}), &[json!(0), prefix.clone(), json!(1), suffix.clone(), json!(2)]);
    let line = [json!(0), prefix.clone(), tokens(" int n"), json!(1), suffix.clone(), json!(2)];
    check(&server, json!({ "prompt": " int n" }), &line);
    // What looks like a control token is text.
    let odd = [json!(0), tokens("<|im_end|>"), json!(1), suffix.clone(), json!(2)];
    check(&server, json!({ "input_prefix": "<|im_end|>" }), &odd);
    let extra = json!([{ "filename": "a.h", "text": "int a;" }, { "text": "int b;" }]);
    let snippets = [
        tokens("\n\n--- snippet ---\n\n"),
        tokens("int a;"),
        tokens("\n\n--- snippet ---\n\n"),
        tokens("int b;"),
    ];
    check(
        &server,
        json!({ "input_extra": extra }),
        &[&snippets[..], &[json!(0), prefix.clone(), json!(1), suffix.clone(), json!(2)]].concat(),
    );
    let server = filling(64, &[("fim_rep", 3), ("fim_sep", 4)]);
    let repository = [
        json!(3),
        tokens("myproject\n"),
        json!(4),
        tokens("a.h\n"),
        tokens("int a;"),
        json!(4),
        tokens("tmp\n"),
        tokens("int b;"),
        json!(4),
        tokens("filename\n"),
        json!(0),
        prefix,
        json!(1),
        suffix,
        json!(2),
    ];
    check(&server, json!({ "input_extra": extra }), &repository);

    for (members, param) in [
        (json!({ "input_prefix": null }), "input_prefix"),
        (json!({ "input_suffix": 3 }), "input_suffix"),
        (json!({ "input_prefix": [{}] }), "input_prefix[0]"),
        (json!({ "prompt": ["a"] }), "prompt"),
        (json!({ "input_extra": {} }), "input_extra"),
        (json!({ "input_extra": [{}] }), "input_extra[0].text"),
        (json!({ "input_extra": [{ "filename": "ok" }] }), "input_extra[0].text"),
        (json!({ "input_extra": [{ "filename": 123, "text": "abc" }] }), "input_extra[0].filename"),
        (json!({ "input_extra": ["a"] }), "input_extra[0]"),
    ] {
        let reply = server.post("/infill", &with(members.clone()));
        assert_eq!(error(&reply), (400, "invalid_request_error".into(), param.into()), "{members}");
    }
}

#[test]
fn a_gap_that_does_not_fit_is_cut_and_the_answer_says_so() {
    let server = filling(4, &[]);
    let words = |n: usize| "word ".repeat(n);
    let room = server.get("/props").json()["default_generation_settings"]["n_ctx"].as_u64().unwrap();
    assert_eq!(room, 128);
    let fill = |prefix: usize, suffix: usize, extra: &[usize]| {
        let extra: Vec<Value> = extra.iter().map(|n| json!({ "text": words(*n) })).collect();
        let body = json!({
            "input_prefix": words(prefix), "input_suffix": words(suffix), "input_extra": extra, "n_predict": 2, "temperature": 0,
        });
        let reply = server.post("/infill", &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer = reply.json();
        let warning = answer["warnings"][0].as_str().unwrap_or_default().to_owned();
        (answer["tokens_evaluated"].as_u64().unwrap(), warning)
    };
    let (n, warning) = fill(4, 4, &[10, 2]);
    assert!(warning.is_empty() && n < room, "{n}: {warning}");
    let (n, warning) = fill(4, 4, &[400, 2]);
    assert!(n < 80 && warning.contains("1 files at the start of `input_extra`"), "{n}: {warning}");
    let (n, warning) = fill(400, 400, &[5]);
    assert_eq!(n, room - 2);
    for part in ["`input_prefix`", "`input_suffix`", "`input_extra`"] {
        assert!(warning.contains(part), "{warning}");
    }
    let (n, warning) = fill(400, 2, &[]);
    assert!(
        n == room - 2 && warning.contains("`input_prefix`") && !warning.contains("`input_suffix`"),
        "{warning}"
    );
    let body = json!({ "input_prefix": "", "input_suffix": "", "prompt": words(300), "n_predict": 2 });
    assert_eq!(error(&server.post("/infill", &body)).1, "exceed_context_size_error");
}
