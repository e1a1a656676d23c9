//! A model that is served by its name.

use serde_json::Value;
use xtask::testing::hub::{Behaviour, Fake};

use super::listening;
use crate::hub::{REPO, command, ember};
use crate::inferno;

#[test]
fn a_model_is_served_under_the_name_it_was_asked_for_by() {
    let fake = Fake::of(REPO, &[("Qwen3-0.6B-Q8_0.gguf", &ember())], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let served = listening(command(&fake, folder.path(), &["serve", "--port", "0", "-m", "qwen3:0.6b"]));
    let (_, body) = served.get("/v1/models");
    let models: Value = serde_json::from_str(body.split_once("\r\n\r\n").unwrap().1).unwrap();
    let model = &models["data"][0];
    assert_eq!(model["id"], "qwen3:0.6b");
    for name in ["Qwen3-0.6B-Q8_0", REPO] {
        assert!(model["aliases"].as_array().unwrap().contains(&name.into()), "{models}");
    }
    let url = format!("http://{}", served.address);
    let table = inferno(&["ps", "--url", &url]).ok();
    assert!(table.lines().nth(1).is_some_and(|line| line.starts_with("qwen3:0.6b  Q8_0  9.1 MB")), "{table}");
    let json: Value = serde_json::from_str(&inferno(&["ps", "--url", &url, "--json"]).ok()).unwrap();
    assert_eq!(json["loads"]["sequences_running"], 0);

    let locked = listening({
        let args = ["serve", "--port", "0", "-m", "qwen3:0.6b", "--offline", "--api-key", "sk-a"];
        command(&fake, folder.path(), &args)
    });
    let url = format!("http://{}", locked.address);
    assert!(inferno(&["ps", "--url", &url]).error().contains("asks for a key"));
    assert!(inferno(&["ps", "--url", &url, "--api-key", "sk-b"]).error().contains("refuses the key"));
    inferno(&["ps", "--url", &url, "--api-key", "sk-a"]).ok();
}
