//! The server that is under load.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value as Json;

use super::args::Args;
use super::client::Client;
use super::server::Server;
use super::{Result, address, vitals};

pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Its name in requests.
    pub(crate) model: String,
    /// Where its memory and files can be seen.
    pub(crate) pid: Option<u32>,
    pub(crate) patience: Duration,
    /// If it was started here.
    server: Option<Server>,
}

impl Target {
    /// Starts the server, or finds the one that runs.
    pub(super) fn prepare(args: &Args) -> Result<Target> {
        let url = args.url.as_deref().map(address::of_url).transpose()?;
        vitals::check_files(args.n_files())?;
        let (address, pid, server) = match url {
            Some(address) => (address, args.pid, None),
            None => {
                let program = args.program()?;
                let log = xtask::testing::root().join("target/load/server.log");
                let server = Server::start(&program, &args.server_options(), &log)?;
                (server.address(), Some(server.pid()), Some(server))
            }
        };
        Target { address, model: String::new(), pid, patience: args.patience, server }.named()
    }

    /// The server that was started here.
    pub(crate) fn of_server(server: Server, patience: Duration) -> Result<Target> {
        Target::of_model(server, String::new(), patience).named()
    }

    /// The same, where the model's name is known.
    pub(super) fn of_model(server: Server, model: String, patience: Duration) -> Target {
        let (address, pid) = (server.address(), Some(server.pid()));
        Target { address, model, pid, patience, server: Some(server) }
    }

    /// The same server at another address.
    pub(super) fn by_way_of(&self, address: SocketAddr) -> Target {
        Target { address, model: self.model.clone(), pid: self.pid, patience: self.patience, server: None }
    }

    fn named(self) -> Result<Target> {
        let mut target = self;
        let models = Client::of_single_requests(&target).get("/v1/models")?;
        let list: Json =
            serde_json::from_str(&models).map_err(|e| format!("`/v1/models` is not JSON: {e}"))?;
        let name = list["data"][0]["id"].as_str().ok_or("`/v1/models` names no model")?;
        target.model = name.to_owned();
        Ok(target)
    }

    /// The server that was started here.
    pub(super) fn server(&mut self) -> Option<&mut Server> {
        self.server.as_mut()
    }

    /// If the server ended before it was told to: how.
    pub(crate) fn end_of_server(&mut self) -> Option<String> {
        self.server.as_mut()?.end()
    }
}

#[cfg(test)]
impl Target {
    /// A server in this process.
    pub(crate) fn of_test(address: SocketAddr) -> Target {
        let patience = Duration::from_secs(5);
        Target { address, model: "fake".into(), pid: None, patience, server: None }
    }
}
