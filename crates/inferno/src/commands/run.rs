//! `inferno run`: one prompt, one answer, streamed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use inferno_text::{Special, Tokenizer, message};
use serde_json::{Value as Json, json};

use crate::answer::{Answer, Call, Stop, Thinking, per_second};
use crate::commands::{note, print};
use crate::form::Form;
use crate::load::Opened;
use crate::names::{self, Named};
use crate::prompt::Parts;
use crate::session::{Session, template};
use crate::{cli, exit, interrupt, terminal};

pub(crate) fn run(args: &cli::Run) -> Result<ExitCode> {
    if let Some(question) = model_in_place_of_prompt(args) {
        note(&question);
        return Ok(ExitCode::from(exit::USAGE));
    }
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
    if !answer.reasoning.is_empty() {
        object["reasoning"] = answer.reasoning.as_str().into();
        object["usage"]["completion_tokens_details"] = json!({ "reasoning_tokens": answer.n_reasoning });
    }
    if !answer.calls.is_empty() {
        object["tool_calls"] = answer.calls.iter().map(Call::to_json).collect();
    }
    object
}

/// A question back, if the words are a model's name in place of a prompt, or begin with one as other programs have it
/// (`run qwen3:0.6b "Hello"`).
fn model_in_place_of_prompt(args: &cli::Run) -> Option<String> {
    if args.raw || !args.literal.is_empty() {
        return None;
    }
    let word = match &args.words[..] {
        [word] => word,
        // A file's name may well begin a sentence; a quoted prompt behind it is no sentence's end.
        [word, prompt] if prompt.contains(char::is_whitespace) => word,
        [word, _, ..] if word.contains([':', '/']) || word.to_ascii_lowercase().ends_with(".gguf") => word,
        _ => return None,
    };
    let named = names::named(word)?;
    let shown: String = word.trim().chars().flat_map(char::escape_debug).collect();
    let (what, ask) = match named {
        Named::File if word.to_ascii_lowercase().ends_with(".gguf") => {
            ("looks like a model", format!("  inferno run -m {shown} \"your prompt\"     to ask the model\n"))
        }
        Named::File => {
            let file = format!("  inferno run --file {shown} \"your question\"     to ask about the file\n");
            (
                "is a file",
                file + &format!(
                    "  inferno run -m {shown} \"your prompt\"     to ask it, if it is a GGUF model\n"
                ),
            )
        }
        Named::Repository | Named::Alias => {
            let get = names::how_to_get(word)
                .replace("`-m FILE.gguf`", "`inferno run -m FILE.gguf \"your prompt\"`");
            ("looks like the name of a model", format!("{get}\n"))
        }
    };
    let literal = args.words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    Some(format!(
        "error: `{shown}` {what}, and `run` takes a prompt\n\n{ask}  inferno run -- {literal}     to send it as the prompt"
    ))
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
