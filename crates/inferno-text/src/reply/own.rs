//! Texts that stand in for what a chat template lacks: tools, calls and results as plain messages.

use std::fmt::Write;

use serde_json::Value;

use super::write::spaced;

/// Text for the system message of a model whose template shows no tools: the tools (as clients send them, each an object
/// with `type` and `function`), and how to call them in Hermes' syntax.
pub fn system_text(tools: &[Value]) -> String {
    let example = "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>";
    system_text_with(tools, example)
}

/// Text about tools with an example of a call.
pub(super) fn system_text_with(tools: &[Value], example: &str) -> String {
    let mut text = String::from(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function \
         signatures within <tools></tools> XML tags:\n<tools>",
    );
    for tool in tools {
        let _ = write!(text, "\n{}", spaced(tool));
    }
    let _ = write!(text, "\n</tools>\n\nTo call functions, write each call in exactly this form:\n{example}");
    text
}

/// Text of a user's message that stands for a tool's result, for a template that does not render the role `tool`.
pub fn result_text(result: &str) -> String {
    format!("<tool_response>\n{result}\n</tool_response>")
}
