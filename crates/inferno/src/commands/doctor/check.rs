//! `inferno doctor --check`: what devices compute, compared with the definition of every operation.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use inferno_model::conformance::Group;
use serde_json::{Value as Json, json};

use crate::cli;
use crate::commands::{note, print};
use crate::interrupt;
use crate::load::Checked;
use crate::terminal::{self, entry};

/// Threads that check, at most: drivers compile kernels on them.
const MOST_THREADS: usize = 8;

/// The groups of one kind on one device.
struct Kind {
    device: usize,
    name: &'static str,
    n_left: usize,
    n_groups: usize,
    /// Of all groups, one after the other.
    time: Duration,
    failures: Vec<String>,
}

/// A group that was checked on a device.
struct Outcome {
    device: usize,
    group: Group,
    time: Duration,
    result: Result<(), String>,
}

pub(super) fn check(args: &cli::Doctor) -> Result<ExitCode> {
    interrupt::listen()?;
    let start = Instant::now();
    let devices = args.compute.checked()?;
    ensure!(!devices.is_empty(), "there is no device to check: `inferno doctor` lists what this machine has");
    let mut kinds = kinds(devices.len());
    // Failures are reported; what a panic would write beside them says the same.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let finished = run(&devices, |outcome| {
        if let Some(kind) = noted(&mut kinds, outcome)
            && !args.json
        {
            print(kind.text(&*devices[kind.device]).as_bytes())?;
        }
        Ok(())
    });
    std::panic::set_hook(hook);
    finished?;
    if interrupt::requested() {
        note("stopped");
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    let n_failed: usize = kinds.iter().map(|kind| kind.failures.len()).sum();
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        let checks: Json = kinds.iter().map(|kind| kind.to_json(&*devices[kind.device])).collect();
        let object = json!({
            "inferno": env!("CARGO_PKG_VERSION"),
            "checks": checks,
            "failed": n_failed,
            "seconds": seconds,
        });
        print(format!("{}\n", terminal::json(&format!("{object:#}"))).as_bytes())?;
    } else {
        let verdict = match n_failed {
            0 => "everything is as defined".into(),
            1 => "1 group of operations FAILED".into(),
            n => format!("{n} groups of operations FAILED"),
        };
        print(format!("{verdict}; {seconds:.1} s\n").as_bytes())?;
    }
    Ok(if n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn kinds(n_devices: usize) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for device in 0..n_devices {
        for group in Group::all() {
            match kinds.iter_mut().find(|kind| kind.device == device && kind.name == group.kind()) {
                Some(kind) => {
                    kind.n_left += 1;
                    kind.n_groups += 1;
                }
                None => kinds.push(Kind {
                    device,
                    name: group.kind(),
                    n_left: 1,
                    n_groups: 1,
                    time: Duration::ZERO,
                    failures: Vec::new(),
                }),
            }
        }
    }
    kinds
}

/// Checks everything on some threads, and hands on what each group came to. Ends early after Ctrl-C.
fn run(devices: &[Box<dyn Checked>], mut done: impl FnMut(Outcome) -> Result<()>) -> Result<()> {
    let all =
        (0..devices.len()).flat_map(|device| Group::all().into_iter().map(move |group| (device, group)));
    let queue: Mutex<VecDeque<(usize, Group)>> = Mutex::new(all.collect());
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let worker = |outcomes: Sender<Outcome>| {
        while !interrupt::requested() {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((device, group)) = next else { return };
            let start = Instant::now();
            let result = devices[device].check(group);
            if outcomes.send(Outcome { device, group, time: start.elapsed(), result }).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        let (sender, outcomes) = channel();
        for _ in 0..n_threads {
            let (sender, worker) = (sender.clone(), &worker);
            scope.spawn(move || worker(sender));
        }
        drop(sender);
        outcomes.into_iter().try_for_each(&mut done)
    })
}

/// Notes an outcome with its kind, which is returned if it was the last one.
fn noted(kinds: &mut [Kind], outcome: Outcome) -> Option<&Kind> {
    let Outcome { device, group, time, result } = outcome;
    let kind = kinds.iter_mut().find(|kind| kind.device == device && kind.name == group.kind())?;
    kind.time += time;
    kind.n_left -= 1;
    kind.failures.extend(result.err());
    (kind.n_left == 0).then_some(kind)
}

impl Kind {
    fn text(&self, device: &dyn Checked) -> String {
        let Kind { name, n_groups, .. } = self;
        let seconds = self.time.as_secs_f64();
        let head = if self.failures.is_empty() { "ok" } else { "FAILED" };
        let of = match n_groups {
            1 => String::new(),
            n => format!(" ({} of {n})", n - self.failures.len()),
        };
        let mut text = entry(head, &format!("{}: {name}{of}, {seconds:.2} s", device.name()));
        for failure in &self.failures {
            text += &entry("", failure.lines().next().unwrap_or_default());
        }
        text
    }

    fn to_json(&self, device: &dyn Checked) -> Json {
        json!({
            "device": device.name(),
            "operations": self.name,
            "groups": self.n_groups,
            "seconds": self.time.as_secs_f64(),
            "failures": self.failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wrong;

    impl Checked for Wrong {
        fn name(&self) -> String {
            "wrong".into()
        }

        fn check(&self, group: Group) -> Result<(), String> {
            if group == Group::Pages { Err("page 3 differs\nleft: 1".into()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_failing_group_is_named_and_every_kind_ends_once() {
        let devices: [Box<dyn Checked>; 2] = [Box::new(Wrong), Box::new(Wrong)];
        let mut kinds = kinds(devices.len());
        let mut ended = Vec::new();
        run(&devices, |outcome| {
            ended.extend(noted(&mut kinds, outcome).map(|kind| kind.text(&*devices[kind.device])));
            Ok(())
        })
        .unwrap();
        assert_eq!(ended.len(), kinds.len());
        let failed: Vec<&String> = ended.iter().filter(|text| text.contains("FAILED")).collect();
        assert_eq!(failed.len(), 2);
        assert!(failed[0].contains("wrong: pages"), "{}", failed[0]);
        assert!(failed[0].contains("page 3 differs") && !failed[0].contains("left"), "{}", failed[0]);
        assert!(ended.iter().any(|text| text.contains("products")), "{ended:?}");
    }
}
