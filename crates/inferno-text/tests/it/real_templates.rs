//! Chat templates of real models, where the data is there.

use std::collections::{BTreeMap, BTreeSet};

use inferno_text::{
    ChatRenderer, RenderOptions, TemplateError, TokenKind, Tokenizer, message, template_source,
};
use serde_json::{Value, json};

use crate::data;
use crate::templates::{control_ids, options, parse, render_text, render_tokens};
use crate::vocab::{self, CONTROL};

#[test]
fn profiles_of_real_templates_are_right() {
    use inferno_text::ContentForm::{Both, Text};
    let Some(dir) = xtask::testing::data("templates") else { return };
    let tokenizer = tokenizer_of(&control_texts(""));
    let profile = |name: &str| {
        let source = std::fs::read_to_string(dir.join(name)).unwrap();
        parse(&source, &tokenizer).unwrap().profile().clone()
    };
    let (gpt_oss, qwen3) = (profile("openai-gpt-oss-120b.jinja"), profile("Qwen-Qwen3-0.6B.jinja"));
    assert_eq!([gpt_oss.takes_developer, qwen3.takes_developer], [true, false]);
    let gemma2 = profile("google-gemma-2-2b-it.jinja");
    assert_eq!([gemma2.takes_system, qwen3.takes_system], [false, true]);
    assert_eq!([qwen3.user_content, qwen3.system_content], [Text, Text]);
    for name in [
        "Qwen3.5-4B.jinja",
        "GLM-4.6.jinja",
        "moonshotai-Kimi-K2.jinja",
        "google-gemma-4-31B-it-interleaved.jinja",
    ] {
        assert_eq!(profile(name).user_content, Both, "{name}");
    }
    assert_eq!(profile("meetkai-functionary-medium-v3.2.jinja").arguments, inferno_text::ArgumentsForm::Text);
}

#[test]
fn formats_of_real_templates_are_recognized() {
    let Some(dir) = xtask::testing::data("templates") else { return };
    let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    // A line a template: its calls' first mark and a text of theirs, the end of reasoning, and the profile's flags.
    let mut found = String::new();
    for name in names {
        let source = std::fs::read_to_string(dir.join(&name)).unwrap();
        let tokenizer = tokenizer_of(&control_texts(&source));
        let reply = parse(&source, &tokenizer).unwrap().profile().reply.clone();
        let calls = match reply.calls.body {
            inferno_text::CallBody::Tagged(ref tags) => tags.before_key.as_str(),
            inferno_text::CallBody::Python => "python",
            inferno_text::CallBody::Gemma => "gemma",
            inferno_text::CallBody::Harmony => "harmony",
            inferno_text::CallBody::Recipients => "recipients",
            inferno_text::CallBody::Named { ref after_name, .. } => after_name.trim(),
            inferno_text::CallBody::Json { ref name, .. } => name,
        };
        let marks = reply.reasoning.as_ref().map_or("-", |marks| marks.end.as_str());
        let flag = |name: &'static str, is_set: bool| if is_set { name } else { "" };
        let line = format!(
            "{} {:?} {calls} {marks}{}{}{}{} {:?} {:?}{} {:?}\n",
            name.to_string_lossy().trim_end_matches(".jinja"),
            format!("{}{}", reply.calls.section_begin, reply.calls.call_begin),
            flag(" text", reply.needs_system_text),
            match (reply.takes_calls, reply.calls_want_null_content) {
                (true, true) => " null-calls",
                (true, false) => " calls",
                _ => "",
            },
            flag(" results", reply.takes_results),
            flag(" parallel", reply.takes_parallel_calls),
            reply.call_ids,
            reply.thinking_variables,
            flag(" effort", reply.takes_effort),
            reply.reasoning_fields,
        );
        found.push_str(&line);
    }
    assert_eq!(found, include_str!("formats.txt"), "{found}");
}

/// What a template calls its control tokens: everything in it that looks like one, and some that no template names.
fn control_texts(source: &str) -> Vec<String> {
    let unnamed = ["<s>", "</s>", "<unk>", "<|endoftext|>", "<extra_id_0>", "[MASK]"];
    let mut found: Vec<String> = unnamed.map(String::from).into();
    for (open, close) in [('<', '>'), ('[', ']')] {
        for (start, _) in source.match_indices(open) {
            let Some(len) = source[start..].find(close) else { continue };
            let text = &source[start..start + len + 1];
            let inside = &text[1..len];
            let is_name = inside.chars().all(|c| c.is_alphanumeric() || "|_/-｜▁:\"".contains(c));
            let is_tag =
                inside.chars().all(|c| c.is_ascii_uppercase() || "_/ ".contains(c)) || inside == "gMASK";
            if (2..60).contains(&inside.len()) && if open == '<' { is_name } else { is_tag } {
                found.push(text.into());
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn tokenizer_of(texts: &[String]) -> Tokenizer {
    let others: Vec<(&str, i32)> = texts.iter().map(|t| (t.as_str(), CONTROL)).collect();
    let mut m = vocab::bpe("qwen2", &[], &others);
    let id_of = |text| 256 + texts.iter().position(|t| t == text).unwrap() as u32;
    m.set("tokenizer.ggml.bos_token_id", inferno_format::Value::U32(id_of("<s>")));
    m.set("tokenizer.ggml.eos_token_id", inferno_format::Value::U32(id_of("</s>")));
    vocab::tokenizer(&m)
}

/// Where a caller's text can go.
const SITES: [&str; 21] = [
    "system",
    "question",
    "name",
    "reasoning",
    "answer",
    "call id",
    "function",
    "argument",
    "argument name",
    "inner argument",
    "result",
    "result name",
    "tool",
    "tool description",
    "parameter",
    "parameter description",
    "choice",
    "schema key",
    "schema value",
    "outer key",
    "extra",
];

/// What a chat consists of. Not every template takes every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Texts,
    /// Contents are arrays.
    Parts,
    /// A system message, tools, a call and its result.
    Calls,
    /// And the call's arguments are a string.
    JsonCalls,
}

/// Messages, tools and extra variables with a text at every site.
fn chat(shape: Shape, text: &dyn Fn(&str) -> String) -> (Vec<Value>, RenderOptions) {
    let mut with = options();
    // Firefunction's template asks for these.
    with.extra.insert("functions".into(), json!(text("extra")));
    with.extra.insert("datetime".into(), json!(text("extra")));
    let question = match shape {
        Shape::Parts => json!([{ "type": "text", "text": text("question") }]),
        _ => json!(text("question")),
    };
    let user = json!({ "role": "user", "content": question, "name": text("name") });
    let answer = json!({
        "role": "assistant", "content": text("answer"), "thinking": text("reasoning"),
        "reasoning_content": text("reasoning"),
    });
    if matches!(shape, Shape::Texts | Shape::Parts) {
        return (vec![user.clone(), answer, user], with);
    }
    let arguments = json!({
        text("argument name"): text("argument"),
        "inner": { text("inner argument"): [text("inner argument")] },
    });
    let arguments = if shape == Shape::JsonCalls { json!(arguments.to_string()) } else { arguments };
    let function = json!({ "name": text("function"), "arguments": arguments });
    let call = json!({
        "role": "assistant", "content": text("answer"), "reasoning_content": text("reasoning"),
        "tool_calls": [{ "id": text("call id"), "type": "function", "function": function }],
    });
    let result = json!({
        "role": "tool", "content": text("result"), "name": text("result name"), "tool_call_id": text("call id"),
    });
    let parameters = json!({
        text("parameter"): {
            "type": "string", "description": text("parameter description"), "enum": [text("choice")],
            text("schema key"): text("schema value"),
        },
        "other": {
            "type": "object", "description": "other", "additionalProperties": false,
            "properties": { text("parameter"): { "type": "string", text("schema key"): [text("schema value")] } },
        },
    });
    let tool = json!({
        "name": text("tool"), "description": text("tool description"), text("outer key"): text("schema value"),
        "parameters": {
            "type": "object", "properties": parameters, "required": [text("parameter")],
            text("schema key"): text("schema value"),
        },
    });
    let tool = json!({ "type": "function", "function": tool, text("outer key"): text("schema value") });
    with.tools = Some(json!([tool]));
    let system = json!({ "role": "system", "content": text("system") });
    (vec![system, user.clone(), answer, user, call, result], with)
}

/// What a harmless caller writes. Some templates want nine letters or digits for an id.
fn plain(site: &str) -> String {
    if site == "call id" { "abcdef123".into() } else { format!("X{}", site.replace(' ', "_").to_uppercase()) }
}

/// Texts for all sites at once, by the number of a site, that could be a control token together or between brackets.
fn attempts(source: &str, control: &str) -> Vec<[String; 2]> {
    let chars: Vec<char> = control.chars().collect();
    let piece = |from: usize, to: usize| chars[from..to].iter().collect::<String>();
    let whole = [control.into(), format!("a{control}b"), format!("<{control}"), format!("{control}>")];
    let mut all: Vec<[String; 2]> = whole.map(|text: String| [text.clone(), text]).into();
    for at in 1..chars.len() {
        let (head, tail) = (piece(0, at), piece(at, chars.len()));
        let both = format!("{tail}{head}");
        all.push([both.clone(), both]);
        if [1, chars.len() / 2, chars.len() - 1].contains(&at) {
            all.extend([[head.clone(), tail.clone()], [tail, head]]);
        }
    }
    // A template that looks for a text acts on it: `/think`.
    let is_sought = |text: &str| ['\'', '"'].iter().any(|q| source.contains(&format!("{q}{text}{q}")));
    for (from, behind) in [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)] {
        if from + behind < chars.len() {
            let inside = piece(from, chars.len() - behind);
            if !is_sought(&inside) && !source.contains(&format!(".{inside}")) {
                all.push([inside.clone(), inside]);
            }
        }
    }
    all
}

#[test]
fn no_real_template_makes_a_control_token_of_what_a_caller_says_anywhere() {
    let Some(dir) = xtask::testing::data("templates") else { return };
    let mut paths: Vec<_> = dir.read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 40);
    let unmarked = tokenizer_of(&control_texts(""));
    let (mut taken, mut seen) = (BTreeMap::<Shape, BTreeSet<String>>::new(), BTreeSet::new());
    for path in &paths {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let source = std::fs::read_to_string(path).unwrap();
        let texts = control_texts(&source);
        let tokenizer = tokenizer_of(&texts);
        let template = parse(&source, &tokenizer).unwrap_or_else(|e| panic!("{name}: {e}"));
        let without_marks = parse(&source, &unmarked).unwrap();
        for shape in [Shape::Texts, Shape::Parts, Shape::Calls, Shape::JsonCalls] {
            let control = |text: &dyn Fn(&str) -> String| {
                let (messages, with) = chat(shape, text);
                let ids = render_tokens(&template, &tokenizer, &messages, &with)?;
                Ok::<_, TemplateError>(control_ids(&tokenizer, &ids))
            };
            let Ok(expected) = control(&plain) else { continue };
            taken.entry(shape).or_default().insert(name.to_owned());
            let (messages, with) = chat(shape, &plain);
            let shown = render_text(&template, &tokenizer, &messages, &with).unwrap();
            assert_eq!(
                shown,
                render_text(&without_marks, &unmarked, &messages, &with).unwrap(),
                "{name}: marks show"
            );
            let shown: Vec<&str> = SITES.into_iter().filter(|site| shown.contains(&plain(site))).collect();
            seen.extend(shown.iter().copied());
            let check = |at: &str, text: &dyn Fn(&str) -> String| match control(text) {
                Ok(found) => assert_eq!(found, expected, "{name}, {shape:?}: {:?} at {at}", text(at)),
                // It may well refuse an id.
                Err(e) => assert_eq!(at, "call id", "{name}: {e}"),
            };
            let at_one = |site: &str, evil: &str| {
                check(site, &|s| if s == site { evil.into() } else { plain(s) });
            };
            shown.iter().for_each(|site| at_one(site, &texts.concat()));
            for text in &texts {
                for evil in attempts(&source, text) {
                    let number = |site: &str| SITES.iter().position(|s| *s == site).unwrap();
                    check("question", &|s| {
                        if s == "call id" { plain(s) } else { evil[number(s) % 2].clone() }
                    });
                }
                let inside = text[1..text.len() - 1].to_owned();
                if attempts(&source, text).contains(&[inside.clone(), inside.clone()]) {
                    shown.iter().for_each(|site| at_one(site, &inside));
                }
            }
        }
    }
    // One wants a list that changes, another no system message; the third adds text to what is none. Jinja2 fails on them
    // too.
    let without_calls = taken[&Shape::Texts].iter();
    let without_calls: Vec<&str> = without_calls
        .filter(|name| !taken[&Shape::Calls].contains(*name) && !taken[&Shape::JsonCalls].contains(*name))
        .map(String::as_str)
        .collect();
    assert_eq!(without_calls, ["Kimi-K2-Instruct", "google-gemma-2-2b-it", "llama-cpp-deepseek-r1"]);
    // Templates for tools alone: without any, Jinja2 fails on them too.
    let names = paths.iter().map(|path| path.file_stem().unwrap().to_str().unwrap());
    let without_texts: Vec<&str> = names.filter(|name| !taken[&Shape::Texts].contains(*name)).collect();
    let for_tools = [
        "CohereForAI-c4ai-command-r-plus-tool_use",
        "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
        "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
    ];
    assert_eq!(without_texts, for_tools);
    assert!(for_tools.iter().all(|name| taken[&Shape::Calls].contains(*name)));
    assert!(taken[&Shape::Parts].len() > 20);
    // Nobody shows the name of who gave a result.
    let unseen: Vec<&str> = SITES.into_iter().filter(|site| !seen.contains(site)).collect();
    assert_eq!(unseen, ["result name"]);
}

#[test]
fn with_real_vocabularies_a_message_of_every_control_token_is_text() {
    let Some(dir) = xtask::testing::data_dir() else { return };
    let mut n = 0;
    for (name, tokenizer) in data::tokenizers() {
        let m = data::metadata(&dir.join(format!("tokenizers/{name}-vocab.gguf")));
        let Some(source) = template_source(&m).unwrap() else { continue };
        let template = parse(source, &tokenizer).unwrap();
        let all = 0..tokenizer.vocab_size() as u32;
        let is_control = |id: &u32| tokenizer.token_kind(*id) == Some(TokenKind::Control);
        let evil: String = all.filter(is_control).filter_map(|id| tokenizer.token_text(id)).collect();
        let render = |text: &str| {
            let ids = render_tokens(&template, &tokenizer, &[message("user", text)], &options()).unwrap();
            (control_ids(&tokenizer, &ids), tokenizer.decode(&ids).unwrap())
        };
        let ((plain, _), (found, text)) = (render("hello"), render(&evil));
        assert_eq!(found, plain, "{name}");
        assert!(String::from_utf8(text).unwrap().contains(&evil), "{name}");
        n += 1;
    }
    assert!(n >= 2);
}

/// Arguments that a function's schema takes, of every type it names.
fn sample_arguments(parameters: &Value) -> Value {
    let mut arguments = serde_json::Map::new();
    for (key, schema) in parameters["properties"].as_object().into_iter().flatten() {
        let value = match schema["type"].as_str().unwrap_or_default() {
            "integer" => json!(7),
            "float" | "number" => json!(2.5),
            "boolean" => json!(true),
            "array" | "tuple" => json!(["a, b", "c"]),
            "dict" | "object" => json!({ "k": "v", "n": 1 }),
            _ => json!("Zürich \"x\" {1}\nnext"),
        };
        arguments.insert(key.clone(), value);
    }
    Value::Object(arguments)
}

#[test]
fn calls_that_real_templates_write_are_read_back() {
    use inferno_text::{PieceKind, ReplyParser, ReplyStart};
    let Some(dir) = xtask::testing::data("templates") else { return };
    let Some(tools) = xtask::testing::data("tools") else { return };
    let lines = std::fs::read_to_string(tools.join("BFCL_v4_multiple.jsonl")).unwrap();
    let functions: Vec<Value> = lines
        .lines()
        .step_by(40)
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["function"][0].clone())
        .collect();
    let mut n_read = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let tokenizer = tokenizer_of(&control_texts(&source));
        let template = parse(&source, &tokenizer).unwrap();
        let profile = template.profile();
        if !profile.reply.takes_calls {
            continue;
        }
        for function in &functions {
            let arguments = sample_arguments(&function["parameters"]);
            let given = match profile.arguments {
                inferno_text::ArgumentsForm::Object => arguments.clone(),
                inferno_text::ArgumentsForm::Text => json!(arguments.to_string()),
            };
            let call = json!({ "id": "abcdef123", "type": "function", "function": {
                "name": function["name"], "arguments": given,
            } });
            let content = if profile.reply.calls_want_null_content { Value::Null } else { json!("") };
            let user = message("user", "Hi");
            let said = json!({ "role": "assistant", "content": content, "tool_calls": [call] });
            let text = |messages: &[Value], is_asked| {
                let with = RenderOptions { add_generation_prompt: is_asked, ..options() };
                // Some templates fail without tools, others with them.
                let parameters = json!({ "type": "object", "properties": { "a": { "type": "string", "description": "b" } } });
                let tool = json!({ "name": "f", "description": "g", "parameters": parameters });
                let tools = Some(json!([{ "type": "function", "function": tool }]));
                let with_tools = RenderOptions { tools, ..with.clone() };
                let rendered = template.render(messages, &with);
                rendered
                    .or_else(|_| template.render(messages, &with_tools))
                    .map(|rendered| rendered.text(&tokenizer))
            };
            let prompt = text(std::slice::from_ref(&user), true).unwrap_or_default();
            let whole = text(&[user, said], false).unwrap();
            let same = prompt.bytes().zip(whole.bytes()).take_while(|(a, b)| a == b).count();
            let same = whole.floor_char_boundary(same);
            // The two may share a part of a mark.
            let mark = whole[..same].rfind('<').filter(|&open| !whole[open..same].contains('>'));
            let answer = &whole[mark.unwrap_or(same)..];
            let name = function["name"].as_str().unwrap();
            let start = ReplyStart {
                in_reasoning: false,
                splits_reasoning: true,
                tools: vec![(name.into(), function["parameters"].clone())],
            };
            let mut parser = ReplyParser::new(&profile.reply, start);
            let mut pieces = Vec::new();
            answer.chars().for_each(|c| parser.push(c.encode_utf8(&mut [0; 4]), &mut pieces));
            parser.finish(&mut pieces);
            let is_call = |kind: &PieceKind| matches!(kind, PieceKind::ToolCall { name: n, .. } if n == name);
            let is_arguments = |kind: &PieceKind| matches!(kind, PieceKind::Arguments { .. });
            let read: String =
                pieces.iter().filter(|p| is_arguments(&p.kind)).map(|p| p.text.as_str()).collect();
            assert_eq!(pieces.iter().filter(|p| is_call(&p.kind)).count(), 1, "{path:?}: {answer}");
            let read: Value = serde_json::from_str(&read).unwrap_or_else(|e| panic!("{path:?}: {e}: {read}"));
            assert_eq!(read, arguments, "{path:?}: {answer}");
            n_read += 1;
        }
    }
    assert!(n_read >= 60, "{n_read} calls");
}

/// Hash of a text: FNV-1a.
fn fnv(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

#[test]
fn real_templates_write_what_jinja2_writes() {
    let Some(dir) = xtask::testing::data("templates") else { return };
    let cases: Value =
        serde_json::from_str(include_str!("../../../../testdata/templates/cases.json")).unwrap();
    let mut wrong = Vec::new();
    for (name, hashes) in cases["hashes"].as_object().unwrap() {
        let source = std::fs::read_to_string(dir.join(format!("{name}.jinja"))).unwrap();
        let tokenizer = tokenizer_of(&control_texts(&source));
        let template = parse(&source, &tokenizer).unwrap();
        for (index, expected) in hashes.as_array().unwrap().iter().enumerate() {
            let case = &cases["cases"][index / 2];
            let with = RenderOptions {
                add_generation_prompt: index % 2 == 0,
                tools: Some(case["tools"].clone()).filter(|tools| !tools.is_null()),
                extra: case["extra"].as_object().unwrap().clone(),
                ..options()
            };
            let rendered = template.render(case["messages"].as_array().unwrap(), &with);
            let rendered = rendered.map(|rendered| rendered.text(&tokenizer));
            let hash = rendered.as_ref().ok().map(|text| fnv(text));
            if hash.as_deref() != expected.as_str() {
                wrong.push(format!("{name}, {index} ({}): {rendered:?}", case["name"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}
