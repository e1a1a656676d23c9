//! libFuzzer around the target that `FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use inferno_fuzz::{Target, watch_panics};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    Target::find(&name).unwrap_or_else(|| {
        eprintln!("FUZZ_TARGET={name} is not a target");
        std::process::exit(2);
    })
});

fuzz_target!(
    init: {
        // libfuzzer-sys aborts at each panic, those that a library catches included.
        let _ = std::panic::take_hook();
        watch_panics(|| std::process::abort());
    },
    |data: &[u8]| (TARGET.check)(data)
);
