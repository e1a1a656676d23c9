use std::num::NonZero;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{CommandFactory, Subcommand};

use super::*;

#[derive(Debug, Parser)]
#[command(name = "inferno")]
struct Cli {
    #[command(subcommand)]
    command: Commands,
}

impl ChosenDefaults for Cli {}

#[derive(Debug, Subcommand)]
enum Commands {
    Serve(Serve),
    Plain {
        #[arg(long, env = "INFERNO_TEST_PORT", default_value_t = 80)]
        port: u16,

        #[arg(long, conflicts_with = "port")]
        speed: Option<u32>,

        #[arg(long)]
        depth: Option<u32>,
    },
}

#[derive(Debug, PartialEq, clap::Args)]
struct Serve {
    model: Option<PathBuf>,

    #[arg(long, env = "INFERNO_TEST_CONFIG")]
    config: Option<PathBuf>,

    #[arg(long, env = "INFERNO_TEST_NAME", required = true)]
    name: Option<String>,

    #[arg(long, env = "INFERNO_TEST_PORT", default_value_t = 80)]
    port: u16,

    #[arg(long, env = "INFERNO_TEST_API_KEY", value_parser = key)]
    api_key: Vec<String>,

    #[arg(long, env = "INFERNO_TEST_QUEUE")]
    queue: Option<NonZero<usize>>,

    #[arg(long, env = "INFERNO_TEST_DEVICES", value_delimiter = ',')]
    devices: Vec<u32>,

    #[arg(long, env = "INFERNO_TEST_ALLOW_ANY", value_parser = FalseyValueParser::new())]
    allow_any: bool,

    #[arg(long, env = "INFERNO_TEST_ORIGIN", conflicts_with = "allow_any")]
    origin: Option<String>,

    #[arg(long, env = "INFERNO_TEST_TEMPERATURE", default_value_t = 0.6)]
    temperature: f32,

    #[arg(long, env = "INFERNO_TEST_LEVEL", value_parser = ["low", "high"])]
    level: Option<String>,
}

fn key(text: &str) -> Result<String, String> {
    if text.starts_with("sk-") { Ok(text.into()) } else { Err(format!("no key: {text}")) }
}

/// What comes of a file and of flags.
fn parsed(toml: &str, flags: &[&str]) -> Result<Serve, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inferno.toml");
    std::fs::write(&path, toml).unwrap();
    let path = path.to_str().unwrap();
    let args = [&["inferno", "serve", "--config", path], flags].concat();
    let args = args.into_iter().map(OsString::from);
    match parse::<Cli>(args) {
        Ok(Cli { command: Commands::Serve(serve) }) => Ok(Serve { config: None, ..serve }),
        Ok(cli) => panic!("{cli:?}"),
        Err(e) => {
            assert_eq!(e.exit_code(), 2);
            Err(e.to_string().replace(path, "inferno.toml"))
        }
    }
}

#[track_caller]
fn ok(toml: &str, flags: &[&str]) -> Serve {
    parsed(&format!("name = 'n'\n{toml}"), flags).unwrap()
}

#[track_caller]
fn check_error(toml: &str, expected: &str) {
    let error = parsed(toml, &["--name", "n"]).unwrap_err();
    assert_eq!(error.trim_end(), format!("error: `inferno.toml`{expected}"));
}

/// Runs a test of this file again as a program of its own, with `env`; true in there.
fn is_child(test: &str, env: &[(&str, &str)]) -> bool {
    const MARK: &str = "INFERNO_TEST_IS_CHILD";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("config_file::tests::{test}")]).env(MARK, "1");
    let output = command.envs(env.iter().copied()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
    false
}

#[test]
fn the_test_command_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_file_counts_more_than_the_default_and_less_than_a_flag() {
    assert_eq!(ok("", &[]).port, 80);
    assert_eq!(ok("port = 1", &[]).port, 1);
    assert_eq!(ok("port = 1", &["--port", "3"]).port, 3);
}

#[test]
fn the_environment_counts_more_than_the_file_and_less_than_a_flag() {
    let env = [("INFERNO_TEST_PORT", "2"), ("INFERNO_TEST_API_KEY", "sk-env"), ("INFERNO_TEST_ORIGIN", "o")];
    if is_child("the_environment_counts_more_than_the_file_and_less_than_a_flag", &env) {
        let file = "port = 1\napi-key = ['sk-a', 'sk-b']\nallow-any = true";
        let serve = ok(file, &[]);
        assert_eq!((serve.port, serve.api_key), (2, vec!["sk-env".to_owned()]));
        assert_eq!((serve.origin.as_deref(), serve.allow_any), (Some("o"), false));
        assert_eq!(ok(file, &["--port", "3"]).port, 3);
        assert_eq!(ok("", &[]).port, 2);
    }
}

#[test]
fn the_environment_may_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a file.toml");
    std::fs::write(&path, "name = 'n'\nport = 5").unwrap();
    if is_child("the_environment_may_name_the_file", &[("INFERNO_TEST_CONFIG", path.to_str().unwrap())]) {
        let cli: Cli = parse(["inferno", "serve"].map(OsString::from)).unwrap();
        assert!(matches!(cli.command, Commands::Serve(Serve { port: 5, .. })), "{cli:?}");
        // Another command's variable.
        let cli: Cli = parse(["inferno", "plain"].map(OsString::from)).unwrap();
        assert!(matches!(cli.command, Commands::Plain { port: 80, .. }), "{cli:?}");
    }
}

#[test]
fn every_type_of_value_arrives() {
    let serve = ok(
        "temperature = 1.5e-1\nqueue = 0x40\nallow_any = true\napi-key = ['sk-a', 'sk-b,c']\ndevices = [0, 1]\nlevel = 'low'",
        &[],
    );
    let expected = Serve {
        model: None,
        config: None,
        name: Some("n".into()),
        port: 80,
        api_key: vec!["sk-a".into(), "sk-b,c".into()],
        queue: NonZero::new(64),
        devices: vec![0, 1],
        allow_any: true,
        origin: None,
        temperature: 0.15,
        level: Some("low".into()),
    };
    assert_eq!(serve, expected);
    let serve = ok("port = '81'\napi-key = 'sk-a'\ndevices = []\nallow-any = false\ntemperature = 1", &[]);
    assert_eq!((serve.port, serve.api_key, serve.devices), (81, vec!["sk-a".to_owned()], vec![]));
    assert_eq!((serve.allow_any, serve.temperature), (false, 1.0));
}

#[test]
fn a_flag_replaces_an_array_of_the_file() {
    let serve = ok("api-key = ['sk-a', 'sk-b']", &["--api-key", "sk-c", "--api-key", "sk-d"]);
    assert_eq!(serve.api_key, ["sk-c", "sk-d"]);
}

#[test]
fn tables_are_headings() {
    let nested = ok("[limits]\nqueue = 64\n[limits.more]\nport = 9\n[sampling]\ntemperature = 1.0", &[]);
    assert_eq!(nested, ok("queue = 64\nport = 9\ntemperature = 1.0", &[]));
    check_error("queue = 1\n[limits]\nqueue = 2", " line 1: `queue`: it is set twice");
    check_error("allow-any = true\nallow_any = true", " line 2: `allow_any`: it is set twice");
}

#[test]
fn a_table_of_a_command_is_for_it_alone_and_counts_more() {
    for file in ["port = 1\n[serve]\nport = 2", "[serve.limits]\nport = 2\n[limits]\nport = 1"] {
        assert_eq!(ok(file, &[]).port, 2, "{file}");
    }
    // A flag of another command alone is no error, and its table is not read.
    let serve = ok("speed = 5\n[plain]\nport = 3\nprot = 4\n[serve]\nqueue = 7", &[]);
    assert_eq!((serve.port, serve.queue), (80, NonZero::new(7)));
    check_error("[serve]\nspeed = 5", " line 2: `speed`: there is no such option, `serve --help` lists them");
    check_error("[serve]\nport = 1\n[serve.limits]\nport = 2", " line 2: `port`: it is set twice");
    check_error("sped = 5", " line 1: `sped`: there is no such option, `serve --help` lists them");
}

#[test]
fn commands_get_a_file_and_variables_that_their_definition_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inferno.toml");
    std::fs::write(&path, "port = 1\ndepth = 1\n[plain]\ndepth = 2\n[serve]\nport = 3").unwrap();
    let env = [("INFERNO_CONFIG", path.to_str().unwrap()), ("INFERNO_SPEED", "9")];
    if is_child("commands_get_a_file_and_variables_that_their_definition_leaves_out", &env) {
        let plain = |args: &[&str]| {
            let args = [&["inferno", "plain"], args].concat().into_iter().map(OsString::from);
            match parse::<Cli>(args).unwrap().command {
                Commands::Plain { port, speed, depth } => (port, speed, depth),
                other => panic!("{other:?}"),
            }
        };
        // The variable wins over the setting that it excludes, and a flag over the variable.
        assert_eq!(plain(&[]), (80, Some(9), Some(2)));
        assert_eq!(plain(&["--port", "7"]), (7, None, Some(2)));
    }
}

#[test]
fn a_required_flag_may_be_in_the_file() {
    assert_eq!(ok("", &[]).name.as_deref(), Some("n"));
    let error = parsed("", &[]).unwrap_err();
    assert!(error.contains("--name <NAME>"), "{error}");
}

#[test]
fn a_flag_wins_over_what_it_excludes_in_the_file() {
    let serve = ok("allow-any = true", &["--origin", "o"]);
    assert_eq!((serve.allow_any, serve.origin.as_deref()), (false, Some("o")));
    let serve = ok("origin = 'o'", &["--allow-any"]);
    assert_eq!((serve.allow_any, serve.origin), (true, None));
    assert_eq!(ok("origin = 'o'\nallow-any = false", &[]).origin.as_deref(), Some("o"));
    check_error("origin = 'o'\nallow-any = true", ": `origin` cannot be together with `allow-any`");
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_ones() {
    check_error("\nprot = 1", " line 2: `prot`: there is no such option, the nearest are `port`");
    check_error(
        "[limits]\nqueues = 1",
        " line 2: `queues`: there is no such option, the nearest are `queue`",
    );
    check_error("zzz = 1", " line 1: `zzz`: there is no such option, `serve --help` lists them");
    check_error("\"\\u0007\" = 1", " line 1: `\\u{7}`: there is no such option, `serve --help` lists them");
    for key in ["model", "config", "help", "version"] {
        check_error(&format!("{key} = 'x'"), &format!(" line 1: `{key}`: it cannot be set in a file"));
    }
}

#[test]
fn values_of_another_type_are_refused() {
    for (toml, expected) in [
        ("port = true", "`port`: expected a string or a number, found a boolean"),
        ("port = [1]", "`port`: expected a string or a number, found an array"),
        ("port = 2020-01-01", "`port`: expected a string or a number, found a date or time"),
        ("origin = 5", "`origin`: expected a string, found an integer"),
        ("allow-any = 'true'", "`allow-any`: expected true or false, found a string"),
        ("allow-any = 1", "`allow-any`: expected true or false, found an integer"),
        ("devices = [[1]]", "`devices`: expected a string or a number, found an array"),
        ("[[port]]\nqueue = 1", "`port`: expected a string or a number, found an array"),
    ] {
        check_error(toml, &format!(" line 1: {expected}"));
    }
}

#[test]
fn values_that_the_flag_refuses_are_named() {
    for (toml, expected) in [
        ("port = 70000", "`port`: `70000` is refused: 70000 is not in 0..=65535"),
        ("port = -1", "`port`: `-1` is refused: -1 is not in 0..=65535"),
        ("queue = 0", "`queue`: `0` is refused: number would be zero for non-zero type"),
        ("queue = 1.5", "`queue`: `1.5` is refused: invalid digit found in string"),
        ("devices = [1, 'x']", "`devices`: `x` is refused: invalid digit found in string"),
        ("level = 'mid'", "`level`: `mid` is refused, expected one of: low, high"),
    ] {
        check_error(toml, &format!(" line 1: {expected}"));
    }
}

#[test]
fn secrets_are_not_shown() {
    check_error("api-key = 'hunter2'", " line 1: `api-key`: its value is refused");
    check_error("api-key = 1234567", " line 1: `api-key`: expected a string, found an integer");
    for toml in ["api-key = hunter2", "api-key = 'hunter2", "api-key = ['hunter2' 'hunter3']"] {
        let error = parsed(toml, &["--name", "n"]).unwrap_err();
        assert!(error.starts_with("error: `inferno.toml` line 1: "), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let args = ["inferno", "serve", "--config", "no such file"].map(OsString::from);
    let error = parse::<Cli>(args).unwrap_err().to_string();
    assert!(error.starts_with("error: `no such file`: cannot read: "), "{error}");
    check_error("port = ", " line 1: string values must be quoted, expected literal string");
}

#[test]
fn what_is_wrong_on_the_command_line_is_said_as_ever() {
    for flags in [&["--port", "x"][..], &["--bogus"], &["--origin", "o", "--allow-any"]] {
        let error = parsed("name = 'n'", flags).unwrap_err();
        assert!(error.contains(flags[0]) && error.contains("try '--help'"), "{error}");
    }
    let help = parse::<Cli>(["inferno", "serve", "--config", "no such file", "--help"].map(OsString::from));
    assert_eq!(help.unwrap_err().kind(), ErrorKind::DisplayHelp);
    let nothing = parse::<Cli>(["inferno"].map(OsString::from)).unwrap_err();
    assert_eq!(nothing.exit_code(), 2);
}

#[test]
fn all_flags_of_the_test_command_have_an_environment_variable() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    every_flag_has_an_environment_variable(serve);
}

#[test]
#[should_panic(expected = "flags without an environment variable: bare")]
fn a_flag_without_an_environment_variable_is_found() {
    every_flag_has_an_environment_variable(&Command::new("serve").arg(Arg::new("bare").long("bare")));
}
