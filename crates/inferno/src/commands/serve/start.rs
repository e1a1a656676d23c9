//! Output of a server at its start: the facts of its model in the log, its address and a command to try on stdout.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use inferno_server::{Card, Parts};

use crate::kv_memory::{KvPlan, shown};
use crate::load::{Opened, RunsOn};

/// Logs that a model is being loaded, which may take minutes.
pub(super) fn loading(opened: &Opened) {
    let (version, size) = (env!("CARGO_PKG_VERSION"), shown(opened.file.file_bytes()));
    tracing::info!(version, file = opened.name, size, "loading the model");
}

/// Logs what was loaded and where, how long sequences may be and how many positions there is room for.
pub(super) fn loaded(
    card: &Card,
    runs_on: &RunsOn,
    plan: &KvPlan,
    (context_len, n_sequences): (usize, usize),
    took: Duration,
) {
    let seconds = (took.as_secs_f64() * 100.0).round() / 100.0;
    let (device, threads) = (&*runs_on.level, runs_on.n_threads);
    let (model, dtype, parameters) = (&*card.names[0], &*card.dtype, card.n_params);
    tracing::info!(model, dtype, parameters, device, threads, seconds, "loaded the model");
    let (room, longest) = (plan.positions, plan.longest);
    let (kv_memory, kv_type) = (shown(plan.bytes), runs_on.kv_type.name());
    let context = context_len.min(longest);
    tracing::info!(context, sequences = n_sequences, room, kv_memory, kv_type, "{plan}");
    if longest < context_len {
        tracing::warn!(
            context,
            "the KV pool has room for {longest} positions, fewer than the context of {context_len}: requests may have \
             {longest} tokens (`--kv-memory` takes more)"
        );
    }
}

/// The server's address, its page, and a command that asks it something.
pub(super) fn announcement(
    mut address: SocketAddr,
    parts: &Parts,
    (needs_key, has_page): (bool, bool),
) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    let Card { names, dtype, .. } = &parts.card;
    let name = &names[0];
    let (path, body) = match parts.template.renderer() {
        Some(_) => {
            let messages = r#""messages": [{"role": "user", "content": "Tell me a story about a dragon."}]"#;
            ("chat/completions", format!("{{\"model\": {}, {messages}}}", json(name)))
        }
        None => {
            let rest = r#""prompt": "Once upon a time", "max_tokens": 64"#;
            ("completions", format!("{{\"model\": {}, {rest}}}", json(name)))
        }
    };
    let key = match needs_key {
        true => "  -H \"Authorization: Bearer $INFERNO_API_KEY\" \\\n",
        false => "",
    };
    let page = match (has_page, parts.template.renderer()) {
        (true, Some(_)) => format!("\nopen http://{address}/ in a browser to chat, or ask:\n"),
        _ => String::new(),
    };
    format!(
        "serving `{name}` ({dtype}) at http://{address}\n{page}\n\
         curl http://{address}/v1/{path} -H 'Content-Type: application/json' \\\n{key}  \
         -d '{}'\n",
        body.replace('\'', r"'\''")
    )
}

/// A string of JSON.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Warns of variables that look like this program's and are none: a flag's name may be misspelt.
pub(super) fn warn_of_unknown_variables() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (name, near) in crate::config_file::unknown_variables(names) {
        match near {
            Some(near) => tracing::warn!("the environment variable `{name}` sets nothing, is it `{near}`?"),
            None => tracing::warn!("the environment variable `{name}` sets nothing"),
        }
    }
}
