//! The chat template in use, and where it runs: the program's own in this process, all others in a child.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use inferno_text::{ChatRenderer, ChatTemplate, TemplateError, Tokenizer, template_source};

use crate::load::Opened;
use crate::sandbox::Sandbox;

/// The format that models without a template of their own are most often trained on.
const CHATML: &str = "\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
";

/// Bytes of a template file.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The value of `--chat-template`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A Jinja template in a file.
    File(PathBuf),
    /// The program's own ChatML.
    ChatMl,
    /// No template.
    None,
}

impl FromStr for Choice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Choice, Self::Err> {
        match text {
            "chatml" => Ok(Choice::ChatMl),
            "none" => Ok(Choice::None),
            "" => Err("expected a file, chatml or none"),
            text if text.contains("{{") || text.contains("{%") => {
                Err("expected a file with the template, not the template itself")
            }
            path => Ok(Choice::File(path.into())),
        }
    }
}

/// A chat template, or the reason why there is none.
#[derive(Debug)]
pub(crate) enum Found {
    Usable(Arc<dyn ChatRenderer>),
    /// A template that does not parse, or exceeds a limit.
    Unusable(anyhow::Error),
    /// The model has none, or none is wanted. The reason is a clause.
    Missing(String),
}

/// Loads the template that `choice` names, or else the model's. Conversations may have `max_bytes`.
///
/// # Errors
/// The file that `choice` names cannot be read.
pub(crate) fn find(
    choice: Option<&Choice>,
    opened: &Opened,
    tokenizer: &Tokenizer,
    max_bytes: usize,
) -> Result<Found> {
    let context = |source: &str| format!("cannot use the chat template of `{source}`");
    let ours = |source: &str, name: &str| match in_process(source, tokenizer) {
        Ok(template) => Found::Usable(template),
        Err(error) => Found::Unusable(anyhow!(error).context(context(name))),
    };
    let theirs = |source: &str, name: &str| match in_child(source, tokenizer, max_bytes) {
        Ok(template) => Found::Usable(template),
        Err(error) => Found::Unusable(anyhow!(error).context(context(name))),
    };
    Ok(match choice {
        Some(Choice::File(path)) => theirs(&read(path)?, &path.display().to_string()),
        Some(Choice::ChatMl) => ours(CHATML, "chatml"),
        Some(Choice::None) => Found::Missing("it is turned off (`--chat-template none`)".into()),
        None => match template_source(opened.file.metadata()) {
            Ok(Some(source)) if opened.is_built_in() => ours(source, &opened.name),
            Ok(Some(source)) => theirs(source, &opened.name),
            Ok(None) => Found::Missing(format!("`{}` has none", opened.name)),
            Err(error) => Found::Unusable(anyhow!(error).context(context(&opened.name))),
        },
    })
}

/// The source of the template that [`find`] finds, whether it can be used or not; `None` if there is none.
pub(crate) fn source(choice: Option<&Choice>, opened: &Opened) -> Option<String> {
    match choice {
        Some(Choice::File(path)) => read(path).ok(),
        Some(Choice::ChatMl) => Some(CHATML.into()),
        Some(Choice::None) => None,
        None => template_source(opened.file.metadata()).ok().flatten().map(str::to_owned),
    }
}

fn in_process(source: &str, tokenizer: &Tokenizer) -> Result<Arc<dyn ChatRenderer>, TemplateError> {
    Ok(Arc::new(ChatTemplate::new(source, Arc::new(tokenizer.template_tokens()))?))
}

fn in_child(
    source: &str,
    tokenizer: &Tokenizer,
    max_bytes: usize,
) -> Result<Arc<dyn ChatRenderer>, TemplateError> {
    Ok(Arc::new(Sandbox::load(source, &tokenizer.template_tokens(), max_bytes)?))
}

fn read(path: &Path) -> Result<String> {
    let context = || format!("cannot read the chat template `{}`", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(context)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(context)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        bail!("`{}` has more than {MAX_FILE_BYTES} bytes: is it a chat template?", path.display());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow!("`{}` is not UTF-8 at byte {at}: is it a chat template?", path.display())
    })
}

impl Found {
    /// The template.
    ///
    /// # Errors
    /// There is none; the error names what helps.
    pub(crate) fn wanted(self) -> Result<Arc<dyn ChatRenderer>> {
        const HELP: &str = "`--chat-template FILE` (or `chatml`) gives another one, `inferno run --raw` continues text \
                            without";
        match self {
            Found::Usable(template) => Ok(template),
            Found::Unusable(error) => Err(anyhow!("{error:#}; {HELP}")),
            Found::Missing(reason) => Err(anyhow!("there is no chat template: {reason}; {HELP}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use inferno_text::{RenderOptions, TemplateTokens, message};

    use super::*;

    #[test]
    fn chatml_is_written_as_its_models_expect() {
        let template = ChatTemplate::new(CHATML, Arc::new(TemplateTokens::default())).unwrap();
        let messages = [message("system", "Be brief."), message("user", " Hi\n")];
        let rendered = template.render(&messages, &RenderOptions::default()).unwrap();
        let text: String = rendered.parts.iter().map(|part| format!("{part:?}")).collect();
        let expected = "<|im_start|>system\\nBe brief.<|im_end|>\\n<|im_start|>user\\n Hi\\n<|im_end|>\\n<|im_start|>assistant\\n";
        assert_eq!(text, format!("Text(\"{expected}\")"));
    }

    #[test]
    fn a_template_is_chosen_by_file_or_name() {
        assert_eq!("chatml".parse(), Ok(Choice::ChatMl));
        assert_eq!("none".parse(), Ok(Choice::None));
        assert_eq!("./none".parse(), Ok(Choice::File("./none".into())));
        assert!("".parse::<Choice>().is_err() && "{{ messages }}".parse::<Choice>().is_err());
    }
}
