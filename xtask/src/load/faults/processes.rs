//! Signals to the server and its children, and other processes on its cores.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use xtask::testing::Random;

use super::stage::{GONE, Setup, Stage, has_ended, pause, signal};
use crate::load::Result;

/// Time in which a fault comes, from the moment on at which clients begin to ask.
const WHEN: Duration = Duration::from_millis(700);

/// SIGTERM: what runs comes to its end, what is new is refused, and the program ends well.
pub(super) fn drain(stage: &Stage, random: &mut Random) -> Result<()> {
    let mut target = stage.start(&Setup::default())?;
    // No stream is cut.
    let may_fail =
        ["status 503", "cannot connect", "the connection ended within a head", "Connection reset by peer"];
    let pid = target.pid.unwrap_or_default();
    stage.while_asked(&target, &may_fail, || {
        pause(random, WHEN);
        signal(pid, "TERM")?;
        pause(random, WHEN);
        Ok(())
    })?;
    has_ended(&mut target, Some(0))
}

/// A second SIGTERM or SIGINT in the drain: streams are told, and the program ends at once.
pub(super) fn drain_twice(stage: &Stage, random: &mut Random) -> Result<()> {
    let mut target = stage.start(&Setup::default())?;
    let may_fail = [&GONE[..], &["shutting_down"]].concat();
    let pid = target.pid.unwrap_or_default();
    let (second, code) = [("TERM", 143), ("INT", 130)][random.below(2)];
    let is_late = stage.while_asked(&target, &may_fail, || {
        pause(random, WHEN);
        signal(pid, "TERM")?;
        pause(random, Duration::from_millis(100));
        // It may have ended between the two.
        Ok(signal(pid, second).is_err())
    })?;
    let begun = Instant::now();
    has_ended(&mut target, Some(code)).or_else(|why| match is_late {
        true => has_ended(&mut target, Some(0)),
        // All streams may have ended in time.
        false => has_ended(&mut target, Some(0)).map_err(|_| why),
    })?;
    match begun.elapsed() {
        time if time > Duration::from_secs(5) => Err(format!("it took {time:?} to end at once")),
        _ => Ok(()),
    }
}

/// SIGKILL while the server loads, serves, drains or writes its cache: the next one starts on the same port, with the files
/// of the killed one.
pub(super) fn kill(stage: &Stage, random: &mut Random) -> Result<()> {
    let [cache, responses] = ["cache", "responses.jsonl"].map(|name| stage.path(name).display().to_string());
    let options = ["--cache-file", &cache, "--responses-file", &responses];
    let (mut server, addresses) = stage.spawn(&Setup::with(&options))?;
    let port = match random.below(4) {
        0 => {
            pause(random, Duration::from_millis(200));
            "0".to_owned()
        }
        n => {
            server.listen(&addresses)?;
            let target = stage.target(server)?;
            let (port, pid) = (target.address.port().to_string(), target.pid.unwrap_or_default());
            stage.while_asked(&target, &[&GONE[..], &["shutting_down"]].concat(), || {
                pause(random, WHEN);
                if n == 1 {
                    signal(pid, "TERM")?;
                    pause(random, Duration::from_millis(500));
                }
                // A drain may be over.
                signal(pid, "KILL").or_else(|why| if n == 1 { Ok(()) } else { Err(why) })
            })?;
            drop(target);
            port
        }
    };
    let target = stage.start(&Setup::with(&[&options[..], &["--port", &port]].concat()))?;
    stage.is_well(target)
}

/// SIGSTOP and SIGCONT, several times.
pub(super) fn stop(stage: &Stage, random: &mut Random) -> Result<()> {
    let target = stage.start(&Setup::with(&["--stall-time", "0.5", "--hang-time", "2"]))?;
    let pid = target.pid.unwrap_or_default();
    stage.while_asked(&target, &[], || {
        for _ in 0..2 {
            pause(random, WHEN);
            signal(pid, "STOP")?;
            pause(random, Duration::from_secs(3));
            signal(pid, "CONT")?;
        }
        pause(random, WHEN);
        Ok(())
    })?;
    stage.is_well(target)
}

/// Eight processes that take all cores: slower, and nothing else.
pub(super) fn hogs(stage: &Stage, random: &mut Random) -> Result<()> {
    let target = stage.start(&Setup::default())?;
    stage.while_asked(&target, &[], || {
        pause(random, WHEN);
        let hogs: Vec<Hog> = (0..8).map(|_| Hog::start()).collect::<Result<_>>()?;
        pause(random, Duration::from_secs(3));
        drop(hogs);
        pause(random, WHEN);
        Ok(())
    })?;
    stage.is_well(target)
}

/// A process that computes until it is dropped.
struct Hog(Child);

impl Hog {
    fn start() -> Result<Hog> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
        command.spawn().map(Hog).map_err(|e| format!("cannot start a process: {e}"))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // Nothing ends it but this.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// SIGKILL to the children that render chat templates.
pub(super) fn template_child(stage: &Stage, random: &mut Random) -> Result<()> {
    let target = stage.start(&Setup::default())?;
    let pid = target.pid.unwrap_or_default();
    let n_killed = stage.while_asked(&target, &[], || {
        let mut n_killed = 0;
        for _ in 0..8 {
            pause(random, WHEN / 2);
            for child in children(pid) {
                // It may have ended already.
                n_killed += usize::from(signal(child, "KILL").is_ok());
            }
        }
        Ok(n_killed)
    })?;
    stage.is_well(target)?;
    match n_killed {
        0 => Err("there was no child to kill".into()),
        _ => Ok(()),
    }
}

/// Processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks
        .flat_map(|task| {
            of_task(task).split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}
