//! Limits that the system sets the server: memory, descriptors.

use std::net::TcpStream;
use std::time::Duration;

use xtask::testing::Random;

use super::stage::{Setup, Stage, pause};
use crate::load::Result;

/// Limits of address space, in KiB: from too little to start with to enough.
const LEAST_MEMORY: usize = 64 << 10;
const MOST_MEMORY: usize = 900 << 10;

/// Answers to requests for which there is no memory.
const MAY_FAIL: [&str; 3] = ["out_of_memory", "out_of_threads", "template_unavailable"];

/// Address space is limited: the server says at its start that it does not suffice, or serves, or refuses single requests.
pub(super) fn memory(stage: &Stage, random: &mut Random) -> Result<()> {
    let kib = LEAST_MEMORY + random.below(MOST_MEMORY - LEAST_MEMORY);
    within(stage, random, kib).map_err(|why| format!("with {kib} KiB: {why}"))
}

fn within(stage: &Stage, random: &mut Random, kib: usize) -> Result<()> {
    let setup = Setup { before: format!("ulimit -v {kib} &&"), ..Setup::default() };
    let (mut server, addresses) = stage.spawn(&setup)?;
    match server.listen(&addresses) {
        Ok(()) => {}
        // 127: the shell cannot load the program.
        Err(why) if why.contains("exit status: 127") => return Ok(()),
        Err(why) if why.contains("exit status: 1\n") && why.contains("error: ") => return Ok(()),
        Err(why) => return Err(why),
    }
    let target = stage.target(server)?;
    stage.while_asked(&target, &MAY_FAIL, || {
        pause(random, Duration::from_secs(1));
        Ok(())
    })?;
    stage.is_well_or(target, &MAY_FAIL)
}

/// Connections that say nothing take all descriptors for a while.
pub(super) fn descriptors(stage: &Stage, random: &mut Random) -> Result<()> {
    let setup = Setup { before: "ulimit -n 64 &&".into(), ..Setup::default() };
    let target = stage.start(&setup)?;
    stage.while_asked(&target, &[], || {
        pause(random, Duration::from_millis(500));
        let connect = |_| TcpStream::connect_timeout(&target.address, Duration::from_secs(1)).ok();
        let silent: Vec<Option<TcpStream>> = (0..200).map(connect).collect();
        pause(random, Duration::from_secs(2));
        drop(silent);
        pause(random, Duration::from_millis(500));
        Ok(())
    })?;
    stage.is_well(target)
}
