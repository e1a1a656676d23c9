//! Files under the server: the model, what it writes, and where its log goes.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xtask::testing::Random;

use super::stage::{Setup, Stage, ends_by, pause};
use crate::load::Result;

/// Changes of a model file.
const CHANGES: [fn(&Path, &mut Random) -> std::io::Result<()>; 5] = [
    // Cut off.
    |path, random| {
        let len = path.metadata()?.len();
        OpenOptions::new().write(true).open(path)?.set_len(random.bits() % len)
    },
    // Overwritten from somewhere on.
    |path, random| {
        let len = path.metadata()?.len();
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::Start(random.bits() % (len - 4096)))?;
        file.write_all(&[0x5a; 4096])
    },
    // Another file by its name.
    |path, _| {
        let other = path.with_extension("other");
        std::fs::write(&other, vec![0x47; 1 << 20])?;
        std::fs::rename(other, path)
    },
    // Gone.
    |path, _| std::fs::remove_file(path),
    // Longer.
    |path, _| OpenOptions::new().append(true).open(path)?.write_all(&[7; 1 << 16]),
];

fn change(path: &Path, random: &mut Random) -> Result<()> {
    let change = CHANGES[random.below(CHANGES.len())];
    change(path, random).map_err(|e| format!("cannot change `{}`: {e}", path.display()))
}

/// The server refuses the file with a reason, or has loaded it before.
pub(super) fn model_while_loading(stage: &Stage, random: &mut Random) -> Result<()> {
    let model = stage.copy_of_model()?;
    let (mut server, addresses) = stage.spawn(&Setup::with(&["-m", &model.display().to_string()]))?;
    // A change before the server opens it would be another file, and none that changes.
    wait_until_open(server.pid(), &model)?;
    pause(random, Duration::from_millis(100));
    change(&model, random)?;
    match server.listen(&addresses) {
        Ok(()) => stage.is_well(stage.target(server)?),
        Err(why) if why.contains("exit status: 1\n") && why.contains("error: ") => Ok(()),
        Err(why) => Err(why),
    }
}

/// Waits until a process has a file open.
fn wait_until_open(pid: u32, path: &Path) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    let is_open = || {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|open| open == path)
    };
    while !is_open() {
        if Instant::now() > end {
            return Err(format!("the server does not open `{}`", path.display()));
        }
        // The server has a core for itself meanwhile.
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// The weights are in memory: nothing happens.
pub(super) fn model_while_serving(stage: &Stage, random: &mut Random) -> Result<()> {
    let model = stage.copy_of_model()?;
    let target = stage.start(&Setup::with(&["-m", &model.display().to_string()]))?;
    stage.while_asked(&target, &[], || {
        pause(random, Duration::from_millis(700));
        change(&model, random)?;
        pause(random, Duration::from_millis(700));
        Ok(())
    })?;
    stage.is_well(target)
}

/// A disk of 64 KiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Result<SmallDisk> {
        std::fs::create_dir_all(&path).map_err(|e| format!("cannot make `{}`: {e}", path.display()))?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&path).stderr(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => Ok(SmallDisk(path)),
            Ok(_) => Err("this user may not mount a tmpfs".into()),
            Err(e) => Err(format!("cannot run `mount`: {e}")),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may hold it open: then it goes when that ends.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub(super) fn can_mount() -> Result<()> {
    SmallDisk::mount(std::env::temp_dir().join(format!("inferno-disk-{}", std::process::id()))).map(drop)
}

/// A disk that is full, or becomes full: the log, the kept responses and the cache are lost, and no request is. No half file
/// stands in the way of the next start.
pub(super) fn disk_full(stage: &Stage, random: &mut Random) -> Result<()> {
    let disk = SmallDisk::mount(stage.path("disk"))?;
    let [log, cache, responses, filler] =
        ["log", "cache", "responses.jsonl", "filler"].map(|name| disk.0.join(name).display().to_string());
    let options = ["--log-file", &log, "--cache-file", &cache, "--responses-file", &responses];
    let target = stage.start(&Setup::with(&options))?;
    stage.while_asked(&target, &[], || {
        pause(random, Duration::from_millis(500));
        // As much as there is room for.
        let _ = std::fs::write(&filler, vec![1; random.below(64 << 10)]);
        let _ = std::fs::write(format!("{filler}2"), vec![1; 64 << 10]);
        pause(random, Duration::from_millis(500));
        Ok(())
    })?;
    stage.answers(&target)?;
    ends_by(target, "TERM", Some(0)).or_else(|why| match why.contains("exit status: 1") {
        true => Ok(()),
        false => Err(why),
    })?;
    stage.is_well(stage.start(&Setup::with(&options[2..]))?)
}

/// The log is not read, and its pipe is full.
pub(super) fn log_stuck(stage: &Stage, random: &mut Random) -> Result<()> {
    let pipe = stage.path("log.pipe");
    let _ = std::fs::remove_file(&pipe);
    match Command::new("mkfifo").arg(&pipe).status() {
        Ok(status) if status.success() => {}
        other => return Err(format!("cannot make a pipe: {other:?}")),
    }
    let before = format!("exec 3<>'{}';", pipe.display());
    let setup = Setup { before, after: "2>&3".into(), ..Setup::with(&["--log-format", "json"]) };
    let target = stage.start(&setup)?;
    let fill = |mut log: std::fs::File| log.write_all(&[b'x'; 128 << 10]);
    let filler = stage.while_asked(&target, &[], || {
        pause(random, Duration::from_millis(500));
        // More than a pipe holds: the thread waits as any writer does, until the pipe is read.
        let log = OpenOptions::new().write(true).read(true).open(&pipe);
        let log = log.map_err(|e| format!("cannot open `{}`: {e}", pipe.display()))?;
        let filler = std::thread::spawn(move || fill(log));
        pause(random, Duration::from_millis(1000));
        Ok(filler)
    })?;
    stage.is_well(target)?;
    let mut log = OpenOptions::new().read(true).write(true).open(&pipe).map_err(|e| e.to_string())?;
    while !filler.is_finished() {
        let _ = log.read(&mut [0; 64 << 10]);
    }
    Ok(())
}
