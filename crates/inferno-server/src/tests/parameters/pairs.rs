//! Parameters that are fine alone.

use serde_json::{Value, json};

use super::{CHAT, TEXT, check_refused, check_taken, with};
use crate::Settings;
use crate::tests::harness::{Server, read_head, start_with};
use crate::tests::start;

#[test]
fn pairs_that_make_no_sense_are_refused_and_the_rest_is_taken() {
    let server = start(Settings::default());
    let refused = [
        ("", json!({ "min_tokens": 3, "max_tokens": 2 }), "min_tokens", "at most `max_tokens`, which is 2"),
        (
            "",
            json!({ "min_tokens": 3, "max_tokens": null, "max_completion_tokens": 2 }),
            "min_tokens",
            "which is 2",
        ),
        (
            "",
            json!({ "max_tokens": 2, "max_completion_tokens": 1 }),
            "max_tokens",
            "two names of one parameter",
        ),
        ("", json!({ "max_tokens": 2, "n_predict": -1 }), "n_predict", "two names of one parameter"),
        ("", json!({ "n": 2, "n_cmpl": 3 }), "n_cmpl", "`n_cmpl` is 3 and `n` is 2"),
        ("", json!({ "repeat_penalty": 1.1, "repetition_penalty": 1.2 }), "repeat_penalty", "two names"),
        ("", json!({ "do_sample": false, "temperature": 0.5 }), "do_sample", "expected 0 or none"),
        ("", json!({ "do_sample": true, "temperature": 0 }), "do_sample", "expected more or none"),
        (CHAT, json!({ "think": true, "enable_thinking": false }), "think", "two names of one parameter"),
        (CHAT, json!({ "thinking": { "type": "disabled" }, "think": true }), "think", "two names"),
        (CHAT, json!({ "think": "low", "reasoning_effort": "high" }), "think", "differ"),
        (CHAT, json!({ "thinking": { "type": "x" } }), "thinking", "\"disabled\"}"),
        (CHAT, json!({ "thinking": "x" }), "thinking", "\"disabled\"}"),
        (CHAT, json!({ "think": 1 }), "think", "true, false, or a string"),
        ("", json!({ "stream_options": {} }), "stream_options", "only allowed with `stream: true`"),
        ("", json!({ "return_progress": true }), "return_progress", "only allowed with `stream: true`"),
        (
            "",
            json!({ "stream": true, "stream_options": { "include_usage": 1 } }),
            "stream_options.include_usage",
            "true or false",
        ),
        ("", json!({ "logit_bias": { "7": 100.5 } }), "logit_bias.7", "a number from -100 to 100"),
        ("", json!({ "logit_bias": { "7": 60, "07": 60 } }), "logit_bias", "twice"),
        ("", json!({ "logit_bias": { "7": "NaN" } }), "logit_bias.7", "a number from -100 to 100"),
        ("", json!({ "logit_bias": { "7": true } }), "logit_bias.7", "a number from -100 to 100"),
        ("", json!({ "logit_bias": { "7": null } }), "logit_bias.7", "a number from -100 to 100"),
        ("", json!({ "logit_bias": [[1]] }), "logit_bias[0]", "a pair of token id and bias"),
        ("", json!({ "stop_token_ids": [1, 5120] }), "stop_token_ids[1]", "a token id from 0 to 5119"),
        ("", json!({ "allowed_token_ids": [-1] }), "allowed_token_ids[0]", "a token id from 0 to 5119"),
        (
            "",
            json!({ "allowed_token_ids": [5], "logit_bias": { "5": false } }),
            "allowed_token_ids",
            "no token is left",
        ),
        (
            "",
            json!({ "allowed_token_ids": [5113], "ignore_eos": true }),
            "allowed_token_ids",
            "no token is left",
        ),
        (
            "",
            json!({ "allowed_token_ids": [7], "stop_token_ids": [7], "min_tokens": 1 }),
            "allowed_token_ids",
            "no token is left",
        ),
        (CHAT, json!({ "top_logprobs": 1 }), "top_logprobs", "only allowed with `logprobs: true`"),
        (
            CHAT,
            json!({ "top_logprobs": 1, "logprobs": false }),
            "top_logprobs",
            "only allowed with `logprobs: true`",
        ),
        (CHAT, json!({ "logprobs": 1 }), "logprobs", "true or false"),
        (CHAT, json!({ "max_tokens": 0 }), "max_tokens", "expected 1 or more"),
        (
            CHAT,
            json!({ "chat_template_kwargs": { "tokenize": true } }),
            "chat_template_kwargs",
            "may not set `tokenize`",
        ),
        (
            CHAT,
            json!({ "chat_template_kwargs": { "chat_template": "x" } }),
            "chat_template_kwargs",
            "may not set",
        ),
        (
            CHAT,
            json!({ "chat_template_kwargs": { "messages": "x" } }),
            "chat_template_kwargs",
            "`messages` must be a scalar",
        ),
        (
            CHAT,
            json!({ "chat_template_kwargs": { "bos_token": "x" } }),
            "chat_template_kwargs",
            "set by other means",
        ),
        (CHAT, json!({ "chat_template_kwargs": { "a": [1] } }), "chat_template_kwargs", "must be a scalar"),
        (TEXT, json!({ "max_tokens": 0 }), "max_tokens", "`echo: true`"),
    ];
    for (path, members, param, words) in refused {
        for path in [CHAT, TEXT].into_iter().filter(|p| path.is_empty() || *p == path) {
            check_refused(&server, path, &members, "invalid_value", param, words);
        }
    }
    let taken = [
        json!({ "temperature": 0, "n": 3 }),
        json!({ "temperature": 0, "n": 3, "seed": -1, "stream": true }),
        json!({ "stop": "a string that is much longer than all that is made here" }),
        json!({ "stop": "a", "min_tokens": 1, "include_stop_str_in_output": true }),
        json!({ "stream_options": null, "return_progress": false }),
        json!({ "stream": true, "stream_options": { "include_obfuscation": true }, "return_progress": true }),
        json!({ "max_tokens": null, "max_completion_tokens": 1 }),
        json!({ "max_tokens": 1, "max_completion_tokens": 1, "n_predict": 1.0, "n": 2, "n_cmpl": 2 }),
        json!({ "best_of": 2, "n": 2 }),
        json!({ "do_sample": false, "temperature": 0 }),
        json!({ "do_sample": true, "temperature": 0.5 }),
        json!({ "allowed_token_ids": [5113], "ignore_eos": false }),
        json!({ "allowed_token_ids": [5], "logit_bias": { "5": -100 } }),
        json!({ "temperature": 0, "frequency_penalty": 2, "presence_penalty": -2, "repeat_penalty": 10 }),
        json!({ "temperature": 2, "top_k": 1, "top_p": 0, "min_p": 1, "repeat_penalty": 0.01 }),
        json!({ "repeat_penalty": 1.1, "repeat_last_n": 0, "frequency_penalty": 1, "n": 2, "stream": true }),
        json!({ "repeat_penalty": 1.1, "repetition_penalty": 1.1, "logit_bias": { "5": 100 }, "stop": ["a"] }),
    ];
    for members in taken {
        for path in [CHAT, TEXT] {
            check_taken(&server, path, &members);
        }
    }
}

#[test]
fn prompts_are_checked_for_type_emptiness_and_vocabulary() {
    let server = start(Settings::default());
    let kinds = "a string, an array of strings, an array of token ids, or an array of those";
    for (prompt, param, words) in [
        (json!(1), "prompt", kinds),
        (json!(true), "prompt", kinds),
        (json!({ "a": 1 }), "prompt", kinds),
        (json!(""), "prompt", "expected at least one token"),
        (json!([]), "prompt", "expected 1 to 128 prompts"),
        (json!([""]), "prompt[0]", "expected at least one token"),
        (json!(["a", []]), "prompt[1]", "expected at least one token"),
        (json!(["a", 1]), "prompt[1]", "a string or an array of token ids"),
        (json!([1, "a"]), "prompt[1]", "a token id from 0 to 5119"),
        (json!([[1], [1, 5120]]), "prompt[1][1]", "a token id from 0 to 5119"),
        (json!([5120]), "prompt[0]", "a token id from 0 to 5119"),
        (json!([-1]), "prompt[0]", "a token id from 0 to 5119"),
        (json!([1.5]), "prompt[0]", "a token id from 0 to 5119"),
        (json!([null]), "prompt[0]", "a string or an array of token ids"),
    ] {
        check_refused(&server, TEXT, &json!({ "prompt": prompt }), "invalid_value", param, words);
    }
    let missing = "missing_required_parameter";
    check_refused(&server, TEXT, &json!({ "prompt": null }), missing, "prompt", kinds);
    for prompt in [
        json!("<|endoftext|>"),
        json!("<|im_start|><|im_end|>"),
        json!([5111, 5112]),
        json!([0]),
        json!(["a", [5, 6]]),
        json!(" "),
        json!("\u{0}"),
    ] {
        check_taken(&server, TEXT, &json!({ "prompt": prompt }));
    }
}

#[test]
fn a_prompt_may_fill_the_context_but_for_one_token() {
    // The pool is smaller than the model's context, and so the limit.
    let server = start_with(Settings::default(), |config| config.limits.n_pages = vec![3]);
    let send = |n: usize, members: &Value| {
        let mut members = members.clone();
        members["prompt"] = json!(vec![100; n]);
        server.post(TEXT, &with(TEXT, &members))
    };
    for (n, members, n_completion) in [
        (95, json!({ "max_tokens": 1 }), 1),
        (95, json!({ "max_tokens": null, "ignore_eos": true }), 1),
        (90, json!({ "max_tokens": null, "ignore_eos": true }), 6),
        (96, json!({ "max_tokens": 0, "echo": true }), 0),
    ] {
        let reply = send(n, &members);
        assert_eq!(reply.status, 200, "{n} {members}: {}", reply.text());
        let usage = &reply.json()["usage"];
        assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(n), &json!(n_completion)));
    }
    for (n, members) in [
        (95, json!({ "max_tokens": 2 })),
        (96, json!({ "max_tokens": 1 })),
        (96, json!({ "max_tokens": null })),
        (97, json!({ "max_tokens": 1 })),
        (97, json!({ "max_tokens": 0, "echo": true })),
        (1, json!({ "max_tokens": 96 })),
        (1, json!({ "max_tokens": 4294967295_u32 })),
        (2047, json!({ "max_tokens": 1 })),
    ] {
        let reply = send(n, &members);
        let expected = (400, "context_length_exceeded".into(), "null".into());
        assert_eq!(reply.error(), expected, "{n} {members}: {}", reply.text());
        assert_eq!(reply.json()["error"]["n_ctx"], 96, "{}", reply.text());
    }
}

#[test]
fn the_context_of_the_model_is_a_limit_to_the_token() {
    // The status line does not wait for the prompt, nor does the test.
    let server = start(Settings { hold: std::time::Duration::ZERO, ..Settings::default() });
    let status = |n: usize, max_tokens: usize| {
        let members = json!({ "prompt": vec![100; n], "max_tokens": max_tokens, "stream": true });
        let mut stream = server.open_stream(TEXT, &with(TEXT, &members));
        read_head(&mut stream).unwrap().status
    };
    assert_eq!((status(2047, 1), status(2047, 2)), (200, 400));
    assert_eq!((status(1, 2047), status(1, 2048)), (200, 400));
    assert_eq!(status(2048, 1), 400);
    server.wait_until(Server::is_idle);
}
