//! Chat templates of files, in child processes of this program.
//!
//! A template is a program that came with a download. Parsing one can end a process (stack, panics of the Jinja
//! library), and rendering one can take all memory or hours: its language bounds neither. So a template is parsed,
//! probed and rendered in a child that has limits of memory and stack and is killed at its deadline. The request
//! that made it fail gets the reason; everything else goes on.
//!
//! Where to start: [`Sandbox`] has at most two children, `process.rs` is the parent's side of one, `child.rs` is the
//! child.

mod child;
mod frames;
mod messages;
mod process;

use std::collections::HashSet;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use inferno_text::{
    ChatRenderer, RenderOptions, Rendered, RenderedPart, TemplateError, TemplateProfile, TemplateTokens,
};
use serde_json::Value;

pub(crate) use child::run_if_asked;
use messages::Ask;
pub(crate) use messages::answerer;
use process::{Death, Process};

/// Children at once: one that renders for hours, until it is killed, leaves the other to everyone else.
const MAX_PROCESSES: usize = 2;
/// Processor time to parse and probe a template.
const LOAD_TIME: Duration = Duration::from_secs(5);
/// Processor time to render a conversation, and more for each message and MiB of it. On the machine this was written on
/// the slowest of 43 known templates takes 0.3 s for 2,047 messages.
const RENDER_TIME: Duration = Duration::from_secs(1);
const RENDER_TIME_PER_MESSAGE: Duration = Duration::from_millis(1);
const RENDER_TIME_PER_MIB: Duration = Duration::from_secs(2);
/// Memory of a child for a conversation of a few KiB, and bytes more for each byte that a conversation may have.
const MEMORY: u64 = 128 << 20;
const MEMORY_PER_BYTE: u64 = 24;
/// Children that may end without a word during a message, before the template is blamed: the system kills some when its
/// memory is short.
const MAX_KILLED: u32 = 3;
/// Bytes of a message from which on a child is not used again, as it would keep the memory.
const LARGE: usize = 1 << 20;
/// Deaths in a row from which on the next child has to wait, for the first time and at most.
const PATIENCE: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// A chat template in child processes.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// The message that loads the template into a new child.
    load: Vec<u8>,
    /// Bytes a child may have.
    memory: u64,
    /// Known once a child has loaded the template.
    profile: OnceLock<TemplateProfile>,
    /// Control tokens a prompt may have.
    reserved: HashSet<u32>,
    children: Mutex<Children>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Children {
    idle: Vec<Process>,
    n_busy: usize,
    /// Deaths since the last answer.
    n_deaths: u32,
    last_death: Option<Instant>,
}

impl Sandbox {
    /// Parses and probes a template in a child that stays for the first render. Conversations may have `max_bytes`. Where
    /// no child can be started the first render tries again.
    ///
    /// # Errors
    /// The template does not parse or exceeds a limit.
    pub(crate) fn load(
        source: &str,
        tokens: &TemplateTokens,
        max_bytes: usize,
    ) -> Result<Sandbox, TemplateError> {
        let sandbox = Sandbox {
            load: Ask::Load { source, tokens }.to_bytes(),
            memory: MEMORY + MEMORY_PER_BYTE * max_bytes as u64,
            profile: OnceLock::new(),
            reserved: tokens.reserved.iter().map(|&(id, _)| id).collect(),
            children: Mutex::default(),
            freed: Condvar::new(),
        };
        match sandbox.start() {
            Ok(process) => sandbox.children().idle.push(process),
            Err(error @ TemplateError::NoProcess { .. }) => tracing::warn!("{error}"),
            Err(error) => return Err(error),
        }
        Ok(sandbox)
    }

    fn start(&self) -> Result<Process, TemplateError> {
        let no_process = |error: std::io::Error| TemplateError::NoProcess { reason: error.to_string() };
        let mut n_killed = 0;
        loop {
            let mut process = Process::start(self.memory).map_err(no_process)?;
            match process.ask(self.load.clone(), LOAD_TIME) {
                Ok(answer) => {
                    let profile = messages::read(&answer).unwrap_or_else(|| Err(garbage()))?;
                    self.profile.get_or_init(|| profile);
                    return Ok(process);
                }
                Err(Death::Killed(_)) if n_killed < MAX_KILLED => n_killed += 1,
                Err(death) => return Err(self.error(death, LOAD_TIME)),
            }
        }
    }

    /// Sends a message to a child. One that died of something else than this message is replaced.
    fn ask(&self, message: &[u8], deadline: Duration) -> Result<Vec<u8>, TemplateError> {
        let mut place = self.take_place();
        let mut n_killed = 0;
        loop {
            let mut process = match place.process.take() {
                Some(process) => process,
                None => {
                    place.wait();
                    self.start().inspect_err(|_| place.count_death())?
                }
            };
            let is_used = process.n_answers() > 1;
            match process.ask(message.to_vec(), deadline) {
                Ok(answer) => {
                    place.process = Some(process);
                    return Ok(place.done(answer, message.len()));
                }
                Err(Death::Killed(_)) if n_killed < MAX_KILLED => n_killed += 1,
                Err(Death::OutOfMemory) if is_used => {}
                Err(death) => return Err(place.failed(death, deadline)),
            }
        }
    }

    fn take_place(&self) -> Place<'_> {
        let mut children = self.children();
        while children.n_busy >= MAX_PROCESSES {
            children = self.freed.wait(children).unwrap_or_else(PoisonError::into_inner);
        }
        children.n_busy += 1;
        Place { sandbox: self, process: children.idle.pop() }
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, death: Death, deadline: Duration) -> TemplateError {
        match death {
            Death::OutOfMemory => TemplateError::OutOfMemory { mib: self.memory >> 20 },
            Death::OutOfStack => TemplateError::OutOfStack,
            Death::OutOfTime => TemplateError::OutOfTime { seconds: deadline.as_secs() },
            Death::Killed(reason) | Death::Other(reason) => TemplateError::Crashed { reason },
        }
    }
}

impl ChatRenderer for Sandbox {
    fn profile(&self) -> &TemplateProfile {
        static UNKNOWN: LazyLock<TemplateProfile> = LazyLock::new(TemplateProfile::default);
        self.profile.get().unwrap_or(&UNKNOWN)
    }

    fn render(&self, messages: &[Value], options: &RenderOptions) -> Result<Rendered, TemplateError> {
        let ask = Ask::Render { messages, options }.to_bytes();
        let (n_messages, mib) = (messages.len() as u32, (ask.len() >> 20) as u32);
        let deadline = RENDER_TIME + RENDER_TIME_PER_MESSAGE * n_messages + RENDER_TIME_PER_MIB * mib;
        let answer = self.ask(&ask, deadline)?;
        let rendered: Rendered = messages::read(&answer).unwrap_or_else(|| Err(garbage()))?;
        let is_known = |part: &RenderedPart| match part {
            RenderedPart::Token(id) => self.reserved.contains(id),
            RenderedPart::Text(_) => true,
        };
        if rendered.parts.iter().all(is_known) { Ok(rendered) } else { Err(garbage()) }
    }
}

/// One of the [`MAX_PROCESSES`], held during a message.
struct Place<'a> {
    sandbox: &'a Sandbox,
    /// Goes back to the idle ones.
    process: Option<Process>,
}

impl Place<'_> {
    fn done(&mut self, answer: Vec<u8>, n_asked: usize) -> Vec<u8> {
        let is_worn = |process: &Process| process.is_lowered() || n_asked.max(answer.len()) >= LARGE;
        if self.process.as_ref().is_some_and(is_worn) {
            self.process = None;
        }
        self.sandbox.children().n_deaths = 0;
        answer
    }

    fn failed(&self, death: Death, deadline: Duration) -> TemplateError {
        self.count_death();
        self.sandbox.error(death, deadline)
    }

    fn count_death(&self) {
        let mut children = self.sandbox.children();
        children.n_deaths += 1;
        children.last_death = Some(Instant::now());
    }

    /// Keeps a template that always dies from starting processes as fast as it can.
    fn wait(&self) {
        let children = self.sandbox.children();
        let Some(n) = children.n_deaths.checked_sub(PATIENCE) else { return };
        let wait = (FIRST_WAIT * 2u32.pow(n.min(8))).min(LONGEST_WAIT);
        let since = children.last_death.map_or(wait, |death| death.elapsed());
        drop(children);
        std::thread::sleep(wait.saturating_sub(since));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut children = self.sandbox.children();
        children.n_busy -= 1;
        children.idle.extend(self.process.take());
        drop(children);
        self.sandbox.freed.notify_one();
    }
}

fn garbage() -> TemplateError {
    TemplateError::Crashed { reason: "its answer makes no sense".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The child of a test is the program of tests, which knows nothing of templates and says so on stdout.
    #[test]
    fn a_child_that_talks_nonsense_is_an_error() {
        let error = Sandbox::load("x", &TemplateTokens::default(), 0).unwrap_err();
        assert!(matches!(error, TemplateError::Crashed { .. }), "{error:?}");
    }
}
