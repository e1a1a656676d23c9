//! Texts that stand in for what a chat template lacks: tools, calls and results as plain messages.

use std::fmt::Write;

use serde_json::Value;

/// Text for the system message of a model whose template shows no tools: the tools (as clients send them, each an object
/// with `type` and `function`), and how to call them in Hermes' syntax.
pub fn system_text(tools: &[Value]) -> String {
    let mut text = String::from(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function \
         signatures within <tools></tools> XML tags:\n<tools>",
    );
    for tool in tools {
        let _ = write!(text, "\n{tool}");
    }
    text.push_str(
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments within \
         <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": \
         <args-json-object>}\n</tool_call>",
    );
    text
}

/// Text of a user's message that stands for a tool's result, for a template that does not render the role `tool`.
pub fn result_text(result: &str) -> String {
    format!("<tool_response>\n{result}\n</tool_response>")
}
