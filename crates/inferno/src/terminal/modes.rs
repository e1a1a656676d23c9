//! Modes of the terminal while the program prints: what is typed meanwhile is kept for the next prompt, and not shown in the
//! midst of an answer.
//!
//! The line editor has its own modes, in which Ctrl-C is a byte. Here it is a signal.

/// Keeps typed text for the line editor while it lives: no echo, no limit to the length of a line, pasted text in brackets.
#[derive(Debug)]
pub(crate) struct Typeahead(());

#[cfg(unix)]
mod unix {
    use std::io::{IsTerminal, Write};
    use std::sync::OnceLock;

    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };

    use super::Typeahead;
    use crate::terminal::is_dumb;

    /// Modes as the program found them.
    static FOUND: OnceLock<Termios> = OnceLock::new();

    impl Typeahead {
        /// `None` if stdin is no terminal.
        pub(crate) fn start() -> Option<Typeahead> {
            let found = match FOUND.get() {
                Some(found) => found,
                None => {
                    let now = tcgetattr(std::io::stdin()).ok()?;
                    FOUND.get_or_init(|| now)
                }
            };
            let mut modes = found.clone();
            modes.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON);
            // Enter stays what the line editor reads, and a pasted newline something else.
            modes.input_modes &= !InputModes::ICRNL;
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(std::io::stdin(), OptionalActions::Now, &modes).ok()?;
            brackets("\x1b[?2004h");
            Some(Typeahead(()))
        }
    }

    impl Drop for Typeahead {
        fn drop(&mut self) {
            restore_modes();
        }
    }

    /// Sets the terminal's modes as the program found them.
    pub(crate) fn restore_modes() {
        if let Some(found) = FOUND.get() {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, found);
            brackets("\x1b[?2004l");
        }
    }

    /// Turns bracketed paste on or off.
    fn brackets(sequence: &str) {
        if std::io::stderr().is_terminal() && !is_dumb() {
            let _ = write!(std::io::stderr(), "{sequence}");
        }
    }
}

#[cfg(unix)]
pub(crate) use unix::restore_modes;

#[cfg(not(unix))]
impl Typeahead {
    /// Has no effect on this system.
    pub(crate) fn start() -> Option<Typeahead> {
        None
    }
}

/// Has no effect on this system.
#[cfg(not(unix))]
pub(crate) fn restore_modes() {}
