//! `inferno tokenize` and `inferno detokenize`: text to ids and back.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use inferno_text::Special;
use serde_json::{Value, json};

use crate::commands::{print, read_stdin};
use crate::{cli, load, terminal};

pub(crate) fn tokenize(args: &cli::Tokenize) -> Result<()> {
    let tokenizer = load::open(&args.model)?.tokenizer()?;
    let special = if args.special { Special::Recognise } else { Special::AsText };
    let text = match &args.text[..] {
        [] => read_stdin()?,
        [text] if text == "-" => read_stdin()?,
        words => words.join(" "),
    };
    let ids = tokenizer.encode(&text, special);
    let line = if args.json {
        let piece = |&id: &u32| {
            let bytes = tokenizer.piece(id).expect("an id of this vocabulary");
            json!({ "id": id, "piece": String::from_utf8_lossy(bytes), "bytes": bytes })
        };
        terminal::json(&Value::from(ids.iter().map(piece).collect::<Vec<_>>()).to_string())
    } else {
        ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
    };
    print(format!("{line}\n").as_bytes())
}

pub(crate) fn detokenize(args: &cli::Detokenize) -> Result<()> {
    let tokenizer = load::open(&args.model)?.tokenizer()?;
    let input = match &args.ids[..] {
        [] => read_stdin()?,
        [ids] if ids == "-" => read_stdin()?,
        ids => ids.join(" "),
    };
    let input = input.trim();
    // A JSON array, or the same without its brackets.
    let list = input.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or(input);
    let ids: Vec<u32> = list
        .split([' ', ',', '\n', '\r', '\t'])
        .filter(|id| !id.is_empty())
        .map(|id| {
            let shown: String = id.chars().take(32).flat_map(char::escape_debug).collect();
            id.parse().with_context(|| format!("`{shown}` is not a token id"))
        })
        .collect::<Result<_>>()?;
    let bytes = tokenizer.decode(&ids)?;
    if std::io::stdout().is_terminal() {
        return print(terminal::visible(&String::from_utf8_lossy(&bytes)).as_bytes());
    }
    print(&bytes)
}
