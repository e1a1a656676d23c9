//! Fields of requests, by the parser that reads them.

use super::Kind::{Any, Boolean, Integer, Number, Object, Objects, Text, Texts, Tokens};

/// Type and range of a field. Null is allowed for all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Any,
    Boolean,
    Text,
    /// From, to.
    Integer(i64, i64),
    /// From, to.
    Number(f32, f32),
    Object,
    Objects,
    /// One or several.
    Texts,
    Tokens,
}

/// Names of one parameter, what it may be, and what it is.
pub(super) type Field = (&'static [&'static str], Kind, &'static str);

/// A body.
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) tables: &'static [&'static [Field]],
    pub(super) required: &'static [&'static str],
}

const U32: i64 = u32::MAX as i64;
const I32: i64 = i32::MAX as i64;

/// Parameters of generation, in all dialects.
const OPTIONS: &[Field] = &[
    (&["model"], Text, "A name of the model, or `default`"),
    (
        &["max_completion_tokens", "max_tokens", "n_predict"],
        Integer(-1, U32),
        "Tokens at most; -1: as the context has room for; `n_predict` 0: read the prompt alone",
    ),
    (&["n", "n_cmpl"], Integer(1, 16), "Choices"),
    (&["best_of"], Any, "Taken where it equals `n`"),
    (&["stop"], Texts, "Up to 4 strings that end the answer"),
    (&["stop_token_ids"], Tokens, "Tokens that end the answer"),
    (&["include_stop_str_in_output"], Boolean, ""),
    (&["min_tokens"], Integer(0, U32), ""),
    (&["ignore_eos"], Boolean, "Go on behind the model's own end"),
    (&["skip_special_tokens"], Boolean, "Leave control tokens out of the text"),
    (&["stream"], Boolean, ""),
    (&["stream_options"], Object, "`include_usage`, `continuous_usage_stats`"),
    (&["return_progress"], Boolean, "Events of the prompt's progress in a stream"),
    (&["timings_per_token"], Boolean, "Times in every event of a stream"),
    (&["temperature"], Number(0.0, 2.0), "0 always takes the best token"),
    (&["do_sample"], Boolean, "false is `temperature: 0`"),
    (&["top_k"], Integer(-1, I32), "0 and -1 keep all"),
    (&["top_p", "min_p"], Number(0.0, 1.0), ""),
    (&["seed"], Any, "An integer of 64 bits; -1 is another one every time"),
    (&["frequency_penalty", "presence_penalty"], Number(-2.0, 2.0), "Of the completion"),
    (&["repetition_penalty", "repeat_penalty"], Number(0.01, 10.0), "Of prompt and completion"),
    (&["repeat_last_n", "penalty_last_n"], Integer(-1, U32), "Tokens that it looks back at; -1: all"),
    (&["logit_bias"], Any, "From token ids to numbers from -100 to 100; false bans the token"),
    (&["allowed_token_ids"], Tokens, "No other tokens"),
    (&["bad_words"], Texts, "Words that may not come"),
    (&["logprob_token_ids"], Tokens, "Tokens whose log-probabilities are told in place of those of the best"),
    (&["prompt_logprobs"], Any, "0 to 20, not in a stream: log-probabilities of the prompt"),
    (&["top_n_sigma", "nsigma"], Number(-1.0, 100.0), ""),
    (&["typical_p", "xtc_probability", "xtc_threshold"], Number(0.0, 1.0), ""),
    (&["dynatemp_range", "dynatemp_exponent", "dry_multiplier", "dry_base"], Number(0.0, 100.0), ""),
    (&["min_keep", "dry_allowed_length"], Integer(0, I32), ""),
    (&["dry_penalty_last_n"], Integer(-1, I32), ""),
    (&["dry_sequence_breakers"], Any, "Strings"),
    (&["mirostat", "mirostat_mode"], Integer(0, 2), ""),
    (&["mirostat_tau"], Number(0.0, 100.0), ""),
    (&["mirostat_eta"], Number(0.0, 10.0), ""),
    (&["samplers"], Any, "Names in an array, or letters in a string"),
    (&["response_format"], Any, "`text`, `json_object`, `json_schema` or `structural_tag`"),
    (&["json_schema", "guided_json", "structural_tag"], Any, "An object, or a string of one"),
    (
        &["grammar", "guided_grammar", "ebnf", "guided_regex", "regex"],
        Any,
        "A text; an empty one asks for nothing",
    ),
    (&["guided_choice"], Any, "Strings, one of which the answer is"),
    (
        &["structured_outputs"],
        Object,
        "vLLM's: one of `json`, `regex`, `choice`, `grammar`, `json_object`, `structural_tag`",
    ),
    (
        &["truncate_prompt_tokens"],
        Integer(-1, U32),
        "Cut the prompt to this number of tokens; -1: to what fits. `warnings` says so",
    ),
    (&["truncation_side"], Text, "`left` (the default) or `right`"),
    (&["priority"], Integer(-100, 100), "Lower first"),
    (&["cache_salt"], Text, "Only requests with the same one share cached prefixes"),
    (&["deadline_ms"], Integer(1, 86_400_000), "The request is given up after it"),
    (&["return_token_ids", "return_tokens_as_token_ids"], Boolean, ""),
];

const MESSAGES: &[Field] = &[
    (&["messages"], Objects, "The conversation: `role` and `content`"),
    (&["chat_template_kwargs"], Object, "Variables of the template"),
    (&["enable_thinking"], Boolean, "Whether the model reasons"),
    (&["thinking", "think"], Any, "The same in other APIs' words"),
    (&["reasoning_effort"], Text, ""),
    (
        &[
            "reasoning_budget",
            "reasoning_budget_tokens",
            "thinking_budget_tokens",
            "thinking_budget",
            "thinking_token_budget",
            "max_thinking_tokens",
        ],
        Integer(-1, U32),
        "Tokens of reasoning at most; -1: no limit",
    ),
    (&["reasoning_format"], Any, "`auto`, `none`, `deepseek` or `deepseek-legacy`"),
    (&["separate_reasoning", "include_reasoning"], Boolean, "Tell reasoning apart; tell it at all"),
    (&["tools", "functions"], Objects, ""),
    (&["tool_choice", "function_call"], Any, "`auto`, `none`, `required`, or a function"),
    (&["parallel_tool_calls"], Boolean, ""),
    (&["add_generation_prompt", "continue_final_message"], Boolean, ""),
    (&["echo"], Boolean, "The last message's text in front of the content, if it is the assistant's"),
];

const CHAT: &[Field] = &[
    (&["logprobs"], Boolean, ""),
    (&["top_logprobs"], Any, "0 to 20"),
    (&["add_special_tokens"], Boolean, ""),
];

const PROMPTS: &[Field] =
    &[(&["prompt"], Any, "A string, an array of strings, an array of token ids, or an array of those")];

const COMPLETION: &[Field] = &[
    (&["logprobs"], Any, "0 to 20"),
    (&["echo"], Boolean, "The prompt in front of the text"),
    (&["add_special_tokens"], Boolean, ""),
];

const NATIVE: &[Field] = &[
    (&["n_probs"], Integer(0, 20), "Probabilities of this many tokens"),
    (&["post_sampling_probs"], Boolean, "Probabilities that tokens are drawn with, in place of the model's"),
    (&["return_tokens"], Boolean, "Token ids of the answer in `tokens`"),
    (&["id_slot"], Integer(-1, 31), "Told again and otherwise ignored: any sequence shares any prefix"),
    (&["cache_prompt"], Boolean, "Ignored: prefixes are shared by themselves"),
    (
        &["response_fields"],
        Texts,
        "Members of the answer that are wanted; a path takes a member out of an object",
    ),
    (&["n_indent"], Integer(0, 4096), "End at a line with less indentation"),
    (&["t_max_predict_ms"], Integer(-1, U32), "End at the next line break after this time"),
    (&["t_max_prompt_ms"], Integer(-1, U32), "Ignored, as llama-server does"),
];

const NATIVE_PROMPT: &[Field] = &[(
    &["prompt"],
    Any,
    "A string, an array of strings and token ids, an object with `prompt_string`, or an array of those",
)];

const GAP: &[Field] = &[
    (&["input_prefix", "input_suffix"], Any, "Text before and behind the gap"),
    (&["input_extra"], Objects, "Other files: `filename`, `text`"),
    (&["prompt"], Text, "The start of the text in the gap"),
];

const TOKENIZE: &[Field] = &[
    (&["content"], Text, "llama-server's"),
    (&["prompt"], Text, "vLLM's"),
    (&["add_special", "add_special_tokens"], Boolean, "A start token in front, if the model wants one"),
    (&["parse_special"], Boolean, ""),
    (&["with_pieces", "return_token_strs"], Boolean, ""),
];

const DETOKENIZE: &[Field] = &[(&["tokens"], Tokens, ""), (&["model"], Text, "")];

/// Of a chat whose prompt alone is asked for.
const PROMPT: &[Field] = &[(&["model"], Text, ""), (&["stream"], Any, "Changes no prompt")];

const LOOKUP: &[Field] = &[(&["conversation_ids"], Any, "Conversations that the caller knows")];

/// Of `/v1/messages`; others are those of chats.
const ANTHROPIC: &[Field] = &[
    (&["model"], Text, ""),
    (&["messages"], Objects, ""),
    (&["system"], Any, "A text, or text blocks"),
    (&["tools"], Objects, ""),
    (&["tool_choice", "thinking", "output_config"], Object, ""),
    (&["stop_sequences"], Texts, ""),
    (&["output_format"], Any, "The older name of `output_config.format`"),
    (&["cache_control"], Any, "Taken: prefixes are shared by themselves"),
    (&["context_management", "diagnostics"], Object, "Taken, and answered with nothing"),
];

/// Of an answer to `/v1/messages`.
const ANTHROPIC_ANSWER: &[Field] = &[
    (&["max_tokens"], Integer(1, U32), ""),
    (&["temperature"], Number(0.0, 2.0), ""),
    (&["top_p"], Number(0.0, 1.0), ""),
    (&["top_k"], Integer(-1, I32), ""),
    (&["stream"], Boolean, ""),
];

/// Members of `/v1/messages/count_tokens` that are ignored.
const ANTHROPIC_COUNT: &[Field] =
    &[(&["max_tokens", "temperature", "top_p", "top_k", "stream"], Any, "Ignored: changes no prompt")];

/// Of `/v1/responses`; others are those of chats.
const RESPONSE: &[Field] = &[
    (&["input"], Any, "A text, or items of the conversation"),
    (&["instructions"], Text, "A system message in front of it"),
    (&["previous_response_id"], Text, "A kept response whose conversation comes before `input`"),
    (&["store"], Boolean, "Keep the response; true by default"),
    (&["background"], Boolean, "Answer at once, and compute meanwhile"),
    (&["stream"], Any, ""),
    (&["stream_options"], Object, "`include_obfuscation` is taken and adds nothing"),
    (&["max_output_tokens"], Integer(1, U32), "Reasoning included"),
    (
        &["tools"],
        Objects,
        "Functions and custom tools; those of other types are left out, and `warnings` says so",
    ),
    (&["tool_choice"], Any, "`auto`, `none`, `required`, a function or custom tool, or `allowed_tools`"),
    (&["max_tool_calls"], Integer(1, U32), "Ignored: only functions are called"),
    (&["parallel_tool_calls"], Any, "false: one call at most"),
    (&["include"], Texts, ""),
    (&["top_logprobs"], Any, "0 to 20"),
    (&["text"], Object, "`format`, `verbosity`"),
    (&["reasoning"], Object, "`effort`, `summary`"),
    (
        &["truncation"],
        Any,
        "`disabled`, or `auto`: the oldest items are left out where the context has no room",
    ),
    (&["metadata"], Object, "Told again"),
    (&["prompt_cache_key", "safety_identifier", "user"], Any, "Told again"),
];

const OLLAMA_CHAT: &[Field] = &[
    (&["messages"], Objects, ""),
    (&["tools"], Objects, ""),
    (&["system"], Any, "Ignored, as by Ollama; `warnings` says so"),
];

const OLLAMA_GENERATE: &[Field] =
    &[(&["prompt", "system"], Text, ""), (&["raw"], Boolean, "The prompt as it is")];

const OLLAMA: &[Field] = &[
    (&["model"], Text, ""),
    (&["stream"], Boolean, "true by default"),
    (&["format"], Any, "`json`, or a JSON schema"),
    (&["think"], Any, ""),
    (&["options"], Object, "`temperature`, `num_predict` and others"),
    (&["keep_alive"], Any, "Ignored: the model stays"),
    (&["truncate", "shift"], Boolean, "Ignored: prompts are never cut"),
];

const COPY: &[Field] =
    &[(&["source"], Text, "A name of the model"), (&["destination"], Text, "Another name")];

const NAMED: &[Field] = &[(&["model", "name"], Text, ""), (&["stream"], Boolean, "")];

/// All bodies.
pub(super) const FORMS: &[Form] = &[
    Form { name: "Chat", tables: &[MESSAGES, OPTIONS, CHAT], required: &["messages"] },
    Form { name: "Completion", tables: &[PROMPTS, OPTIONS, COMPLETION], required: &["prompt"] },
    Form {
        name: "NativeCompletion",
        tables: &[NATIVE_PROMPT, OPTIONS, COMPLETION, NATIVE],
        required: &["prompt"],
    },
    Form {
        name: "Infill",
        tables: &[GAP, OPTIONS, COMPLETION, NATIVE],
        required: &["input_prefix", "input_suffix"],
    },
    Form { name: "Prompt", tables: &[MESSAGES, PROMPT], required: &["messages"] },
    Form { name: "Tokenize", tables: &[TOKENIZE, MESSAGES, PROMPT], required: &[] },
    Form { name: "Detokenize", tables: &[DETOKENIZE], required: &["tokens"] },
    Form { name: "StreamLookup", tables: &[LOOKUP], required: &[] },
    Form { name: "Response", tables: &[RESPONSE], required: &[] },
    Form { name: "Messages", tables: &[ANTHROPIC, ANTHROPIC_ANSWER], required: &["messages", "max_tokens"] },
    Form { name: "CountedMessages", tables: &[ANTHROPIC, ANTHROPIC_COUNT], required: &["messages"] },
    Form { name: "OllamaChat", tables: &[OLLAMA, OLLAMA_CHAT], required: &["model"] },
    Form { name: "OllamaGenerate", tables: &[OLLAMA, OLLAMA_GENERATE], required: &["model"] },
    Form { name: "OllamaModel", tables: &[NAMED], required: &[] },
    Form { name: "OllamaCopy", tables: &[COPY], required: &["source", "destination"] },
    Form { name: "Anything", tables: &[], required: &[] },
];
