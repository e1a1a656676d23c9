//! `inferno completions`: scripts for shells. Clap generates them; completion of models' names is added here, for shells that can run
//! `inferno list --names` while they complete.

use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::config_file;

/// The value name of arguments that take a model.
const MODEL: &str = "MODEL";
/// A hint that marks these arguments for clap; no argument has it for what it means.
const MARK: ValueHint = ValueHint::CommandName;

/// The script for `shell`.
pub(crate) fn script(shell: Shell) -> String {
    let mut command = marked(config_file::command::<Cli>());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "inferno", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => bash(&script, &command),
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(script, &command),
        _ => script,
    }
}

fn takes_model(arg: &Arg) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == MODEL))
}

fn marked(command: Command) -> Command {
    command.mut_args(|arg| if takes_model(&arg) { arg.value_hint(MARK) } else { arg }).mut_subcommands(marked)
}

/// Commands with an argument that is a model, and their other names.
fn commands(command: &Command) -> Vec<&str> {
    let is_wanted = |command: &&Command| command.get_positionals().any(takes_model);
    let wanted = command.get_subcommands().filter(is_wanted);
    wanted
        .flat_map(|command| std::iter::once(command.get_name()).chain(command.get_visible_aliases()))
        .collect()
}

/// Registers a function that completes models, and calls the generated one for all else. Bash ends words at `:` too, which names have.
fn bash(script: &str, command: &Command) -> String {
    let function = BASH.replace("COMMANDS", &commands(command).join("|"));
    let registered = script.replace("complete -F _inferno ", "complete -F _inferno_or_model ");
    function + &registered
}

const BASH: &str = r#"# Completes models where one is expected, and calls _inferno elsewhere.
_inferno_or_model() {
    local line="${COMP_LINE:0:COMP_POINT}" words word before
    word="${line##*[[:space:]]}"
    read -ra words <<<"${line%"$word"}"
    before="${words[${#words[@]}-1]}"
    case "$before $word" in
        "-m "*|"--model "*|"-hf "*) ;;
        *" --model="*) word="${word#--model=}" ;;
        *" -"*|-*)
            _inferno "$@"
            return
            ;;
        *)
            case "${words[1]}" in
                COMMANDS|run) ;;
                *)
                    _inferno "$@"
                    return
                    ;;
            esac
            # Of `run` the first word alone may be a model.
            if [[ ${words[1]} == run && ${#words[@]} -gt 2 ]]; then
                _inferno "$@"
                return
            fi
            ;;
    esac
    local IFS=$'\n'
    COMPREPLY=( $(compgen -W "$("$1" list --names 2>/dev/null)" -- "$word") $(compgen -f -- "$word") )
    # What is before the last of these characters is on the line already.
    if [[ $COMP_WORDBREAKS == *:* && $word == *:* ]]; then
        COMPREPLY=( "${COMPREPLY[@]#"${word%"${word##*:}"}"}" )
    fi
}

"#;

fn zsh(script: &str) -> String {
    let script = script.replace("_command_names -e", "_inferno_models");
    // The end of the script calls what is above it.
    match script.rfind("if [ \"$funcstack[1]\"") {
        Some(end) => format!("{}{ZSH}{}", &script[..end], &script[end..]),
        None => script,
    }
}

const ZSH: &str = r#"_inferno_models() {
    local -a names
    names=(${(f)"$(_call_program models inferno list --names 2>/dev/null)"})
    _alternative 'models:model:compadd -a names' 'files:file:_files'
}

"#;

fn fish(script: String, command: &Command) -> String {
    const NAMES: &str = "-a \"(inferno list --names 2>/dev/null)\"";
    let mut script = script.replace("-f -a \"(__fish_complete_command)\"", &format!("-F {NAMES}"));
    for name in commands(command).into_iter().chain(["run"]) {
        script += &format!("complete -c inferno -n \"__fish_inferno_using_subcommand {name}\" {NAMES}\n");
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_completed_wherever_one_is_taken() {
        let all = config_file::command::<Cli>();
        let found = commands(&all);
        for command in ["chat", "serve", "bench", "pull", "show", "rm", "remove", "doctor", "inspect"] {
            assert!(found.contains(&command), "{command}: {found:?}");
        }
        assert!(!found.contains(&"synth") && !found.contains(&"completions"));
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            assert!(script.contains("list --names"), "{shell}");
            assert!(
                !script.contains("_command_names") && !script.contains("__fish_complete_command"),
                "{shell}"
            );
        }
        assert!(script(Shell::Bash).contains("complete -F _inferno_or_model"));
        assert!(script(Shell::Zsh).contains(":MODEL:_inferno_models"));
    }
}
