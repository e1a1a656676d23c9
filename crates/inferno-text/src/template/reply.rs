//! Recognizes the format of a model's answers, by rendering probe calls with its template and reading them back.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::{ArgumentsForm, ChatRenderer, ChatTemplate, RenderOptions, RenderedPart};
use crate::reply::{
    CallBody, CallIds, CallSyntax, PieceKind, ReplyFormat, ReplyParser, ReplyStart, known_reasoning,
};

/// Texts that no template writes by itself.
const NAME: &str = "probe_function";
const KEY: &str = "kwyjibo";
const VALUE: &str = "Xyzzyva";
/// An id that Mistral's templates take.
const ID: &str = "abcdef123";

/// The format of the answers of a model with this template, and the form of arguments that it takes.
pub(super) fn recognize(template: &ChatTemplate, source: &str) -> (ReplyFormat, ArgumentsForm) {
    let mut probe = Probe {
        template,
        is_usable: true,
        arguments: template.profile.arguments,
        has_null_content: false,
        extra: Vec::new(),
    };
    let user = || json!({ "role": "user", "content": "Hi" });
    let asked = probe.render(&[user()], true);
    probe.is_usable = asked.is_some();
    let prompt = asked.unwrap_or_default();
    let mut read = None;
    let other = match probe.arguments {
        ArgumentsForm::Object => ArgumentsForm::Text,
        ArgumentsForm::Text => ArgumentsForm::Object,
    };
    let forms = [(false, probe.arguments), (true, probe.arguments), (false, other), (true, other)];
    for (has_null_content, arguments) in forms {
        let tried = Probe { has_null_content, arguments, ..probe.clone() };
        let Some(called) = tried.render(&[user(), tried.call(1, ID)], false) else { continue };
        let written = after_common(&prompt, &called);
        read = CallSyntax::known().into_iter().find(|calls| reads(calls, written));
        if read.is_some() {
            probe = tried;
            break;
        }
    }
    let called = probe.render(&[user(), probe.call(1, ID)], false);
    let takes_calls = read.is_some() || called.as_deref().is_some_and(|called| called.contains(VALUE));
    let calls = read.or_else(|| CallSyntax::known().into_iter().find(|calls| names(source, calls)));
    let two = probe.render(&[user(), probe.call(2, ID)], false);
    let result = json!({ "role": "tool", "content": VALUE, "name": NAME, "tool_call_id": ID });
    let results = probe.render(&[user(), probe.plain_call(), result], true);
    let long = probe.render(&[user(), probe.call(1, "call_0123456789abcdef")], false);
    let begins_with = |begin: &str| source.contains(begin.trim()) || prompt.contains(begin.trim());
    let reasoning = known_reasoning().into_iter().find(|marks| {
        // A template may do no more than cut earlier reasoning off at its end.
        source.contains(&marks.end) && (marks.end.starts_with("</") || begins_with(&marks.begin))
    });
    let changes = |name: &'static str, values: [Value; 2]| {
        let [one, other] = values.map(|value| {
            let tried = Probe { extra: vec![(name, value)], ..probe.clone() };
            tried.render(&[user()], true)
        });
        one.is_some() && other.is_some() && one != other
    };
    let thinking = ["enable_thinking", "thinking", "reasoning"];
    let thinking = thinking.into_iter().filter(|name| changes(name, [json!(true), json!(false)]));
    let fields = ["reasoning_content", "reasoning", "thinking"].into_iter();
    let calls = calls.unwrap_or_default();
    // A model without marks may write `<think>` all the same, unless its answers begin with a recipient.
    let guess = known_reasoning().into_iter().next().filter(|_| calls.body != CallBody::Recipients);
    let format = ReplyFormat {
        needs_system_text: !(prompt.contains(NAME) && prompt.contains(KEY)),
        takes_calls,
        calls_want_null_content: probe.has_null_content,
        takes_results: results.is_some_and(|results| results.contains(VALUE)),
        takes_parallel_calls: two.is_some_and(|two| two.matches(VALUE).count() == 2),
        call_ids: if called.is_some() && long.is_none() { CallIds::NineAlphanumeric } else { CallIds::Any },
        thinking_variables: thinking.map(str::to_owned).collect(),
        takes_effort: changes("reasoning_effort", [json!("low"), json!("high")]),
        reasoning_fields: fields.filter(|field| probe.takes_reasoning(field)).map(str::to_owned).collect(),
        thinks: reasoning.is_some(),
        reasoning: reasoning.or(guess),
        calls,
    };
    (format, probe.arguments)
}

/// Renders probe messages. Failures are `None`.
#[derive(Clone)]
struct Probe<'t> {
    template: &'t ChatTemplate,
    /// Whether the template takes the plainest conversation. If not, nothing more is tried: each failure may take all the
    /// time that a template has.
    is_usable: bool,
    arguments: ArgumentsForm,
    /// Whether calls stand in messages whose content is null.
    has_null_content: bool,
    /// Further template variables.
    extra: Vec<(&'static str, Value)>,
}

impl Probe<'_> {
    /// The prompt as text, control tokens included: with a tool, or without one where the template fails on it.
    fn render(&self, messages: &[Value], is_asked: bool) -> Option<String> {
        if !self.is_usable {
            return None;
        }
        let properties = json!({ KEY: { "type": "string", "description": "Word" } });
        let parameters = json!({ "type": "object", "properties": properties, "required": [KEY] });
        let function = json!({ "name": NAME, "description": "Probes", "parameters": parameters });
        let options = RenderOptions {
            add_generation_prompt: is_asked,
            tools: Some(json!([{ "type": "function", "function": function }])),
            extra: self.extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            now: SystemTime::UNIX_EPOCH,
            max_bytes: 1 << 20,
            ..RenderOptions::default()
        };
        let bare = RenderOptions { tools: None, ..options.clone() };
        let rendered = self.template.render(messages, &options);
        let rendered = rendered.or_else(|_| self.template.render(messages, &bare)).ok()?;
        let reserved = &self.template.tokens.reserved;
        let text = |part: &RenderedPart| match part {
            RenderedPart::Token(id) => {
                reserved.iter().find(|(token, _)| token == id).map_or("", |(_, text)| text).to_owned()
            }
            RenderedPart::Text(text) => text.clone(),
        };
        Some(rendered.parts.iter().map(text).collect())
    }

    /// An assistant's message with `n` equal calls.
    fn call(&self, n: usize, id: &str) -> Value {
        let function = json!({ "name": NAME, "arguments": self.arguments(VALUE) });
        let call = json!({ "id": id, "type": "function", "function": function });
        let content = if self.has_null_content { Value::Null } else { json!("") };
        json!({ "role": "assistant", "content": content, "tool_calls": vec![call; n] })
    }

    /// A call whose arguments do not have [`VALUE`].
    fn plain_call(&self) -> Value {
        let mut call = self.call(1, ID);
        call["tool_calls"][0]["function"]["arguments"] = self.arguments("a");
        call
    }

    fn arguments(&self, value: &str) -> Value {
        let arguments = json!({ KEY: value });
        match self.arguments {
            ArgumentsForm::Object => arguments,
            ArgumentsForm::Text => json!(arguments.to_string()),
        }
    }

    /// Whether earlier reasoning in a field is shown, beside a text or beside a call.
    fn takes_reasoning(&self, field: &str) -> bool {
        let user = json!({ "role": "user", "content": "Hi" });
        let said = json!({ "role": "assistant", "content": "Hello", field: VALUE });
        let mut called = self.plain_call();
        called[field] = VALUE.into();
        let result = json!({ "role": "tool", "content": "b", "name": NAME, "tool_call_id": ID });
        let chats =
            [vec![user.clone(), said], vec![user.clone(), called.clone()], vec![user, called, result]];
        let thinks = Probe { extra: vec![("enable_thinking", json!(true))], ..self.clone() };
        let shown = |probe: &Probe<'_>| {
            chats.iter().any(|chat| probe.render(chat, false).is_some_and(|text| text.contains(VALUE)))
        };
        shown(self) || shown(&thinks)
    }
}

/// The part of `text` after the beginning that it shares with `other`.
fn after_common<'t>(other: &str, text: &'t str) -> &'t str {
    let same = text.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    &text[text.floor_char_boundary(same)..]
}

/// Whether a syntax reads the probe call out of a prompt.
fn reads(calls: &CallSyntax, written: &str) -> bool {
    let format = ReplyFormat { calls: calls.clone(), ..ReplyFormat::default() };
    let schema = json!({ "properties": { KEY: { "type": "string" } } });
    let tools = vec![(NAME.to_owned(), schema)];
    let start = ReplyStart { in_reasoning: false, splits_reasoning: false, tools };
    let mut parser = ReplyParser::new(&format, start);
    let mut pieces = Vec::new();
    parser.push(written, &mut pieces);
    parser.finish(&mut pieces);
    let is_call = |kind: &PieceKind| matches!(kind, PieceKind::ToolCall { name, .. } if name == NAME);
    let arguments = pieces.iter().filter(|piece| matches!(piece.kind, PieceKind::Arguments { .. }));
    let arguments: String = arguments.map(|piece| piece.text.as_str()).collect();
    let expected = Map::from_iter([(KEY.to_owned(), Value::from(VALUE))]);
    // The marks after a call are a part of its syntax too. Some templates forget the section's.
    let rest: String = pieces
        .iter()
        .filter(|piece| piece.kind == PieceKind::Text)
        .map(|piece| piece.text.as_str())
        .collect();
    let has_mark = |end: &str| written.contains(end.trim());
    let has_marks = has_mark(&calls.call_end) && (!calls.list || calls.bare || has_mark(&calls.section_end));
    pieces.iter().filter(|piece| is_call(&piece.kind)).count() == 1
        && serde_json::from_str(&arguments).is_ok_and(|read: Map<String, Value>| read == expected)
        && has_marks
        && !rest.contains(VALUE)
}

/// Whether a template that renders no calls names the marks of a syntax: in its text about tools, or in comments. LFM2's
/// names those of the list of tools alone.
fn names(source: &str, calls: &CallSyntax) -> bool {
    let marks = [&calls.section_begin, &calls.section_end, &calls.call_begin, &calls.call_end];
    let mut marks = marks.into_iter().map(|mark| mark.trim()).filter(|mark| !mark.is_empty()).peekable();
    let is_marked = marks.peek().is_some();
    let is_lfm = calls.section_begin == "<|tool_call_start|>" && source.contains("<|tool_list_start|>");
    !calls.bare && is_marked && (is_lfm || marks.all(|mark| source.contains(mark)))
}
