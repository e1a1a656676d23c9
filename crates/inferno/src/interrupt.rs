//! Ctrl-C: ends the program, or requests the current work to stop.

use std::io::Write;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use anyhow::{Context, Result};

use crate::terminal;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static MODE: AtomicU8 = AtomicU8::new(ENDS);

/// Ctrl-C ends the program.
const ENDS: u8 = 0;
/// The first Ctrl-C is a request to stop, the second one ends the program.
const STOPS_ONCE: u8 = 1;
/// Every Ctrl-C is a request to stop.
const STOPS: u8 = 2;

/// Exit code of a program that Ctrl-C ended, as shells report it.
pub(crate) const EXIT_CODE: u8 = crate::exit::INTERRUPTED;

/// From here on the first Ctrl-C does not end the program at once: [`requested`] must be asked often.
///
/// # Errors
/// As [`install`].
pub(crate) fn listen() -> Result<()> {
    catch();
    install()
}

/// Handles Ctrl-C from here on, as [`release`], [`catch`] or [`catch_all`] says.
///
/// # Errors
/// The system has no handlers of signals.
pub(crate) fn install() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = ctrlc::set_handler(|| {
            match (MODE.load(Ordering::Relaxed), REQUESTED.swap(true, Ordering::Relaxed)) {
                (STOPS, _) | (STOPS_ONCE, false) => {}
                _ => {
                    terminal::restore_modes();
                    let _ = writeln!(std::io::stderr());
                    std::process::exit(EXIT_CODE.into());
                }
            }
        });
    });
    result.context("cannot listen for Ctrl-C")
}

/// Something begins that asks [`requested`] often: the next Ctrl-C stops it, and another one ends the program.
pub(crate) fn catch() {
    set(STOPS_ONCE);
}

/// As [`catch`], and from here on Ctrl-C never ends the program, whatever [`catch`] and [`release`] say.
pub(crate) fn catch_all() {
    set(STOPS);
}

/// Nothing goes on that could be stopped: Ctrl-C ends the program.
pub(crate) fn release() {
    set(ENDS);
}

fn set(mode: u8) {
    REQUESTED.store(false, Ordering::Relaxed);
    if MODE.load(Ordering::Relaxed) != STOPS {
        MODE.store(mode, Ordering::Relaxed);
    }
}

/// Has Ctrl-C been pressed?
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
