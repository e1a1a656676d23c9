//! `inferno ps`: the model that a server has loaded, and how busy it is.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{StatusCode, Uri};

use super::table;
use crate::commands::{bytes, print};
use crate::hub::clock;
use crate::{cli, terminal};

/// A server on the same machine answers within a moment, even if it is busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const MOST: u64 = 4 << 20;

/// A server to ask.
struct Server<'a> {
    agent: Agent,
    url: &'a str,
    key: Option<&'a str>,
}

pub(crate) fn ps(args: &cli::Ps) -> Result<()> {
    let url = args.url.trim_end_matches('/').trim_end_matches("/v1");
    let shown = url.escape_debug();
    let parsed = url.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    let Some(uri) = parsed else {
        bail!("`{shown}` is not an address of a server, expected one like http://127.0.0.1:8080")
    };
    let is_here = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let mut config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    if is_here {
        // A proxy knows nothing of this machine.
        config = config.proxy(None);
    }
    // A server may be given several keys where a client has one.
    let key = args.api_key.as_deref().and_then(|keys| keys.split(',').next());
    let server = Server { agent: config.build().new_agent(), url, key };
    let Some(models) = server.ask("/v1/models")? else {
        bail!("{shown} lists no models: is it a server like this one, or OpenAI's?")
    };
    // Servers of other programs have none of these.
    let loads = server.ask("/v1/loads").ok().flatten().unwrap_or(Value::Null);
    let info = server.ask("/server_info").ok().flatten().unwrap_or(Value::Null);
    let models = models["data"].as_array().cloned().unwrap_or_default();
    if args.json {
        let object = json!({ "url": url, "models": models, "loads": loads, "server": info });
        return print(format!("{}\n", terminal::json(&format!("{object:#}"))).as_bytes());
    }
    let rows: Vec<Vec<String>> = models.iter().map(|model| row(model, &loads, &info)).collect();
    let headings = ["MODEL", "TYPE", " SIZE", " CONTEXT", " RUNNING", " WAITING", " KV", " UP"];
    print(terminal::visible(&table(&headings, &rows)).as_bytes())
}

fn row(model: &Value, loads: &Value, info: &Value) -> Vec<String> {
    let count = |value: &Value| value.as_u64().map_or_else(|| "-".into(), |n| n.to_string());
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    vec![
        text(&model["id"]),
        text(&model["meta"]["ftype"]),
        model["meta"]["size"].as_u64().map_or_else(|| "-".into(), bytes),
        count(&model["max_model_len"]),
        count(&loads["sequences_running"]),
        count(&loads["sequences_waiting"]),
        loads["kv_usage"].as_f64().map_or_else(|| "-".into(), |share| format!("{:.0} %", 100.0 * share)),
        info["uptime_s"].as_u64().map_or_else(|| "-".into(), |s| clock(Duration::from_secs(s))),
    ]
}

impl Server<'_> {
    /// The JSON at a path; `None` if there is no such path.
    fn ask(&self, path: &str) -> Result<Option<Value>> {
        let url = self.url.escape_debug();
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(key) = self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.call().map_err(|e| {
            anyhow::anyhow!(
                "no server answers at {url} ({e}): `inferno serve` starts one, `--url` asks another"
            )
        })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => bail!(
                "{url} {}: set INFERNO_API_KEY, or give `--api-key`",
                if self.key.is_some() { "refuses the key" } else { "asks for a key" }
            ),
            StatusCode::SERVICE_UNAVAILABLE => {
                bail!("{url} is not ready: it is loading its model, or stopping")
            }
            status => bail!("{url}{path} answers {status}"),
        }
        let text = response.body_mut().with_config().limit(MOST).read_to_string();
        let text = text.with_context(|| format!("cannot read the answer of {url}"))?;
        let json = serde_json::from_str(&text).ok();
        ensure!(json.is_some(), "{url}{path} answers no JSON: is it a server like this one?");
        Ok(json)
    }
}
