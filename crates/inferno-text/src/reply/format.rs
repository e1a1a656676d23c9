//! Formats in which models write reasoning and tool calls, as data.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Format in which a model writes reasoning and tool calls, recognized from its chat template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyFormat {
    /// Syntax of tool calls.
    pub calls: CallSyntax,
    /// Marks around reasoning: those of the template, or `<think>`, which a model may write at an answer's beginning
    /// although its template does not know of it.
    pub reasoning: Option<ReasoningMarks>,
    /// Whether the template knows of reasoning. If not, `reasoning` is a guess.
    pub thinks: bool,
    /// Whether the template shows no tools: they go to the system message, as [`system_text`](Self::system_text) writes
    /// them.
    pub needs_system_text: bool,
    /// Whether the template renders `tool_calls` of assistant messages. If not, they go to the message's content, as the
    /// model would write them.
    pub takes_calls: bool,
    /// Whether the template renders calls only of messages whose `content` is null.
    pub calls_want_null_content: bool,
    /// Whether the template renders messages of the role `tool`. If not, they become a user's messages, as
    /// [`result_text`](crate::reply::result_text) writes them.
    pub takes_results: bool,
    /// Whether the template renders several calls of one message.
    pub takes_parallel_calls: bool,
    /// Form of the ids of calls that the template takes.
    pub call_ids: CallIds,
    /// Boolean template variables that change the prompt, out of `enable_thinking`, `thinking` and `reasoning`.
    pub thinking_variables: Vec<String>,
    /// Whether the template variable `reasoning_effort` changes the prompt.
    pub takes_effort: bool,
    /// Fields of assistant messages in which the template takes earlier reasoning, out of `reasoning_content`,
    /// `reasoning` and `thinking`. Most templates show it only for messages after the last user's.
    pub reasoning_fields: Vec<String>,
}

/// Marks around a model's reasoning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasoningMarks {
    /// Text that opens it, written by the prompt or by the model: `<think>`.
    pub begin: String,
    /// Text that ends it: `</think>`.
    pub end: String,
    /// Text that ends it and begins the answer, for an answer whose budget of reasoning is spent.
    pub close: String,
}

/// Form of the ids of tool calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallIds {
    /// Any text.
    #[default]
    Any,
    /// Nine letters or digits, as Mistral's templates demand.
    NineAlphanumeric,
}

/// Syntax of tool calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallSyntax {
    /// Text before the first call of a section; empty where calls stand by themselves.
    pub section_begin: String,
    /// Text after the last call of a section.
    pub section_end: String,
    /// Text before each call.
    pub call_begin: String,
    /// Text after each call.
    pub call_end: String,
    /// Text between two calls.
    pub between: String,
    /// Whether the calls of a section are a list: between `[` and `]`, with `,` between them.
    pub list: bool,
    /// Whether an answer may begin with calls that have none of these texts around them.
    pub bare: bool,
    /// The call itself.
    pub body: CallBody,
}

/// Syntax of one call, without the texts around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallBody {
    /// A JSON object: `{"name": "f", "arguments": {}}`.
    Json {
        /// Key of the function's name.
        name: String,
        /// Key of the arguments.
        arguments: String,
        /// Key of an id, where the format has one.
        id: Option<String>,
    },
    /// The function's name, and then its arguments as JSON: `f[ARGS]{}`.
    Named {
        /// Text before the name.
        before_name: String,
        /// Text between the name and the call's id, where the format has one: `f[CALL_ID]abcdef123[ARGS]{}`.
        before_id: String,
        /// Text between the name, or the id, and the arguments.
        after_name: String,
        /// Text after the arguments.
        after_arguments: String,
        /// Whether a count follows the name, as in Kimi's `functions.f:0`, and both are the call's id.
        counted: bool,
    },
    /// The function's name, and then a tag around each argument: `<function=f><parameter=a>1</parameter></function>`.
    Tagged(TaggedCall),
    /// A call of Python, with keyword arguments: `f(a=1, b="x")`.
    Python,
    /// Gemma 4's `call:f{a:1,b:<|"|>x<|"|>}`.
    Gemma,
    /// gpt-oss' messages to `functions.f`; the texts around calls are not used.
    Harmony,
    /// Functionary 3.2's messages, each after its recipient, texts to `all`: `all\ntext>>>f\n{}`. Of the texts around calls
    /// only the one between them is used.
    Recipients,
}

/// Texts of a call whose arguments are in tags. White space around all of them is optional.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedCall {
    /// Text before the function's name.
    pub before_name: String,
    /// Text after the function's name.
    pub after_name: String,
    /// Text before an argument's name.
    pub before_key: String,
    /// Text after an argument's name.
    pub after_key: String,
    /// Text after an argument's value.
    pub after_value: String,
    /// Text after the last argument.
    pub end: String,
    /// Whether values stand on lines of their own, so that a line break on either side is not theirs.
    pub lines: bool,
    /// Text between an argument's name and its value that says whether the value is a string (`true`, `false`), around
    /// which are `after_key` and this text. Empty where the format states no types.
    pub after_type: String,
}

impl ReplyFormat {
    /// Whether the answer to a prompt that ends with `tail` (control tokens included, as text) begins within reasoning.
    pub fn opens_reasoning(&self, tail: &str) -> bool {
        self.reasoning
            .as_ref()
            .is_some_and(|marks| !marks.begin.is_empty() && tail.trim_end().ends_with(marks.begin.trim_end()))
    }

    /// Text for the system message of a model whose template shows no tools: the tools (as clients send them, each an
    /// object with `type` and `function`), and how to call them in this format.
    pub fn system_text(&self, tools: &[Value]) -> String {
        let arguments = Map::from_iter([("<argument>".to_owned(), Value::from("<value>"))]);
        let example = self.calls.write(&[("<function-name>", &arguments)]);
        super::own::system_text_with(tools, &example)
    }

    /// Texts with which calls begin wherever a [`ReplyParser`](crate::ReplyParser) reads them, in reasoning too.
    pub fn begins_of_calls(&self) -> Vec<&str> {
        let calls = &self.calls;
        let body = match &calls.body {
            CallBody::Named { before_name, .. } if calls.call_begin.is_empty() => before_name,
            CallBody::Tagged(tags) => &tags.before_name,
            _ => "",
        };
        let mut begins: Vec<&str> = [&*calls.section_begin, &calls.call_begin, body].map(str::trim).into();
        begins.retain(|begin| !begin.is_empty());
        begins.dedup();
        begins
    }

    /// Texts of control tokens that a [`ReplyParser`](crate::ReplyParser) must see: others may be hidden.
    pub fn marks(&self) -> Vec<&str> {
        let calls = &self.calls;
        let mut marks = vec![&*calls.section_begin, &calls.section_end, &calls.call_begin, &calls.call_end];
        match &calls.body {
            CallBody::Json { .. } | CallBody::Python | CallBody::Recipients => {}
            CallBody::Named { before_name, before_id, after_name, after_arguments, .. } => {
                marks.extend([&**before_name, before_id, after_name, after_arguments]);
            }
            CallBody::Tagged(tags) => marks.extend([
                &*tags.before_name,
                &tags.after_name,
                &tags.before_key,
                &tags.after_key,
                &tags.after_value,
                &tags.end,
            ]),
            CallBody::Gemma => marks.push("<|\"|>"),
            CallBody::Harmony => marks.extend(HARMONY),
        }
        if let Some(reasoning) = &self.reasoning {
            marks.extend([&*reasoning.begin, &reasoning.end]);
        }
        // A mark may be a control token and text after it.
        let mut marks: Vec<&str> = marks.into_iter().flat_map(|mark| [mark, mark.trim()]).collect();
        if self.reasoning.as_ref().is_some_and(|marks| marks.begin.starts_with("<|channel>")) {
            marks.push("<|channel>");
        }
        marks.retain(|mark| !mark.is_empty());
        marks.sort_unstable();
        marks.dedup();
        marks
    }
}

/// Control tokens of gpt-oss' messages.
pub(super) const HARMONY: [&str; 7] =
    ["<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|call|>", "<|return|>"];

/// Text before each of Functionary's messages but the first, which the prompt has begun.
pub(super) const RECIPIENT: &str = ">>>";
/// Recipient of Functionary's texts.
pub(super) const EVERYBODY: &str = "all";

impl Default for ReplyFormat {
    /// Hermes' calls by a system text, and no reasoning.
    fn default() -> ReplyFormat {
        ReplyFormat {
            calls: CallSyntax::default(),
            reasoning: None,
            thinks: false,
            needs_system_text: true,
            takes_calls: false,
            calls_want_null_content: false,
            takes_results: false,
            takes_parallel_calls: false,
            call_ids: CallIds::Any,
            thinking_variables: Vec::new(),
            takes_effort: false,
            reasoning_fields: Vec::new(),
        }
    }
}

impl Default for CallSyntax {
    /// Hermes' JSON in `<tool_call>`.
    fn default() -> CallSyntax {
        CallSyntax {
            section_begin: String::new(),
            section_end: String::new(),
            call_begin: "<tool_call>\n".into(),
            call_end: "\n</tool_call>".into(),
            between: "\n".into(),
            list: false,
            bare: false,
            body: CallBody::Json { name: "name".into(), arguments: "arguments".into(), id: None },
        }
    }
}
