//! Faults of the machine around a server: of its files, its processes and what the system gives it, each many times at
//! random moments, while good clients ask for texts that are known.
//!
//! Where to start: [`FAULTS`] has a row for each kind, `stage.rs` a server with clients and the rules, the files beside
//! it one try of each kind. `docs/faults.md` has all faults, also those that other tests show.

mod allocations;
mod clock;
mod files;
mod limits;
mod network;
mod processes;
mod shim;
mod stage;

use std::fmt::Write;
use std::time::Instant;

use serde_json::json;
use xtask::testing::Random;

use super::Result;
use super::args::Args;
use super::report::Report;
use stage::Stage;

/// A kind of fault.
pub(super) struct Fault {
    pub(super) name: &'static str,
    /// Its number in the table of all faults.
    number: &'static str,
    /// Whether this user may do it, and why not.
    can_run: fn() -> Result<()>,
    /// One try, at moments that are random; an error is a rule that was broken.
    run: fn(&Stage, &mut Random) -> Result<()>,
}

fn anybody() -> Result<()> {
    Ok(())
}

pub(super) const FAULTS: [Fault; 16] = [
    Fault { name: "drain", number: "F7", can_run: anybody, run: processes::drain },
    Fault { name: "drain-twice", number: "F7", can_run: anybody, run: processes::drain_twice },
    Fault { name: "kill", number: "F8", can_run: anybody, run: processes::kill },
    Fault { name: "model-loading", number: "F9", can_run: anybody, run: files::model_while_loading },
    Fault { name: "model-serving", number: "F9", can_run: anybody, run: files::model_while_serving },
    Fault { name: "memory", number: "F10", can_run: anybody, run: limits::memory },
    Fault {
        name: "allocations-loading",
        number: "F11",
        can_run: shim::can_preload,
        run: allocations::loading,
    },
    Fault {
        name: "allocations-serving",
        number: "F11",
        can_run: shim::can_preload,
        run: allocations::serving,
    },
    Fault { name: "descriptors", number: "F12", can_run: anybody, run: limits::descriptors },
    Fault { name: "disk-full", number: "F13", can_run: files::can_mount, run: files::disk_full },
    Fault { name: "clock", number: "F14", can_run: shim::can_preload, run: clock::clock },
    Fault { name: "stop", number: "F15", can_run: anybody, run: processes::stop },
    Fault { name: "network", number: "F16", can_run: anybody, run: network::network },
    Fault { name: "hogs", number: "F17", can_run: anybody, run: processes::hogs },
    Fault { name: "log-stuck", number: "F18", can_run: anybody, run: files::log_stuck },
    Fault { name: "template-child", number: "child", can_run: anybody, run: processes::template_child },
];

pub(super) fn run(args: &Args, program: &std::path::Path) -> Result<Report> {
    let stage = Stage::new(args, program)?;
    let (mut text, mut figures, mut broken) = (String::new(), Vec::new(), Vec::new());
    let chosen = |fault: &&Fault| args.only.is_empty() || args.only.iter().any(|name| name == fault.name);
    for fault in FAULTS.iter().filter(chosen) {
        let Fault { name, number, .. } = fault;
        if let Err(why) = (fault.can_run)() {
            eprintln!("SKIPPED: {name}: {why}");
            let _ = writeln!(text, "{number:5} {name:19} SKIPPED: {why}");
            continue;
        }
        let (begun, n_good) = (Instant::now(), stage.n_good());
        let mut n_kept = 0;
        for i in 0..args.n_tries() {
            let seed = args.seed.wrapping_add((i as u64) << 32);
            stage.begin_try(i);
            match (fault.run)(&stage, &mut Random(seed)) {
                Ok(()) => n_kept += 1,
                Err(why) => {
                    let (number, words) = (i + 1, stage.last_words());
                    let why = format!("{name}, try {number} of seed {}: {why}\nthe log:\n{words}", args.seed);
                    eprintln!("FAILED: {why}");
                    broken.push(why);
                }
            }
        }
        let (n_good, seconds) = (stage.n_good() - n_good, begun.elapsed().as_secs_f64());
        let _ = writeln!(
            text,
            "{number:5} {name:19} {n_kept} of {} as expected, {n_good} good requests, {seconds:.0} s",
            args.n_tries()
        );
        eprintln!("{name} is over");
        figures.push(json!({
            "name": name, "number": number, "tries": args.n_tries(), "kept": n_kept, "good": n_good, "seconds": seconds,
        }));
    }
    Ok(Report { text, figures: json!({ "faults": figures }), broken, missed: Vec::new() })
}
