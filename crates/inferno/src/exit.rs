//! Exit codes, of all commands.

/// The command line, an environment variable or the configuration is wrong.
pub(crate) const USAGE: u8 = 2;
/// The engine is broken: a supervisor should start the program again (`EX_SOFTWARE` of sysexits.h).
pub(crate) const BROKEN: u8 = 70;
/// A second SIGHUP while the server drains.
pub(crate) const HANGUP: u8 = 129;
/// Ctrl-C, as a shell reports it.
pub(crate) const INTERRUPTED: u8 = 130;
/// A second SIGTERM while the server drains, or one in a chat on a terminal.
pub(crate) const TERMINATED: u8 = 143;

/// Every code with its meaning, as `--help` and `docs/command-line.md` have it.
pub(crate) const CODES: [(u8, &str); 7] = [
    (0, "success; for `serve`: every answer was finished or told that it is over"),
    (
        1,
        "a file, the machine, the network or an answer failed, and stderr says how; for `chat` on a pipe: a turn was not answered; for `conformance`: a check failed",
    ),
    (
        USAGE,
        "the command line, an environment variable or the configuration file is wrong; for `conformance`: no server answers",
    ),
    (BROKEN, "`serve`: the engine is broken, start the program again"),
    (HANGUP, "`serve` on a terminal: a second SIGHUP before all answers were finished"),
    (INTERRUPTED, "Ctrl-C; for `serve`: the second one"),
    (TERMINATED, "`serve`: a second SIGTERM before all answers were finished; `chat` on a terminal: SIGTERM"),
];

/// The codes as the end of a help text.
pub(crate) fn help() -> String {
    let lines = CODES.iter().map(|(code, meaning)| format!("  {code:<4} {meaning}\n"));
    format!("Exit codes:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_code() {
        let path = xtask::testing::root().join("docs/command-line.md");
        let text = std::fs::read_to_string(path).unwrap();
        for (code, meaning) in CODES {
            assert!(text.contains(&format!("| {code} | {meaning} |")), "{code}");
        }
        let is_code = |line: &&str| {
            line.strip_prefix("| ")
                .and_then(|line| line.split(' ').next())
                .is_some_and(|n| n.parse::<u8>().is_ok())
        };
        assert_eq!(text.lines().filter(is_code).count(), CODES.len());
    }
}
