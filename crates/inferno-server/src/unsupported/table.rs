//! The tables, after the request types of OpenAI, vLLM, SGLang, llama.cpp, TGI, Ollama, LM Studio and text-generation-webui.

use super::Is::{AtMost, False, List, Number, Object, Text, True, Words};
use super::{Is, Row};

const GRAMMAR: &str = "use `response_format`, `structured_outputs` or `grammar`";
const SAMPLER: &str = "this sampler is not there yet: leave it out";
const LENGTH: &str = "the name here is `max_completion_tokens` or `max_tokens`";
const CUT: &str =
    "use `truncate_prompt_tokens` of `/v1/chat/completions` or `/v1/completions`, or shorten the prompt";
const MEDIA: &str = "the model reads text only";
const BESIDE: &str = "write its members beside the others, not in an object of their own";
const ADAPTER: &str = "adapters are not there";
const IDS: &str = "use `return_token_ids`";
const SCORES: &str = "the names here are `logprobs` and `top_logprobs`";
const STOP: &str = "the name here is `stop`";
const INTERNALS: &str = "it is not told here: leave it out";
const CHAT_HAS_IT: &str = "a response does not tell it: use `/v1/chat/completions`";
const CHAT_ONLY: &str = "a completion has no chat template: use `/v1/chat/completions`";

/// No value but null asks for nothing.
const NEVER: &[Is] = &[];
const OFF: &[Is] = &[False];
const NO_TEXT: &[Is] = &[Text("")];
const NO_ITEMS: &[Is] = &[List];
const NONE_AT_ALL: &[Is] = &[Text(""), List, Object];

/// Parameters that would change a prompt made of messages.
pub(super) const PROMPT: &[Row] = &[
    (&["chat_template"], NO_TEXT, "templates in requests are not taken: the model's own is used"),
    (
        &["chat_template_id", "template"],
        NO_TEXT,
        "templates in requests are not taken: the model's own is used",
    ),
    (&["documents"], NO_ITEMS, "write them into the messages"),
    (&["system", "instructions"], &[Text(""), List], "write it as a message whose `role` is \"system\""),
    (&["truncate_prompt_tokens", "truncate", "truncate_sequence", "truncate_input_tokens"], OFF, CUT),
    (&["images", "videos", "input_audio", "image_url", "video_url"], NONE_AT_ALL, MEDIA),
    (&["multimodal_data", "mm_payload", "image_data", "audio_data", "video_data"], NONE_AT_ALL, MEDIA),
    (&["prompt_embeds"], &[Text(""), List], "embeddings are not taken as a prompt"),
    (&["input_ids"], NO_ITEMS, "use `/v1/completions` with token ids as `prompt`"),
    (&["thinking_mode", "prompt_mode", "task"], NO_TEXT, "use `chat_template_kwargs`"),
    (&["reasoning"], &[Object], "the names here are `reasoning_effort` and `enable_thinking`"),
    (&["extra_body", "parameters", "sampling_params", "generation_config", "options"], &[Object], BESIDE),
];

/// Parameters that chats alone lack.
pub(super) const CHATS: &[Row] =
    &[(&["prompt", "input"], NO_TEXT, "a chat is made of `messages`: use `/v1/completions` for a text")];

/// Parameters that completions alone lack.
pub(super) const COMPLETIONS: &[Row] = &[
    (&["top_logprobs"], &[Number(0.0)], "the name here is `logprobs`, a number"),
    (&["messages"], NO_ITEMS, CHAT_ONLY),
    (&["chat_template_kwargs"], &[Object], CHAT_ONLY),
    (&["enable_thinking", "think", "thinking", "reasoning_effort"], NEVER, CHAT_ONLY),
    (&["reasoning_budget", "reasoning_budget_tokens", "thinking_budget_tokens"], &[Number(-1.0)], CHAT_ONLY),
    (&["thinking_budget", "thinking_token_budget", "max_thinking_tokens"], &[Number(-1.0)], CHAT_ONLY),
    (&["reasoning_format"], &[Text("none"), Text("auto"), Text("")], CHAT_ONLY),
    (&["separate_reasoning"], OFF, CHAT_ONLY),
    (&["include_reasoning"], &[True], CHAT_ONLY),
    (&["tools", "functions"], NO_ITEMS, CHAT_ONLY),
    (&["tool_choice", "function_call"], &[Text("none"), Text("auto")], CHAT_ONLY),
    (&["add_generation_prompt"], &[True], CHAT_ONLY),
    (&["continue_final_message"], OFF, CHAT_ONLY),
];

/// Parameters of chats that responses have under another name or not at all, and those of OpenAI's that they lack.
pub(super) const RESPONSES: &[Row] = &[
    (&["messages"], NO_ITEMS, "the name here is `input`"),
    (&["max_tokens", "max_completion_tokens", "n_predict"], NEVER, "the name here is `max_output_tokens`"),
    (&["response_format"], NEVER, "the name here is `text.format`"),
    (&["reasoning_effort"], NEVER, "the name here is `reasoning.effort`"),
    (&["functions", "function_call"], NO_ITEMS, "the names here are `tools` and `tool_choice`"),
    (&["logprobs"], OFF, "write \"message.output_text.logprobs\" into `include`"),
    (&["n", "n_cmpl"], &[Number(1.0)], "a response is one answer: send several requests"),
    (&["prompt"], NO_TEXT, "prompts by id are not kept here: write the text into `input`"),
    (&["conversation"], NO_TEXT, "use `previous_response_id`"),
    (&["context_management"], NO_ITEMS, "nothing is compacted here: use `truncation`"),
    (&["prompt_logprobs"], NEVER, CHAT_HAS_IT),
    (&["echo", "return_token_ids", "return_progress", "timings_per_token"], OFF, CHAT_HAS_IT),
];

/// Parameters that would change an answer to any prompt.
pub(super) const GENERATION: &[Row] = &[
    // The form of an answer.
    (&["format"], NO_TEXT, GRAMMAR),
    (&["grammar_lazy"], OFF, "use `tools`, whose calls are constrained from their first token on"),
    (&["grammar_triggers", "preserved_tokens"], NO_ITEMS, "use `structured_outputs` with a `structural_tag`"),
    (&["stop_regex"], &[Text(""), List], "regular expressions do not stop an answer here: use `stop`"),
    // Samplers.
    (&["tfs", "tfs_z", "guidance_scale", "encoder_repetition_penalty"], &[Number(1.0)], SAMPLER),
    (&["top_a", "epsilon_cutoff", "eta_cutoff"], &[AtMost(0.0)], SAMPLER),
    (&["penalty_alpha", "smoothing_factor", "no_repeat_ngram_size", "skew"], &[AtMost(0.0)], SAMPLER),
    (&["adaptive_target"], &[Number(-1.0)], SAMPLER),
    (&["dynamic_temperature", "watermark", "watermarking"], OFF, SAMPLER),
    (&["repetition_detection"], NEVER, SAMPLER),
    (&["custom_logit_processor", "logits_processors", "logits_processor"], NONE_AT_ALL, SAMPLER),
    (&["negative_prompt"], NO_TEXT, SAMPLER),
    (&["sampler_priority", "sampler_order"], NEVER, "the name here is `samplers`, with llama.cpp's names"),
    (&["banned_strings"], NO_ITEMS, "use `bad_words`"),
    (
        &["banned_tokens", "custom_token_bans"],
        &[Text(""), List],
        "use `logit_bias` with -100 for their tokens",
    ),
    (&["use_beam_search"], OFF, "beam search is not there: use `n`"),
    (&["num_beams", "beam_width", "num_beam_groups"], &[AtMost(1.0)], "beam search is not there: use `n`"),
    (&["best_of"], &[Number(1.0)], "use `n` with `logprobs`, and choose"),
    (&["num_return_sequences", "num_completions"], &[Number(1.0)], "the name here is `n`"),
    (&["random_seed", "sampling_seed"], NEVER, "the name here is `seed`"),
    (&["temp"], NEVER, "the name here is `temperature`"),
    (&["repetition_context_size", "repetition_penalty_range"], NEVER, "the name here is `repeat_last_n`"),
    (&["rep_pen", "penalty_repeat"], &[Number(1.0)], "the name here is `repeat_penalty`"),
    (&["penalize_newline", "penalize_nl"], OFF, SAMPLER),
    (&["safe_prompt"], OFF, "write it as a message whose `role` is \"system\""),
    // Where an answer ends.
    (&["max_new_tokens", "max_length", "num_predict", "max_output_tokens"], NEVER, LENGTH),
    (&["max_tokens_to_sample", "max_gen_len", "max_generated_tokens"], NEVER, LENGTH),
    (&["min_new_tokens", "min_length"], &[AtMost(0.0)], "the name here is `min_tokens`"),
    (&["stop_sequences", "stop_strings", "stopping_strings"], NO_ITEMS, STOP),
    (&["stop_tokens", "eos_token_id", "custom_eos_token_ids"], NO_ITEMS, "the name here is `stop_token_ids`"),
    (&["ban_eos_token"], OFF, "the name here is `ignore_eos`"),
    (&["no_stop_trim"], OFF, "the name here is `include_stop_str_in_output`"),
    (&["t_max_predict_ms", "t_max_prompt_ms"], &[AtMost(0.0)], "use `deadline_ms`, or `/completion`"),
    (&["max_time"], NEVER, "use `deadline_ms`, in milliseconds"),
    (
        &["n_indent", "n_discard"],
        &[Number(0.0)],
        "a context is never shifted, and lines are looked at in `/completion` and `/infill` alone",
    ),
    (&["num_ctx", "n_ctx", "max_context_length"], NEVER, "the context is the server's (`--context`)"),
    // Reasoning.
    (&["reasoning_control"], OFF, "the names here are `enable_thinking` and `reasoning_budget`"),
    (
        &["stream_reasoning"],
        &[True],
        "reasoning is streamed as it comes: use `include_reasoning` to leave it out",
    ),
    // More in the answer, or less.
    (&["logprob_start_len"], NEVER, "use `prompt_logprobs`"),
    (&["decoder_input_details"], OFF, "use `/v1/completions` with `echo` and `logprobs`"),
    (&["n_probs", "top_n_tokens", "top_logprobs_num"], &[Number(0.0)], SCORES),
    (&["return_logprob"], OFF, SCORES),
    (
        &["post_sampling_probs"],
        OFF,
        "log-probabilities are the model's own, before anything: use `/completion`",
    ),
    (&["return_tokens", "return_prompt_token_ids"], OFF, IDS),
    (&["detokenize"], &[True], IDS),
    (&["return_prompt_text", "return_full_text"], OFF, "use `/v1/completions` with `echo`"),
    (&["return_token_offsets"], OFF, "`logprobs` of `/v1/completions` have `text_offset`"),
    (&["return_hidden_states", "return_routed_experts", "return_meta_info", "details"], OFF, INTERNALS),
    (
        &["return_cached_tokens_details", "return_weight_versions", "return_mm_kwargs", "verbose"],
        OFF,
        INTERNALS,
    ),
    (&["response_fields"], NO_ITEMS, "answers come whole: leave it out"),
    (&["audio"], NEVER, "the model writes text only"),
    (&["modalities"], &[Words(&["text"])], "the model writes text only"),
    // What is not there at all.
    (
        &["suffix"],
        NO_TEXT,
        "use `/infill` for a completion between two texts, or write the model's own format into `prompt`",
    ),
    (&["input_prefix", "input_suffix"], NO_TEXT, "use `/infill`"),
    (&["input_extra"], NO_ITEMS, "use `/infill`"),
    (&["lora", "lora_request", "lora_path"], NONE_AT_ALL, ADAPTER),
    (&["adapter", "adapters", "adapter_id"], NONE_AT_ALL, ADAPTER),
    (
        &["kv_transfer_params", "ec_transfer_params", "session_params"],
        &[Object],
        "requests share nothing but prefixes",
    ),
    (&["vllm_xargs", "custom_params"], &[Object], "there is nothing that would read it"),
    (
        &["plugins", "transforms", "mcp_servers", "integrations"],
        NO_ITEMS,
        "nothing is put between a request and the model",
    ),
    (&["raw"], OFF, "use `/v1/completions`"),
    (&["context"], NO_ITEMS, "use `/v1/completions` with token ids as `prompt`"),
];
