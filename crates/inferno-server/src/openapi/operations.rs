//! Every route: its method, its path, and what it is for. A route without an entry fails a test, and so does an entry without a
//! route.

/// Body of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Body {
    None,
    /// One of the schemas.
    Form(&'static str),
    Array,
}

/// Body of a successful answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Answer {
    Json,
    /// JSON, or server-sent events.
    Stream,
    /// JSON, or a JSON object a line.
    Lines,
    /// Text of this content type.
    Text(&'static str),
    Nothing,
    /// 501, with the reason.
    Absent,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) tag: &'static str,
    pub(super) about: &'static str,
    pub(super) body: Body,
    pub(super) answer: Answer,
    pub(super) query: &'static [(&'static str, &'static str)],
}

const OPENAI: &str = "OpenAI";
const ANTHROPIC: &str = "Anthropic";
const OLLAMA: &str = "Ollama";
const LLAMA: &str = "llama-server";
const VLLM: &str = "vLLM";
const HEALTH: &str = "Health";
const OPERATORS: &str = "Operators";
const PAGE: &str = "Chat page";

/// Tags, and the pages about them.
pub(super) const TAGS: &[(&str, &str)] = &[
    (OPENAI, "docs/api/openai.md"),
    (ANTHROPIC, "docs/api/messages.md"),
    (OLLAMA, "docs/api/ollama.md"),
    (LLAMA, "docs/api/llama-server.md"),
    (VLLM, "docs/api/vllm.md"),
    (HEALTH, "For supervisors and load balancers; no key is needed"),
    (OPERATORS, "An admin key, or from the machine itself if there are no keys"),
    (PAGE, "docs/chat-page.md"),
];

const fn get(path: &'static str, tag: &'static str, about: &'static str) -> Operation {
    Operation { method: "get", path, tag, about, body: Body::None, answer: Answer::Json, query: &[] }
}

const fn post(path: &'static str, tag: &'static str, about: &'static str, form: &'static str) -> Operation {
    Operation { method: "post", body: Body::Form(form), ..get(path, tag, about) }
}

const fn stream(path: &'static str, tag: &'static str, about: &'static str, form: &'static str) -> Operation {
    Operation { answer: Answer::Stream, ..post(path, tag, about, form) }
}

const fn lines(path: &'static str, about: &'static str, form: &'static str) -> Operation {
    Operation { answer: Answer::Lines, ..post(path, OLLAMA, about, form) }
}

const fn absent(operation: Operation) -> Operation {
    Operation { answer: Answer::Absent, ..operation }
}

const fn asked(operation: Operation, query: &'static [(&'static str, &'static str)]) -> Operation {
    Operation { query, ..operation }
}

const fn delete(operation: Operation) -> Operation {
    Operation { method: "delete", ..operation }
}

const fn text(operation: Operation, kind: &'static str) -> Operation {
    Operation { answer: Answer::Text(kind), ..operation }
}

const CONVERSATION: &[(&str, &str)] = &[("conv_id", "The value of `X-Conversation-Id`")];
const RESUMED: &[(&str, &str)] =
    &[("conv_id", "The value of `X-Conversation-Id`"), ("from", "Bytes of the stream that the client has")];
const RETRIEVED: &[(&str, &str)] =
    &[("stream", "true: events"), ("starting_after", "The number of the last event that the client has")];
const LISTED: &[(&str, &str)] =
    &[("limit", "1 to 100, 20 by default"), ("order", "`asc` or `desc`"), ("after", "The id of an item")];

/// All routes.
pub(super) const OPERATIONS: &[Operation] = &[
    stream("/v1/chat/completions", OPENAI, "Answer a chat", "Chat"),
    stream("/chat/completions", OPENAI, "Answer a chat", "Chat"),
    stream("/v1/completions", OPENAI, "Go on from texts or tokens", "Completion"),
    get("/v1/models", OPENAI, "List the model"),
    get("/models", OPENAI, "List the model"),
    get("/v1/models/{*id}", OPENAI, "Describe the model"),
    stream("/v1/responses", OPENAI, "Answer a conversation", "Response"),
    stream("/responses", OPENAI, "Answer a conversation", "Response"),
    post("/v1/responses/input_tokens", OPENAI, "Count the tokens of a conversation", "Response"),
    asked(get("/v1/responses/{id}", OPENAI, "A kept response, or its events"), RETRIEVED),
    delete(get("/v1/responses/{id}", OPENAI, "Delete a kept response")),
    asked(get("/v1/responses/{id}/input_items", OPENAI, "The items of a response's request"), LISTED),
    Operation {
        body: Body::None,
        ..post("/v1/responses/{id}/cancel", OPENAI, "End a response of the background", "Anything")
    },
    stream("/v1/messages", ANTHROPIC, "Answer a chat", "Messages"),
    post("/v1/messages/count_tokens", ANTHROPIC, "Count the tokens of a prompt", "CountedMessages"),
    lines("/api/chat", "Answer a chat", "OllamaChat"),
    lines("/api/generate", "Answer a prompt", "OllamaGenerate"),
    get("/api/tags", OLLAMA, "List the model"),
    get("/api/ps", OLLAMA, "List the model as one that runs"),
    get("/api/version", OLLAMA, "The version of Ollama's API"),
    post("/api/show", OLLAMA, "Describe the model", "OllamaModel"),
    lines("/api/pull", "Download a model", "OllamaModel"),
    delete(post("/api/delete", OLLAMA, "Remove a downloaded model", "OllamaModel")),
    post("/api/copy", OLLAMA, "Give the model another name", "OllamaCopy"),
    absent(post("/api/embed", OLLAMA, "Embeddings are not there yet", "Anything")),
    absent(post("/api/embeddings", OLLAMA, "Embeddings are not there yet", "Anything")),
    absent(post("/api/create", OLLAMA, "Models are not made here", "Anything")),
    absent(post("/api/push", OLLAMA, "Models are not uploaded here", "Anything")),
    absent(post("/api/blobs/{digest}", OLLAMA, "Models are not uploaded here", "Anything")),
    stream("/completion", LLAMA, "Go on from texts or tokens", "NativeCompletion"),
    stream("/completions", LLAMA, "The same; with `model`, OpenAI's completions", "NativeCompletion"),
    stream("/infill", LLAMA, "Fill the gap between a prefix and a suffix", "Infill"),
    post("/tokenize", LLAMA, "Tokens of a text or a chat", "Tokenize"),
    post("/detokenize", LLAMA, "Text of tokens", "Detokenize"),
    post("/apply-template", LLAMA, "The prompt that messages become", "Prompt"),
    post("/v1/chat/completions/input_tokens", LLAMA, "Count the tokens of a chat", "Prompt"),
    post("/chat/completions/input_tokens", LLAMA, "Count the tokens of a chat", "Prompt"),
    get("/props", LLAMA, "The model, its template and the defaults of requests"),
    absent(post("/props", LLAMA, "Properties are given at the start", "Anything")),
    asked(get("/slots", LLAMA, "Sequences that run"), &[("fail_on_no_slot", "503 where none is free")]),
    absent(post("/slots/{id}", LLAMA, "Slots are not saved, restored or erased", "Anything")),
    get("/lora-adapters", LLAMA, "An empty list"),
    Operation { body: Body::Array, ..post("/lora-adapters", LLAMA, "An empty list is taken", "Anything") },
    text(
        asked(get("/v1/stream", LLAMA, "Take up a stream that lost its client"), RESUMED),
        "text/event-stream",
    ),
    Operation {
        method: "delete",
        answer: Answer::Nothing,
        ..asked(get("/v1/stream", LLAMA, "Stop and forget a stream"), CONVERSATION)
    },
    post("/v1/streams/lookup", LLAMA, "Streams of conversations", "StreamLookup"),
    get("/tokenizer_info", VLLM, "Special tokens and the chat template"),
    get("/load", VLLM, "Requests that are at work or wait"),
    stream("/invocations", VLLM, "A chat or a completion, whichever the body is", "Anything"),
    get("/version", VLLM, "The version"),
    get("/openapi.json", VLLM, "This document"),
    text(get("/metrics", OPERATORS, "Metrics for Prometheus; a scrape key"), "text/plain"),
    get("/health", HEALTH, "Whether it can compute"),
    get("/v1/health", HEALTH, "Whether it can compute"),
    get("/healthz", HEALTH, "Whether it can compute"),
    get("/live", HEALTH, "Whether the process lives"),
    get("/livez", HEALTH, "Whether the process lives"),
    get("/ping", HEALTH, "Whether the process lives"),
    Operation { body: Body::None, ..post("/ping", HEALTH, "Whether the process lives", "Anything") },
    get("/ready", HEALTH, "Whether it takes requests"),
    get("/readyz", HEALTH, "Whether it takes requests"),
    get("/server_info", OPERATORS, "The server, its model and its settings"),
    get("/v1/loads", OPERATORS, "How busy it is"),
    get("/admin/requests", OPERATORS, "All requests"),
    delete(get("/admin/requests/{id}", OPERATORS, "Cancel a request")),
    Operation {
        body: Body::None,
        ..post("/admin/requests/{id}/cancel", OPERATORS, "Cancel a request", "Anything")
    },
    Operation {
        body: Body::None,
        ..post("/admin/reset_prefix_cache", OPERATORS, "Forget cached prefixes", "Anything")
    },
    text(get("/", PAGE, "The chat page, or a line of text for programs"), "text/html"),
    text(get("/page/{name}", PAGE, "A file of the chat page"), "text/plain"),
];
