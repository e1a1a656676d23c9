//! The parameters: where, which, what is taken, what is not, and what is said then.

use serde_json::{Value, json};

use super::{CHAT, TEXT};

/// Path or both, names, values that are taken, values that are not, what is expected.
type Row = (&'static str, &'static str, Vec<Value>, Vec<Value>, &'static str);

/// Taken by no parameter that is a number.
fn no_numbers() -> Vec<Value> {
    vec![json!(true), json!("NaN"), json!("Infinity"), json!("1"), json!(""), json!([1]), json!({ "a": 1 })]
}

/// Taken by no parameter that is true or false.
fn no_booleans() -> Vec<Value> {
    vec![json!(1), json!(0), json!("true"), json!(""), json!([true]), json!({})]
}

fn no_strings() -> Vec<Value> {
    vec![json!(1), json!(false), json!(["x"]), json!({ "a": 1 })]
}

fn and(mut values: Vec<Value>, more: Value) -> Vec<Value> {
    values.extend(more.as_array().unwrap().iter().cloned());
    values
}

fn list(values: Value) -> Vec<Value> {
    and(Vec::new(), values)
}

/// Of numbers: those that are taken, and those that are not beside what is none.
fn number(name: &'static str, taken: Value, refused: Value, expected: &'static str) -> Row {
    ("", name, list(taken), and(no_numbers(), refused), expected)
}

fn boolean(path: &'static str, names: &'static str) -> Row {
    (path, names, list(json!([true, false])), no_booleans(), "true or false")
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = numbers();
    rows.extend(booleans());
    rows.extend(texts());
    rows.extend(tokens());
    rows
}

fn numbers() -> Vec<Row> {
    let (huge, many) = (1e300, 4_294_967_296_i64);
    vec![
        number(
            "temperature",
            json!([0, 0.5, 2, 2.0, -0.0, 1e-40]),
            json!([-0.001, 2.001, huge]),
            "a number from 0 to 2",
        ),
        number("top_p min_p", json!([0, 0.5, 1, 1.0]), json!([-0.001, 1.001, -1]), "a number from 0 to 1"),
        number(
            "top_k",
            json!([-1, 0, 1, 40.0, 2147483647]),
            json!([-2, 2147483648_i64, 0.5, huge]),
            "an integer from -1 to 2147483647",
        ),
        number(
            "frequency_penalty presence_penalty",
            json!([-2, 0, 2, 0.1]),
            json!([-2.01, 2.01]),
            "a number from -2 to 2",
        ),
        number(
            "repeat_penalty repetition_penalty",
            json!([0.01, 1, 10]),
            json!([0, 0.0099, 10.01, -1]),
            "a number from 0.01 to 10",
        ),
        number(
            "repeat_last_n penalty_last_n",
            json!([-1, 0, 64, 4294967295_i64]),
            json!([-2, many, 1.5]),
            "an integer from -1 to 4294967295",
        ),
        number(
            "typical_p xtc_probability xtc_threshold",
            json!([0, 0.5, 1]),
            json!([-0.001, 1.001]),
            "a number from 0 to 1",
        ),
        number("top_n_sigma nsigma", json!([-1, 0, 1.5]), json!([-1.5, 100.5]), "a number from -1 to 100"),
        number(
            "dynatemp_range dynatemp_exponent dry_multiplier mirostat_tau",
            json!([0, 0.8, 100]),
            json!([-0.1, 100.5, huge]),
            "a number from 0 to 100",
        ),
        number("dry_base", json!([0, 1, 1.75]), json!([-0.1, 100.5]), "a number from 0 to 100"),
        number("mirostat_eta", json!([0, 0.1, 10]), json!([-0.1, 10.5]), "a number from 0 to 10"),
        number("mirostat mirostat_mode", json!([0, 1, 2.0]), json!([-1, 3, 0.5]), "an integer from 0 to 2"),
        number(
            "min_keep dry_allowed_length",
            json!([0, 1, 3.0]),
            json!([-1, 0.5, many]),
            "an integer from 0 to 2147483647",
        ),
        number(
            "dry_penalty_last_n",
            json!([-1, 0, 64]),
            json!([-2, 0.5, many]),
            "an integer from -1 to 2147483647",
        ),
        number("prompt_logprobs", json!([0, 1, 20]), json!([-1, 21, 0.5]), "an integer from 0 to 20"),
        number(
            "seed",
            json!([-1, 0, 7.0, i64::MIN, i64::MAX, 9223372036854775808_u64, u64::MAX]),
            json!([0.5, 1e19, -1e19, 18446744073709551616.0]),
            "an integer of 64 bits, from -9223372036854775808 to 18446744073709551615",
        ),
        number("n n_cmpl", json!([1, 2.0, 16]), json!([0, -1, 17, 1000000, 1.5]), "an integer from 1 to 16"),
        number(
            "max_tokens max_completion_tokens n_predict",
            json!([1, 1.0]),
            json!([-2, many, 0.5, 1e18]),
            "an integer from -1 to 4294967295",
        ),
        number("min_tokens", json!([0, 1, 1.0]), json!([-1, many, 0.5]), "an integer from 0 to 4294967295"),
        number("priority", json!([-100, 0, 100]), json!([-101, 101, 0.5]), "an integer from -100 to 100"),
        (
            CHAT,
            "reasoning_budget thinking_budget_tokens thinking_token_budget",
            list(json!([-1, 0, 7.0, 4294967295_i64])),
            and(no_numbers(), json!([-2, many, 0.5])),
            "an integer from -1 to 4294967295",
        ),
        number(
            "deadline_ms",
            json!([60000, 86400000]),
            json!([0, -1, 86400001, 0.5]),
            "an integer from 1 to 86400000",
        ),
        (
            TEXT,
            "logprobs",
            list(json!([0, 1, 20, 3.0, true, false])),
            list(json!([-1, 21, 0.5, "1", "NaN", [1], {}])),
            "an integer from 0 to 20",
        ),
        (
            CHAT,
            "top_logprobs",
            list(json!([0])),
            and(no_numbers(), json!([-1, 21, 0.5])),
            "an integer from 0 to 20",
        ),
    ]
}

fn booleans() -> Vec<Row> {
    vec![
        boolean(
            "",
            "stream ignore_eos include_stop_str_in_output skip_special_tokens return_token_ids return_tokens_as_token_ids timings_per_token",
        ),
        boolean(
            CHAT,
            "logprobs enable_thinking add_generation_prompt include_reasoning separate_reasoning parallel_tool_calls",
        ),
        boolean(TEXT, "echo add_special_tokens"),
        ("", "return_progress", list(json!([false])), no_booleans(), "true or false"),
    ]
}

fn texts() -> Vec<Row> {
    let long = |n: usize| json!("é".repeat(n / 2));
    vec![
        (
            "",
            "model",
            list(json!(["ember", "alias", "default"])),
            and(no_strings(), json!([long(258)])),
            "a string of at most 256 bytes",
        ),
        (
            "",
            "cache_salt",
            vec![json!("a"), long(256)],
            and(no_strings(), json!([long(258)])),
            "a string of at most 256 bytes",
        ),
        ("", "cache_salt", Vec::new(), list(json!([""])), "a text or none at all"),
        (
            CHAT,
            "reasoning_effort",
            list(json!(["none", "low", "x"])),
            and(no_strings(), json!([long(34)])),
            "a string of at most 32 bytes",
        ),
        (
            "",
            "stop",
            list(json!(["a", ["a"], [], ["a", "b", "c", "d"], ["a", "a"], long(256), "\u{0}"])),
            list(json!([1, true, {}])),
            "a string or an array of strings",
        ),
        (
            "",
            "stop",
            Vec::new(),
            list(json!(["", [""], ["a", ""], [1], [null], [["a"]], long(258)])),
            "strings of 1 to 256 bytes",
        ),
        ("", "stop", Vec::new(), list(json!([["a", "b", "c", "d", "e"]])), "at most 4"),
        (
            "",
            "samplers",
            list(json!([[], "", "edskypmxt", ["top_k", "top-p", "typ_p", "temperature", "penalties"]])),
            list(json!([1, true, {}])),
            "an array of some of penalties, dry, top_n_sigma, top_k",
        ),
        ("", "samplers", Vec::new(), list(json!(["kz", "top_k"])), "letters of \"edskypmxti\""),
        (
            "",
            "bad_words",
            list(json!([[], ["no", " never"]])),
            list(json!([1, true, "x"])),
            "an array of strings",
        ),
        (
            "",
            "dry_sequence_breakers",
            list(json!([[], ["\n", ":"], "\"\\n\", \":\"", "[\"*\"]", ""])),
            list(json!([1, true, "x"])),
            "an array of strings",
        ),
        (
            "",
            "response_format",
            list(json!([{ "type": "text" }])),
            list(json!(["text", 1, [], {}, { "type": 1 }])),
            "an object whose `type` is",
        ),
        ("", "stream_options", Vec::new(), list(json!([true, "x", [], 1])), "an object"),
        (
            CHAT,
            "chat_template_kwargs",
            list(json!([{}, { "a": 1, "b": "x", "c": null, "d": true }])),
            list(json!([1, "x", [], true])),
            "an object of scalars",
        ),
    ]
}

fn tokens() -> Vec<Row> {
    vec![
        (
            "",
            "logprob_token_ids",
            list(json!([[]])),
            list(json!([1, "1", true, {}])),
            "an array of token ids",
        ),
        (
            "",
            "stop_token_ids allowed_token_ids",
            list(json!([[0], [5119], [1, 1]])),
            list(json!([1, "1", true, {}])),
            "an array of token ids",
        ),
        ("", "allowed_token_ids", Vec::new(), list(json!([[]])), "at least one token id or none of it"),
        ("", "stop_token_ids", list(json!([[]])), Vec::new(), ""),
        (
            "",
            "logit_bias",
            list(
                json!([{}, { "0": 100, "5119": -100 }, { "5": 0.5 }, { "5": false }, [], [[5, 1], [6, false]]]),
            ),
            list(json!([1, "1", true])),
            "an object from token id to a number",
        ),
        (
            "",
            "logit_bias",
            Vec::new(),
            list(
                json!([{ "5120": 1 }, { "-1": 1 }, { "x": 1 }, { "": 1 }, { "1.5": 1 }, { "18446744073709551616": 1 }, [[5120, 1]], [[null, 1]]]),
            ),
            "token ids from 0 to 5119 as keys",
        ),
    ]
}
