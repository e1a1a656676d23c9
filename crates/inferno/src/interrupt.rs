//! Ctrl-C: the first asks the command to stop cleanly, the second ends the program.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What a shell reports for a program ended by Ctrl-C.
pub(crate) const EXIT_CODE: u8 = 130;

/// From here on Ctrl-C does not end the program at once: [`requested`] must be asked often.
pub(crate) fn listen() -> Result<()> {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            let _ = writeln!(std::io::stderr());
            std::process::exit(EXIT_CODE.into());
        }
    };
    ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")
}

/// Has Ctrl-C been pressed?
pub(crate) fn requested() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
