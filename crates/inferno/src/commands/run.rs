//! `inferno run`: one prompt, one answer, streamed.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use inferno_text::{Special, Tokenizer, message};

use crate::answer::Stop;
use crate::commands::{MAX_PROMPT_BYTES, note, read_stdin};
use crate::load::Opened;
use crate::session::{Session, render, template};
use crate::{cli, interrupt};

pub(crate) fn run(args: &cli::Run) -> Result<ExitCode> {
    let text = prompt_text(args)?;
    let (session, prompt) =
        Session::start(&args.answering, |opened, tokenizer| prompt_tokens(args, opened, tokenizer, &text))?;
    session.check("the prompt", &prompt)?;
    let answer = session.answer(prompt, 0)?;
    note(&answer.speeds());
    Ok(match answer.stop {
        Stop::Interrupted => ExitCode::from(interrupt::EXIT_CODE),
        _ => ExitCode::SUCCESS,
    })
}

/// The argument, or stdin if that is piped.
fn prompt_text(args: &cli::Run) -> Result<String> {
    let text = match args.prompt.as_deref() {
        Some(text) if text != "-" => text.to_owned(),
        None if std::io::stdin().is_terminal() => {
            bail!("there is no prompt: give one as an argument (`inferno run \"Hello\"`) or pipe it in")
        }
        _ => {
            let text = read_stdin(MAX_PROMPT_BYTES)?;
            text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t)).to_owned()
        }
    };
    ensure!(!text.is_empty(), "the prompt is empty");
    Ok(text)
}

fn prompt_tokens(args: &cli::Run, opened: &Opened, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    if args.raw {
        let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
        return Ok(bos.into_iter().chain(tokenizer.encode(text, Special::Recognise)).collect());
    }
    let system = args.answering.system.iter().map(|text| message("system", text));
    let messages: Vec<_> = system.chain([message("user", text)]).collect();
    render(&*template(opened, tokenizer)?, tokenizer, &messages)
}
