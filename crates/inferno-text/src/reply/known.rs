//! The formats that models are known to write.

use super::format::{CallBody, CallSyntax, RECIPIENT, ReasoningMarks, TaggedCall};

/// All syntaxes of calls, in the order in which they are tried: those with marks of their own before those without.
pub(super) fn known_calls() -> Vec<CallSyntax> {
    let base = CallSyntax {
        call_begin: String::new(),
        call_end: String::new(),
        between: String::new(),
        ..CallSyntax::default()
    };
    let json = |name: &str, arguments: &str, id: Option<&str>| CallBody::Json {
        name: name.into(),
        arguments: arguments.into(),
        id: id.map(str::to_owned),
    };
    let named = |before: &str, after: &str, end: &str| CallBody::Named {
        before_name: before.into(),
        before_id: String::new(),
        after_name: after.into(),
        after_arguments: end.into(),
        counted: false,
    };
    let with_id = CallBody::Named {
        before_name: String::new(),
        before_id: "[CALL_ID]".into(),
        after_name: "[ARGS]".into(),
        after_arguments: String::new(),
        counted: false,
    };
    // A list of JSON objects between two marks.
    let list = |begin: &str, end: &str, body: CallBody| CallSyntax {
        section_begin: begin.into(),
        section_end: end.into(),
        between: ", ".into(),
        list: true,
        body,
        ..base.clone()
    };
    let section = |begin: &str, end: &str, body: CallBody| CallSyntax {
        section_begin: begin.into(),
        section_end: end.into(),
        body,
        ..base.clone()
    };
    let calls = |begin: &str, end: &str, body: CallBody| CallSyntax {
        call_begin: begin.into(),
        call_end: end.into(),
        body,
        ..base.clone()
    };
    let function = |after_key: &str, after_value: &str, lines: bool| {
        CallBody::Tagged(TaggedCall {
            before_name: "<function=".into(),
            after_name: ">\n".into(),
            before_key: "<parameter=".into(),
            after_key: after_key.into(),
            after_value: after_value.into(),
            end: "</function>".into(),
            lines,
            after_type: String::new(),
        })
    };
    let invoke = |mark: &str, after_key: &str, after_type: &str| {
        CallBody::Tagged(TaggedCall {
            before_name: format!("<{mark}invoke name=\""),
            after_name: "\">\n".into(),
            before_key: format!("<{mark}parameter name=\""),
            after_key: after_key.into(),
            after_value: format!("</{mark}parameter>\n"),
            end: format!("</{mark}invoke>\n"),
            lines: false,
            after_type: after_type.into(),
        })
    };
    let glm = CallBody::Tagged(TaggedCall {
        before_name: String::new(),
        after_name: "\n".into(),
        before_key: "<arg_key>".into(),
        after_key: "</arg_key>\n<arg_value>".into(),
        after_value: "</arg_value>\n".into(),
        end: "</tool_call>".into(),
        lines: false,
        after_type: String::new(),
    });
    let deepseek = |body: CallBody| CallSyntax {
        call_begin: "<｜tool▁call▁begin｜>".into(),
        call_end: "<｜tool▁call▁end｜>".into(),
        ..section("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", body)
    };
    let kimi = CallSyntax {
        call_begin: "<|tool_call_begin|>".into(),
        call_end: "<|tool_call_end|>".into(),
        ..section(
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
            CallBody::Named {
                before_name: "functions.".into(),
                before_id: String::new(),
                after_name: "<|tool_call_argument_begin|>".into(),
                after_arguments: String::new(),
                counted: true,
            },
        )
    };
    let plain = || json("name", "arguments", None);
    vec![
        // gpt-oss.
        calls("", "", CallBody::Harmony),
        // Hermes, Qwen 2.5 and 3.
        CallSyntax::default(),
        // Qwen3-Coder, Qwen 3.5, Nemotron 3, Step 3.5.
        CallSyntax {
            between: "\n".into(),
            ..calls("<tool_call>\n", "\n</tool_call>", function(">\n", "\n</parameter>\n", true))
        },
        // GLM 4.5 and later.
        calls("<tool_call>", "", glm),
        // Seed-OSS.
        calls("<seed:tool_call>\n", "\n</seed:tool_call>", function(">", "</parameter>\n", false)),
        // MiniMax M2.
        section("<minimax:tool_call>\n", "</minimax:tool_call>", invoke("", "\">", "")),
        // DeepSeek V4 and V3.2.
        section("<｜DSML｜tool_calls>\n", "</｜DSML｜tool_calls>", invoke("｜DSML｜", "\" string=\"", "\">")),
        section(
            "<｜DSML｜function_calls>\n",
            "</｜DSML｜function_calls>",
            invoke("｜DSML｜", "\" string=\"", "\">"),
        ),
        // DeepSeek V3.1; V3 and R1.
        deepseek(named("", "<｜tool▁sep｜>", "")),
        deepseek(named("function<｜tool▁sep｜>", "\n```json\n", "\n```")),
        // Kimi K2.
        kimi,
        // Mistral: new, Small 3.2, and old.
        calls("[TOOL_CALLS]", "", named("", "[ARGS]", "")),
        calls("[TOOL_CALLS]", "", with_id),
        list("[TOOL_CALLS]", "", json("name", "arguments", Some("id"))),
        // Gemma 4.
        calls("<|tool_call>", "<tool_call|>", CallBody::Gemma),
        // LFM2.
        list("<|tool_call_start|>", "<|tool_call_end|>", CallBody::Python),
        // Command R7B and later; Command R+.
        list("<|START_ACTION|>", "<|END_ACTION|>", json("tool_name", "parameters", Some("tool_call_id"))),
        list("Action:\n```json\n", "```", json("tool_name", "parameters", None)),
        // Nemotron; Hunyuan and Apriel; Firefunction.
        list("<TOOLCALL>", "</TOOLCALL>", plain()),
        list("<tool_calls>", "</tool_calls>", plain()),
        list("functools", "", plain()),
        // Phi-4-mini; Granite 3.
        list("<|tool_call|>", "<|/tool_call|>", plain()),
        list("<|tool_call|>", "", plain()),
        // GigaChat 3 and 3.1.
        calls("function call<|role_sep|>\n", "", plain()),
        calls("<|function_call|>", "", plain()),
        // Functionary 3.1 and 3.2.
        calls("", "", named("<function=", ">", "</function>")),
        CallSyntax { between: RECIPIENT.into(), ..calls("", "", CallBody::Recipients) },
        // Llama 3's JSON; Llama 4's lists.
        CallSyntax {
            bare: true,
            between: "; ".into(),
            ..section("<|python_tag|>", "", json("name", "parameters", None))
        },
        CallSyntax { bare: true, ..list("<|python_start|>", "<|python_end|>", CallBody::Python) },
    ]
}

/// All marks around reasoning.
pub(crate) fn known_reasoning() -> Vec<ReasoningMarks> {
    let marks = |begin: &str, end: &str, close: &str| ReasoningMarks {
        begin: begin.into(),
        end: end.into(),
        close: close.into(),
    };
    vec![
        marks("<think>", "</think>", "\n</think>\n\n"),
        marks("<seed:think>", "</seed:think>", "\n</seed:think>\n"),
        marks("[THINK]", "[/THINK]", "[/THINK]"),
        marks("<|START_THINKING|>", "<|END_THINKING|>", "<|END_THINKING|>"),
        marks("<|channel>thought\n", "<channel|>", "<channel|>"),
        marks("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]", "\n[BEGIN FINAL RESPONSE]\n"),
        marks("<thinking>", "</thinking>", "\n</thinking>\n\n"),
        marks("<reasoning>", "</reasoning>", "\n</reasoning>\n\n"),
        marks(
            "<|channel|>analysis<|message|>",
            "<|end|>",
            "<|end|><|start|>assistant<|channel|>final<|message|>",
        ),
    ]
}
