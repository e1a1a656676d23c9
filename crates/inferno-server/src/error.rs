//! Errors of requests: status and message, which each dialect puts into its own shape.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use inferno_engine::Refusal;
use inferno_reply::ReplyError;
use inferno_text::{Stopped, TemplateError};
use serde_json::Value;

use crate::dialect::error_body;

/// An error as the client gets it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// OpenAI's `type`.
    pub(crate) kind: &'static str,
    pub(crate) code: Option<&'static str>,
    /// The field that is to blame.
    pub(crate) param: Option<Box<str>>,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// Clients try again by themselves at 408, 409, 429 and from 500 on, unless told not to.
    pub(crate) should_retry: Option<bool>,
    /// Further members of the error object.
    pub(crate) extra: Vec<(&'static str, Value)>,
}

/// The type of every error that the client can mend.
const INVALID: &str = "invalid_request_error";

impl ApiError {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> ApiError {
        ApiError {
            status,
            kind,
            code,
            param: None,
            message: message.into(),
            retry_after: None,
            should_retry: None,
            extra: Vec::new(),
        }
    }

    /// 400: the request makes no sense as a whole.
    pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, INVALID, None, message)
    }

    /// 400: a field has a value that it may not have.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        let error = ApiError::new(StatusCode::BAD_REQUEST, INVALID, Some("invalid_value"), message);
        ApiError { param: Some(param.into().into_boxed_str()), ..error }
    }

    /// 400: a field is not there.
    pub(crate) fn missing(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError { code: Some("missing_required_parameter"), ..ApiError::invalid(param, message) }
    }

    /// 400: a field that others know and this server does not.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError { code: Some("unsupported_parameter"), ..ApiError::invalid(param, message) }
    }

    /// 401.
    pub(crate) fn unauthorized(message: &str) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, INVALID, Some("invalid_api_key"), message)
    }

    /// 403.
    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, INVALID, Some(code), message)
    }

    /// 404: no such model.
    pub(crate) fn unknown_model(asked: &str, known: &str) -> ApiError {
        let message = format!("the model `{}` does not exist here, expected `{known}`", shown(asked));
        let error = ApiError::new(StatusCode::NOT_FOUND, INVALID, Some("model_not_found"), message);
        ApiError { param: Some("model".into()), ..error }
    }

    /// 404: no such path.
    pub(crate) fn unknown_path(path: &str) -> ApiError {
        let message = format!("there is no `{}` here", shown(path));
        ApiError::new(StatusCode::NOT_FOUND, INVALID, Some("not_found"), message)
    }

    /// 400: the path names something with bytes that are no text.
    pub(crate) fn bad_path() -> ApiError {
        ApiError::bad_request("the path is not valid UTF-8")
    }

    /// 405.
    pub(crate) fn wrong_method(method: &str, path: &str) -> ApiError {
        let message = format!("`{}` does not answer {}", shown(path), shown(method));
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, Some("method_not_allowed"), message)
    }

    /// Another status of the client's making.
    pub(crate) fn client(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(status, INVALID, Some(code), message)
    }

    /// 429: too much for now.
    pub(crate) fn overloaded(message: impl Into<String>, retry_after: Duration) -> ApiError {
        let error = ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            Some("rate_limit_exceeded"),
            message,
        );
        ApiError { retry_after: Some(retry_after), ..error }
    }

    /// 503: not now, whoever asks.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>, retry_after: u64) -> ApiError {
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", Some(code), message);
        ApiError { retry_after: Some(Duration::from_secs(retry_after)), ..error }
    }

    /// 501: others have it, and this server does not.
    pub(crate) fn not_implemented(code: &'static str, message: impl Into<String>) -> ApiError {
        let error = ApiError::new(StatusCode::NOT_IMPLEMENTED, "not_supported_error", Some(code), message);
        ApiError { should_retry: Some(false), ..error }
    }

    /// 503: the server ends.
    pub(crate) fn shutting_down() -> ApiError {
        ApiError::unavailable("shutting_down", "the server is shutting down", 5)
    }

    /// 503: the operator ended the request.
    pub(crate) fn cancelled() -> ApiError {
        let message = "the request was cancelled by the operator";
        let error = ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable_error",
            Some("request_cancelled"),
            message,
        );
        ApiError { should_retry: Some(false), ..error }
    }

    /// 504: out of time.
    pub(crate) fn deadline() -> ApiError {
        let message = "the request was not done by its deadline";
        let error =
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout_error", Some("deadline_exceeded"), message);
        ApiError { should_retry: Some(false), ..error }
    }

    /// 500: our fault, or the model's. To send it again would not help.
    pub(crate) fn internal(message: impl Into<String>) -> ApiError {
        let error =
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", Some("internal_error"), message);
        ApiError { should_retry: Some(false), ..error }
    }

    /// An answer did not end well.
    pub(crate) fn ended(error: ReplyError) -> ApiError {
        match error {
            ReplyError::Cancelled => ApiError::cancelled(),
            ReplyError::Deadline => ApiError::deadline(),
            ReplyError::Failed(why) => ApiError::internal(why),
        }
    }

    /// The engine does not take the request.
    pub(crate) fn refused(refusal: Refusal) -> ApiError {
        let message = refusal.to_string();
        match refusal {
            Refusal::Sampling(invalid) => ApiError::invalid(invalid.parameter, message),
            Refusal::EmptyPrompt => ApiError::invalid("prompt", message),
            Refusal::UnknownToken { .. } => ApiError::invalid("prompt", message),
            Refusal::Choices { n } => ApiError::invalid(
                "n",
                format!("`n` is {n} in all, more than may run and wait at once (`--sequences`, `--queue`)"),
            ),
            Refusal::Context { n_prompt, max_tokens, context_len } => {
                ApiError::context(n_prompt, Some(max_tokens), context_len)
            }
            Refusal::NeverFits { needed, most } => ApiError {
                code: Some("context_length_exceeded"),
                extra: vec![("n_tokens", needed.into()), ("n_ctx", most.into())],
                ..ApiError::bad_request(message)
            },
            Refusal::QueueFull { retry_after, .. } | Refusal::QueueTokens { retry_after, .. } => {
                ApiError::overloaded(message, retry_after)
            }
            Refusal::Poisonous | Refusal::PerChoice { .. } => ApiError::internal(message),
            Refusal::Stopped => ApiError::unavailable("engine_stopped", message, 30),
        }
    }

    /// 400: longer than the context. `max_tokens` is what was asked for.
    pub(crate) fn context(n_prompt: usize, max_tokens: Option<usize>, context_len: usize) -> ApiError {
        // Clients tell this error from others by the first words of either, or by the code in the text.
        match max_tokens {
            Some(max_tokens) if n_prompt < context_len => {
                let message = format!(
                    "this model's maximum context length is {context_len} tokens, but the prompt has {n_prompt} and \
                     {max_tokens} are asked for (context_length_exceeded): shorten the prompt or ask for at most {}",
                    context_len - n_prompt
                );
                ApiError::context_exceeded(message, n_prompt, context_len)
            }
            _ => ApiError::too_long(&format!("{n_prompt} tokens"), n_prompt, context_len),
        }
    }

    /// 400: a prompt that is longer than the context, with the length in words.
    fn too_long(length: &str, n_prompt: usize, context_len: usize) -> ApiError {
        let message = format!(
            "the prompt is too long: it has {length}, and this model's maximum context length is \
             {context_len} tokens; shorten it, so that there is room for at least one more"
        );
        ApiError::context_exceeded(message, n_prompt, context_len)
    }

    fn context_exceeded(message: String, n_prompt: usize, context_len: usize) -> ApiError {
        ApiError {
            code: Some("context_length_exceeded"),
            extra: vec![("n_prompt_tokens", n_prompt.into()), ("n_ctx", context_len.into())],
            ..ApiError::bad_request(message)
        }
    }

    /// The text in `param` was not encoded to its end. `context_len` is the limit on a prompt's tokens.
    pub(crate) fn stopped(stopped: Stopped, param: &str, context_len: usize) -> ApiError {
        match stopped {
            Stopped::TooMany { at_least } => {
                ApiError::too_long(&format!("at least {at_least} tokens"), at_least, context_len)
            }
            Stopped::Word { n_bytes, limit } => {
                let message = format!(
                    "`{param}` has a run of {n_bytes} bytes of one kind of characters, expected at most {limit}: \
                     break it up"
                );
                ApiError::invalid(param, message)
            }
            Stopped::OutOfMemory => ApiError::out_of_memory(),
            Stopped::Cancelled => ApiError::internal("the client has left"),
        }
    }

    /// 503: the system has no memory for the request.
    pub(crate) fn out_of_memory() -> ApiError {
        ApiError::unavailable("out_of_memory", "there is not enough memory to read the request", 1)
    }

    /// The template does not take the messages.
    pub(crate) fn template(error: &TemplateError, context_len: usize) -> ApiError {
        match error {
            TemplateError::Variable { .. } => ApiError::invalid("chat_template_kwargs", error.to_string()),
            TemplateError::OutOfFuel => {
                ApiError { code: Some("template_limit"), ..ApiError::invalid("messages", error.to_string()) }
            }
            TemplateError::OutOfMemory { .. }
            | TemplateError::OutOfStack
            | TemplateError::OutOfTime { .. }
            | TemplateError::Crashed { .. } => ApiError::template_failed(&error.to_string()),
            TemplateError::NoProcess { .. } => {
                ApiError::unavailable("template_unavailable", error.to_string(), 1)
            }
            TemplateError::OutputTooLong { limit } => {
                let message = format!(
                    "the prompt is too long: with the chat template it has more than {limit} bytes of text, and this \
                     model's maximum context length is {context_len} tokens; shorten the messages"
                );
                ApiError {
                    code: Some("context_length_exceeded"),
                    extra: vec![("n_ctx", context_len.into())],
                    ..ApiError::invalid("messages", message)
                }
            }
            _ => ApiError::invalid("messages", error.to_string()),
        }
    }

    /// 400: the template does not work, whatever the messages are or for these.
    pub(crate) fn template_failed(message: &str) -> ApiError {
        ApiError { code: Some("template_failed"), ..ApiError::invalid("messages", message) }
    }
}

/// Seconds as `Retry-After` has them: whole, and at least one.
pub(crate) fn retry_after_seconds(time: Duration) -> u64 {
    (time.as_millis().div_ceil(1000) as u64).max(1)
}

/// A client's words as a message may hold them: short, on one line.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().take(100).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(100).is_some() {
        shown.push('…');
    }
    shown
}

impl IntoResponse for ApiError {
    /// In OpenAI's shape; [`shaped`](crate::dialect::shaped) gives it the one of its path.
    fn into_response(self) -> Response {
        let body = error_body(&self);
        let unshaped = Unshaped(Box::new(self.clone()));
        let mut response = self.with_body(&body);
        response.extensions_mut().insert(unshaped);
        response
    }
}

/// The error of a response that no dialect has shaped.
#[derive(Debug, Clone)]
pub(crate) struct Unshaped(pub(crate) Box<ApiError>);

impl ApiError {
    /// The response with this body; status and headers are the same in all dialects.
    pub(crate) fn with_body(self, body: &Value) -> Response {
        let mut response = crate::wire::json_response(self.status, body);
        let headers = response.headers_mut();
        if let Some(time) = self.retry_after {
            headers.insert(RETRY_AFTER, retry_after_seconds(time).into());
        }
        if let Some(should) = self.should_retry {
            headers.insert("x-should-retry", HeaderValue::from_static(if should { "true" } else { "false" }));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // The access log has the reason, which is no text of the client's but for names.
        response.extensions_mut().insert(Reason(self.code.unwrap_or(self.kind)));
        response
    }
}

/// Why a response is an error, for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reason(pub(crate) &'static str);
