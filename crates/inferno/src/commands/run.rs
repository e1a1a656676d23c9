//! `inferno run`: one prompt, one answer, streamed.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use inferno_hub::{Hub, ModelName};
use inferno_text::{Special, Tokenizer, message};
use serde_json::{Value as Json, json};

use crate::answer::{Answer, Call, Stop, Thinking, per_second};
use crate::commands::chat::chat;
use crate::commands::{note, print};
use crate::form::Form;
use crate::load::Opened;
use crate::names;
use crate::prompt::Parts;
use crate::session::{Session, template};
use crate::{cli, exit, habits, interrupt, terminal};

pub(crate) fn run(mut args: cli::Run) -> Result<ExitCode> {
    match first_word(&args) {
        FirstWord::Prompt => {}
        FirstWord::Model => {
            args.answering.model.model = Some(args.words.remove(0).trim().into());
            if is_chat(&args) {
                let off = ["", "0", "f", "false", "n", "no", "off"];
                let no_history = std::env::var("INFERNO_NO_HISTORY")
                    .is_ok_and(|value| !off.contains(&value.to_lowercase().as_str()));
                let named = cli::ModelArgument::default();
                return chat(&cli::Chat { named, no_history, answering: args.answering });
            }
        }
        FirstWord::Unclear(question) => {
            note(&question);
            return Ok(ExitCode::from(exit::USAGE));
        }
    }
    answer(&args)
}

fn answer(args: &cli::Run) -> Result<ExitCode> {
    let words = [&args.words[..], &args.literal[..]].concat();
    let parts = Parts { words: &words, files: &args.file };
    let text = if args.raw { parts.raw_text()? } else { parts.text()? };
    let (session, (prompt, form)) =
        Session::start(&args.answering, |opened, tokenizer| prompt_tokens(args, opened, tokenizer, &text))?;
    session.check("the prompt", &prompt)?;
    session.note_excess(prompt.len());
    let answer = session.answer(prompt, 0, (!args.json).then_some(Thinking::Show), &form)?;
    if args.json {
        let json = terminal::json(&to_json(&session, &answer).to_string());
        print(format!("{json}\n").as_bytes())?;
    } else {
        note(&answer.speeds());
    }
    Ok(match answer.stop {
        Stop::Interrupted => ExitCode::from(interrupt::EXIT_CODE),
        _ => ExitCode::SUCCESS,
    })
}

/// The answer as one object: usage as in OpenAI's API, times as in llama.cpp's.
fn to_json(session: &Session, answer: &Answer) -> Json {
    let usage = &answer.usage;
    let ms = |time: Duration| time.as_micros() as f64 / 1e3;
    let n_computed = usage.n_prompt - usage.n_cached;
    let n_decoded = usage.n_completion.saturating_sub(1);
    let stop_reason = match &answer.stop {
        Stop::Text(text) => Some(text),
        _ => None,
    };
    let mut object = json!({
        "model": session.model,
        "text": answer.text,
        "tokens": answer.tokens,
        "finish_reason": answer.stop.finish_reason(),
        "stop_reason": stop_reason,
        "stopped": answer.stop.to_string(),
        "seed": session.seed,
        "usage": {
            "prompt_tokens": usage.n_prompt,
            "completion_tokens": usage.n_completion,
            "total_tokens": usage.n_prompt + usage.n_completion,
            "prompt_tokens_details": { "cached_tokens": usage.n_cached },
        },
        "timings": {
            "load_ms": ms(session.load_time),
            "prompt_n": n_computed,
            "prompt_ms": ms(usage.prefill),
            "prompt_per_second": per_second(n_computed, usage.prefill),
            "predicted_n": usage.n_completion,
            "predicted_ms": ms(usage.decode),
            "predicted_per_second": per_second(n_decoded, usage.decode).filter(|_| n_decoded > 0),
        },
    });
    if usage.n_drafted > 0 {
        let timings = &mut object["timings"];
        timings["draft_n"] = usage.n_drafted.into();
        timings["draft_n_accepted"] = usage.n_accepted.into();
        timings["draft_saved_ms"] = (usage.saved_by_drafts as f64 / 1e3).into();
    }
    if !answer.reasoning.is_empty() {
        object["reasoning"] = answer.reasoning.as_str().into();
        object["usage"]["completion_tokens_details"] = json!({ "reasoning_tokens": answer.n_reasoning });
    }
    if !answer.calls.is_empty() {
        object["tool_calls"] = answer.calls.iter().map(Call::to_json).collect();
    }
    object
}

/// Meaning of the first word of the prompt.
enum FirstWord {
    Prompt,
    /// The name of the model, as in `run qwen3:0.6b "Hello"`.
    Model,
    /// A question back to the user.
    Unclear(String),
}

/// Tells the name of a model from a prompt. A name alone, or one before a quoted prompt, is the model; one before words that are
/// not quoted is, if no sentence has such a word.
fn first_word(args: &cli::Run) -> FirstWord {
    if args.raw || !args.literal.is_empty() {
        return FirstWord::Prompt;
    }
    let word = match &args.words[..] {
        [word] => word,
        // A file's name may well begin a sentence; a quoted prompt behind it is no sentence's end.
        [word, prompt] if prompt.contains(char::is_whitespace) => word,
        [word, _, ..] if word.contains([':', '/']) || word.to_ascii_lowercase().ends_with(".gguf") => word,
        _ => return FirstWord::Prompt,
    };
    let word = word.trim();
    if names::named(word).is_none() {
        return FirstWord::Prompt;
    }
    let literal = args.words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let shown: String = word.chars().flat_map(char::escape_debug).collect();
    let unclear = |what: String, ask: String| {
        FirstWord::Unclear(format!(
            "error: {what}\n\n{ask}  inferno run -- {literal}     to send it as the prompt"
        ))
    };
    // A variable or a file of settings names the model of commands that name none.
    if names_model(std::env::args_os()) {
        let what = format!("`{shown}` looks like a model, and `-m` names another");
        return unclear(what, format!("  inferno run -m {shown} \"your prompt\"     to ask it\n"));
    }
    match ModelName::parse(word) {
        Ok(ModelName::File(path)) if !word.to_ascii_lowercase().ends_with(".gguf") && path.exists() => {
            unclear(
                format!("`{shown}` is a file, and `run` takes a prompt"),
                format!(
                    "  inferno run --file {shown} \"your question\"     to ask about the file\n  \
                 inferno run -m {shown} \"your prompt\"     to ask it, if it is a GGUF model\n"
                ),
            )
        }
        Ok(ModelName::File(path)) if !path.exists() => unclear(
            format!("`{shown}` looks like a model's file, and there is no such file"),
            format!("  inferno run -m {shown} \"your prompt\"     to ask a model in a file\n"),
        ),
        // A word alone may be a prompt after all, and is not sent to the hub.
        Ok(name) => match Hub::repository(&name) {
            Err(e) if matches!(name, ModelName::Alias { .. }) => unclear(e.to_string(), String::new()),
            _ => FirstWord::Model,
        },
        Err(e) => unclear(e.to_string(), String::new()),
    }
}

/// Whether a command line has `-m`, in any of its forms.
fn names_model(args: impl IntoIterator<Item = OsString>) -> bool {
    let args = habits::written_out(args);
    let flags = args.iter().take_while(|arg| *arg != "--").filter_map(|arg| arg.to_str());
    flags.filter(|arg| arg.starts_with('-')).any(|arg| match arg.strip_prefix("--") {
        Some(long) => ["model", "hf-repo", "model-url"].contains(&long.split('=').next().unwrap_or(long)),
        None => arg.starts_with("-m"),
    })
}

/// Whether a model without a prompt is to be talked with: at a terminal, and unless a flag asks for one answer.
fn is_chat(args: &cli::Run) -> bool {
    args.words.is_empty()
        && args.file.is_empty()
        && !args.json
        && std::io::stdin().is_terminal()
        && std::io::stdout().is_terminal()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let shown: String = word.chars().flat_map(char::escape_debug).collect();
    let is_plain = |c: char| c.is_alphanumeric() || "._-/:+@%,".contains(c);
    if shown.chars().all(is_plain) { shown } else { format!("'{}'", shown.replace('\'', "'\\''")) }
}

fn prompt_tokens(
    args: &cli::Run,
    opened: &Opened,
    tokenizer: &Tokenizer,
    text: &str,
) -> Result<(Vec<u32>, Form)> {
    if args.raw {
        // As the API has it: one start token, and an empty text is that alone.
        let mut tokens = tokenizer.encode(text, Special::Recognise);
        let bos = tokenizer.bos().filter(|bos| tokenizer.add_bos() && tokens.first() != Some(bos));
        tokens.splice(..0, bos);
        ensure!(
            !tokens.is_empty(),
            "the prompt is empty, and the model puts no start token in front of it to go on from"
        );
        return Ok((tokens, Form::new(&args.answering, None, None)?));
    }
    let system = args.answering.system.iter().map(|text| message("system", text));
    let messages: Vec<_> = system.chain([message("user", text)]).collect();
    let template = template(&args.answering, opened, tokenizer)?;
    let source = crate::template::source(args.answering.chat_template.as_ref(), opened);
    let form = Form::new(&args.answering, Some(template.profile()), source.as_deref())?;
    let tokens = form.render(&*template, tokenizer, &messages)?;
    Ok((tokens, form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_flag_names_a_model() {
        let names = |args: &[&str]| names_model(args.iter().map(OsString::from));
        for args in [
            &["-m", "x"][..],
            &["-mx"],
            &["--model", "x"],
            &["--model=x"],
            &["a", "-hf", "x"],
            &["--hf-repo=x"],
        ] {
            assert!(names(args), "{args:?}");
        }
        for args in [&["x"][..], &["--max-tokens", "5"], &["--", "-m"], &["--min-p", "0"], &["m"]] {
            assert!(!names(args), "{args:?}");
        }
    }
}
