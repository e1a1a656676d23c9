//! Ctrl-C: the first asks what goes on to stop cleanly, the second ends the program.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Does anything ask [`requested`]?
static CAUGHT: AtomicBool = AtomicBool::new(false);

/// What a shell reports for a program ended by Ctrl-C.
pub(crate) const EXIT_CODE: u8 = crate::exit::INTERRUPTED;

/// From here on the first Ctrl-C does not end the program at once: [`requested`] must be asked often.
pub(crate) fn listen() -> Result<()> {
    catch();
    let handler = || {
        if !CAUGHT.load(Ordering::Relaxed) || REQUESTED.swap(true, Ordering::Relaxed) {
            let _ = writeln!(std::io::stderr());
            std::process::exit(EXIT_CODE.into());
        }
    };
    ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")
}

/// Something new begins: the next Ctrl-C is the first again.
pub(crate) fn catch() {
    REQUESTED.store(false, Ordering::Relaxed);
    CAUGHT.store(true, Ordering::Relaxed);
}

/// Nothing goes on that could be stopped: until [`catch`] Ctrl-C ends the program.
pub(crate) fn release() {
    CAUGHT.store(false, Ordering::Relaxed);
}

/// Has Ctrl-C been pressed?
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
