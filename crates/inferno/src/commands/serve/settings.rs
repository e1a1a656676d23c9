//! From the command line to the server's settings.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use inferno_server::log::{self, Format, Level};
use inferno_server::{Key, KeyLimits, Role, Settings, check_keys, read_keys};

use super::library::Models;
use crate::cli::{self, LogFormat, LogLevel, MetricsCompat, ReasoningFormat};

pub(super) fn settings(args: &cli::Serve) -> Result<Settings> {
    let (limits, access) = (&args.limits, &args.access);
    Ok(Settings {
        keys: keys(access)?,
        key_limits: KeyLimits {
            concurrent: access.key_concurrent.map(NonZero::get),
            requests: access.key_requests_per_minute.map(NonZero::get),
            tokens: access.key_tokens_per_minute.map(NonZero::get),
        },
        share_cache: access.share_cache,
        salt_key: None,
        allowed_hosts: access.allowed_host.clone(),
        cors_origins: access.cors_origin.clone(),
        root_path: args.root_path.clone().unwrap_or_default(),
        page: !args.no_page,
        any_model: args.any_model,
        keeps_billing_header: args.keep_billing_header,
        library: Some(Arc::new(Models { is_offline: args.model.offline })),
        vllm_metrics: args.logs.metrics_compat.contains(&MetricsCompat::Vllm),
        llama_metrics: args.logs.metrics_compat.contains(&MetricsCompat::Llamacpp),
        defaults: args.defaults.wishes().resolve(),
        seed: args.seed(),
        max_tokens: args.max_tokens(),
        speculate: !args.engine.no_speculation,
        header_bytes: limits.header_bytes as usize,
        headers: limits.headers.get(),
        header_time: limits.header_time,
        idle_time: limits.idle_time,
        body_bytes: limits.body_bytes as usize,
        body_time: limits.body_time,
        bodies_bytes: limits.bodies_bytes as usize,
        tokenize_bytes: limits.tokenize_bytes as usize,
        detokenize_tokens: limits.detokenize_tokens.get(),
        write_time: limits.write_time,
        connections: limits.connections.get(),
        connections_per_address: limits.connections_per_address.map(NonZero::get),
        json_depth: limits.json_depth.get(),
        json_nodes: limits.json_nodes.get(),
        n: limits.max_n.get(),
        prompts: limits.max_prompts.get(),
        stops: limits.max_stops.get(),
        stop_bytes: limits.max_stop_bytes.get(),
        token_lists: limits.max_token_ids.get(),
        logit_bias: limits.max_logit_bias.get(),
        messages: limits.max_messages.get(),
        template_variables: limits.max_template_variables.get(),
        template_variable_bytes: limits.max_template_bytes as usize,
        tools: limits.max_tools.get(),
        responses: limits.max_responses,
        responses_bytes: limits.responses_bytes as usize,
        thinking: args.reasoning.thinks(),
        thinking_budget: args.reasoning.budget(),
        splits_reasoning: args.reasoning_format != ReasoningFormat::None,
        hold: limits.hold,
        keep_alive: limits.keep_alive,
        kept_streams: limits.kept_streams,
        kept_stream_bytes: limits.kept_stream_bytes as usize,
        kept_stream_time: limits.kept_stream_time,
        pending_events: limits.pending_events.get(),
        deadline: limits.deadline,
        drain: limits.drain,
        stall: limits.stall_time,
        hang: limits.hang_time,
        log_text: args.logs.log_prompts,
        return_memory: inferno_cpu::return_freed_memory,
    })
}

/// All keys, those of the file read now.
///
/// # Errors
/// The file cannot be read, keys are malformed, or the file leaves no key that may ask. No message holds a secret.
pub(super) fn keys(access: &cli::Access) -> Result<Vec<Key>> {
    let named = |kind: &'static str, secrets: &[String], role: Role| -> Vec<Key> {
        let key = |(i, secret): (usize, &String)| Key {
            secret: secret.clone(),
            name: format!("{kind}-{}", i + 1),
            is_named: false,
            role,
            limits: None,
        };
        secrets.iter().enumerate().map(key).collect()
    };
    let mut keys = named("key", &access.api_key, Role::User);
    keys.extend(named("admin", &access.admin_key, Role::Admin));
    keys.extend(named("scrape", &access.metrics_key, Role::Scrape));
    if let Some(file) = &access.api_key_file {
        let more = read_keys(file)?;
        ensure!(!more.is_empty(), "`{}` has no keys, expected one a line", file.display());
        keys.extend(more);
        // Without any the server would be open to everybody.
        let may_ask = keys.iter().any(|key| key.role != Role::Scrape);
        ensure!(may_ask, "`{}` has scrape keys alone, expected one or more that may ask", file.display());
    }
    check_keys(&keys)?;
    Ok(keys)
}

/// Whether any user of the machine can read the file.
#[cfg(unix)]
pub(super) fn is_open_to_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// Whether any user of the machine can read the file, as far as that is known.
#[cfg(not(unix))]
pub(super) fn is_open_to_others(_: &Path) -> bool {
    false
}

pub(super) fn start_log(args: &cli::Serve) -> Result<()> {
    let format = match args.logs.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let level = match args.logs.log_level {
        LogLevel::Off => Level::OFF,
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    let file = args.logs.log_file.as_deref();
    log::start(format, level, file).with_context(|| match file {
        Some(file) => format!("cannot log to `{}` (`--log-file`)", file.display()),
        None => "cannot start the log".into(),
    })
}
