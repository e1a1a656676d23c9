//! Which path is answered by whom.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use hyper::{Method, Uri};
use serde_json::{Map, Value};
use tower::util::option_layer;

use crate::access::AccessLine;
use crate::app::App;
use crate::body::{Reading, Unread};
use crate::chat::{self, Chat};
use crate::completion::{Completion, check_scores};
use crate::dialect::{ChatDialect, CompletionDialect, Dialect, MessagesDialect, Reads};
use crate::error::ApiError;
use crate::generation::{Generation, Job};
use crate::keys::{Caller, Keyring};
use crate::meter::{Id, meter};
use crate::options::{Options, check_model};
use crate::registry::{Known, Registry};
use crate::workers::Cancel;
use crate::{
    admin, body, grammar, guard, health, llama_server, log, metrics, models, ollama, openapi, page,
    responses, resume, stream, tokenizer_info, tokens, vllm, whole,
};

/// All routes, with everything that stands before them.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let generating = Router::new()
        .route("/v1/chat/completions", post(converse::<ChatDialect>))
        .route("/chat/completions", post(converse::<ChatDialect>))
        .route("/v1/completions", post(complete::<CompletionDialect>))
        .route("/v1/messages", post(converse::<MessagesDialect>))
        .merge(ollama::generating())
        .route("/v1/responses", post(responses::create))
        .route("/responses", post(responses::create))
        .merge(llama_server::generating())
        .merge(vllm::generating())
        .layer(from_fn_with_state(Arc::clone(app), resume::keep))
        .layer(from_fn_with_state(Arc::clone(app), guard::room));
    let work = generating
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .route("/v1/messages/count_tokens", post(tokens::count))
        .route("/v1/chat/completions/input_tokens", post(tokens::count_chat))
        .route("/chat/completions/input_tokens", post(tokens::count_chat))
        .merge(ollama::asking())
        .route("/v1/responses/input_tokens", post(responses::input_tokens))
        .merge(llama_server::asking())
        .layer(from_fn_with_state(Arc::clone(app), guard::open));
    #[cfg(test)]
    let work = work.merge(crate::tests::page::routes());
    Router::new()
        .merge(work)
        .merge(page::routes())
        .merge(ollama::looking())
        .merge(vllm::looking())
        .merge(resume::routes())
        .route("/tokenizer_info", get(tokenizer_info::page))
        .route("/v1/models", get(models::list))
        .route("/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/responses/{id}", get(responses::retrieve).delete(responses::delete))
        .route("/v1/responses/{id}/input_items", get(responses::input_items))
        .route("/v1/responses/{id}/cancel", post(responses::cancel))
        .route("/health", get(health::health))
        .route("/v1/health", get(health::health))
        .route("/healthz", get(health::health))
        .route("/live", get(health::live))
        .route("/livez", get(health::live))
        .route("/ready", get(health::ready))
        .route("/readyz", get(health::ready))
        .route("/version", get(health::version))
        .route("/metrics", get(metrics::page))
        .route("/openapi.json", get(openapi::page))
        .route("/server_info", get(health::server_info))
        .route("/v1/loads", get(health::loads))
        .route("/admin/requests", get(admin::requests))
        .route("/admin/requests/{id}", axum::routing::delete(admin::cancel))
        .route("/admin/requests/{id}/cancel", post(admin::cancel))
        .route("/admin/reset_prefix_cache", post(admin::reset_prefix_cache))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(app), guard::key))
        .layer(option_layer(guard::cors(&app.settings)))
        .layer(from_fn_with_state(Arc::clone(app), guard::origin))
        .layer(from_fn_with_state(Arc::clone(app), meter))
        .with_state(Arc::clone(app))
}

async fn unknown(uri: Uri) -> ApiError {
    ApiError::unknown_path(uri.path())
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(method.as_str(), uri.path())
}

/// Answers a chat in the dialect `D`.
pub(crate) async fn converse<D: Reads<Chat>>(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(Id(line)): Extension<Id>,
    unread: Unread,
) -> Response {
    let answered = conversation::<D>(app, caller, line, unread).await;
    answered.unwrap_or_else(|error| {
        let body = D::error(&error);
        error.with_body(&body)
    })
}

async fn conversation<D: Reads<Chat>>(
    app: Arc<App>,
    caller: Caller,
    line: Arc<AccessLine>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let read = body::object(&app, unread).await?;
    conversed::<D>(app, caller, line, read).await
}

/// A body that is read.
type ReadBody = (Map<String, Value>, Reading);

/// Answers the chat that a body asks for in the dialect `D`.
pub(crate) async fn conversed<D: Reads<Chat>>(
    app: Arc<App>,
    caller: Caller,
    line: Arc<AccessLine>,
    (object, reading): ReadBody,
) -> Result<Response, ApiError> {
    let (chat, dialect) = D::read(object, &app)?;
    let pass = admit(&app, &caller, &chat.options, 1)?;
    let (job, options) = ready(&app, chat, &reading, &line).await?;
    drop(reading);
    let ask = Ask { route: D::ROUTE, dialect: Box::new(dialect), line, pass };
    ask.answer(&app, caller, vec![job], options).await
}

/// The prompt of a chat, and its options with the grammar and the rules of its answer.
pub(crate) async fn ready(
    app: &Arc<App>,
    chat: Chat,
    reading: &Reading,
    line: &AccessLine,
) -> Result<(Job, Options), ApiError> {
    let Chat { conversation, mut options } = chat;
    let structure = options.structure.take();
    options.grammar =
        grammar::compile(app, reading, structure, conversation.tools.as_ref(), &options).await?;
    let most = if options.truncation.is_some() { usize::MAX } else { app.most_tokens() };
    let (conversation, mut prompt) = chat::prompt(conversation, app, reading, most).await?;
    prompt.cut(&mut options, app.most_tokens())?;
    options.reply = conversation.reply(&prompt.tail, &app.text.template);
    options.reasoning = conversation.reasoning(&options, app);
    let chat::Prompt { tokens, borders, .. } = prompt;
    if app.settings.log_text {
        log::text(&line.request_id, "messages", &conversation.messages_shown());
    }
    let room = room(app, &tokens, options.max_tokens.filter(|_| !options.ends_with_context))?;
    let prompt_logprobs = options.prompt_logprobs;
    if let Some(top) = prompt_logprobs {
        check_scores(&options, ("prompt_logprobs", tokens.len()), top)?;
    }
    let max_tokens = options.max_tokens.map_or(room, |most| most.min(room));
    let job = Job { max_tokens, tokens, prompt_logprobs, borders };
    check_fits(&options, &job)?;
    Ok((job, options))
}

/// Answers a completion in the dialect `D`.
pub(crate) async fn complete<D: Reads<Completion>>(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(Id(line)): Extension<Id>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let read = body::object(&app, unread).await?;
    completed::<D>(app, caller, line, read).await
}

/// Answers the completion that a body asks for in the dialect `D`.
pub(crate) async fn completed<D: Reads<Completion>>(
    app: Arc<App>,
    caller: Caller,
    line: Arc<AccessLine>,
    (object, reading): ReadBody,
) -> Result<Response, ApiError> {
    let (mut completion, mut dialect) = D::read(object, &app)?;
    let pass = admit(&app, &caller, &completion.options, completion.prompts.len())?;
    let structure = completion.options.structure.take();
    completion.options.grammar =
        grammar::compile(&app, &reading, structure, None, &completion.options).await?;
    let text = Arc::clone(&app.text);
    let (size, most_tokens) = (completion.size(), app.most_tokens());
    let work = move |cancel: &Cancel| {
        let mut completion = completion;
        // A prompt that is cut may be of any length before.
        let most = if completion.options.truncation.is_some() { usize::MAX } else { most_tokens };
        let mut prompts = completion.tokens(&text.tokenizer, most, cancel)?;
        completion.cut(&mut prompts, most_tokens)?;
        let echo = completion.echoes(&text.tokenizer, &prompts);
        Ok((completion, prompts, echo))
    };
    let (completion, prompts, echo) = reading.run(&app, size, work).await?;
    drop(reading);
    if app.settings.log_text {
        log::text(&line.request_id, "prompts", &completion.prompts_shown());
    }
    let sampling = &completion.options.sampling;
    let prompt_logprobs = sampling.logprobs.filter(|_| completion.echo).map(|logprobs| logprobs.top);
    let name = if prompt_logprobs.is_some() { "logprobs" } else { "prompt_logprobs" };
    // Each shape shows as many as it was asked for.
    let prompt_logprobs = prompt_logprobs.max(completion.options.prompt_logprobs);
    if let Some(top) = prompt_logprobs {
        let n_tokens = prompts.iter().map(Vec::len).sum();
        check_scores(&completion.options, (name, n_tokens), top)?;
    }
    let mut jobs = Vec::with_capacity(prompts.len());
    for tokens in prompts {
        let options = &completion.options;
        let room = room(&app, &tokens, options.max_tokens.filter(|_| !options.ends_with_context))?;
        let max_tokens = completion.max_tokens(room).min(room);
        let job = Job { tokens, max_tokens, prompt_logprobs, borders: Vec::new() };
        check_fits(&completion.options, &job)?;
        jobs.push(job);
    }
    dialect.set_echo(echo);
    let ask = Ask { route: D::ROUTE, dialect: Box::new(dialect), line, pass };
    ask.answer(&app, caller, jobs, completion.options).await
}

/// Checks the model's name, the key's limits and the room in the queue before a prompt is made, which takes time that a full
/// server does not have.
pub(crate) fn admit(
    app: &Arc<App>,
    caller: &Caller,
    options: &Options,
    n_prompts: usize,
) -> Result<crate::keys::Pass, ApiError> {
    check_model(options.model.as_deref(), &app.card, &app.settings)?;
    let pass = Keyring::admit(app, caller).inspect_err(|_| app.metrics.refuse("key_limit"))?;
    app.engine.room(options.n * n_prompts as u32, 0).map_err(|refusal| app.refused(refusal))?;
    Ok(pass)
}

/// Positions that a prompt leaves for what follows: at least one, unless none is asked for, and all that are.
fn room(app: &App, tokens: &[u32], asked: Option<usize>) -> Result<usize, ApiError> {
    let most = app.text.context_len;
    match most.checked_sub(tokens.len()) {
        Some(room) if asked.unwrap_or(1) <= room => Ok(room),
        _ => Err(ApiError::context(tokens.len(), asked, most)),
    }
}

/// Checks that an answer of the grammar fits into the job's limit; a job that makes nothing has no answer.
fn check_fits(options: &Options, job: &Job) -> Result<(), ApiError> {
    match job.max_tokens {
        0 => Ok(()),
        max_tokens => grammar::check_fits(options.shortest(), max_tokens, options.max_tokens),
    }
}

/// How a request is to be answered.
pub(crate) struct Ask {
    pub(crate) route: &'static str,
    pub(crate) dialect: Box<dyn Dialect>,
    pub(crate) line: Arc<AccessLine>,
    pub(crate) pass: crate::keys::Pass,
}

impl Ask {
    pub(crate) async fn answer(
        self,
        app: &Arc<App>,
        caller: Caller,
        jobs: Vec<Job>,
        options: Options,
    ) -> Result<Response, ApiError> {
        let is_stream = options.stream.is_some();
        if is_stream {
            self.line.set_stream();
        }
        let (generation, dialect) = self.begin(app, caller, jobs, options)?;
        match is_stream {
            true => stream::respond(generation, dialect).await,
            false => whole::respond(generation, dialect).await,
        }
    }

    /// Hands the jobs to the engine.
    pub(crate) fn begin(
        self,
        app: &Arc<App>,
        caller: Caller,
        jobs: Vec<Job>,
        options: Options,
    ) -> Result<(Generation, Box<dyn Dialect>), ApiError> {
        let Ask { route, dialect, line, pass } = self;
        let known = Known {
            request_id: Arc::clone(&line.request_id),
            id: dialect.id().to_owned(),
            route,
            key: Arc::clone(&caller.name),
            is_stream: options.stream.is_some(),
            since: std::time::Instant::now(),
            engine_ids: Vec::new(),
        };
        let entry = Registry::enter(app, known);
        let generation = Generation::submit(app, caller, (entry, pass, line), jobs, options)?;
        Ok((generation, dialect))
    }
}
