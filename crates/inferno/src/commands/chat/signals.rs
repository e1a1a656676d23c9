//! SIGTERM while the terminal is in other modes than the program found.

/// Makes SIGTERM end the program with the terminal's modes as they were. What was entered is in the history already.
#[cfg(unix)]
pub(super) fn restore_at_sigterm() {
    use tokio::signal::unix::{SignalKind, signal};

    let wait = || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
            if terminate.recv().await.is_some() {
                crate::terminal::restore_modes();
                crate::commands::note("");
                std::process::exit(crate::exit::TERMINATED.into());
            }
        });
    };
    // Without the thread the signal ends the program as it always does.
    let _ = std::thread::Builder::new().name("sigterm".into()).spawn(wait);
}

/// This system has no such signal.
#[cfg(not(unix))]
pub(super) fn restore_at_sigterm() {}
