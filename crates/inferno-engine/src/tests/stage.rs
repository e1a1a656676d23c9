//! A script for the engine, and what it tells.
//!
//! ```text
//! pages 8  sequences 2  rows 16      limits, before anything else
//! states 8                           a group of recurrent layers beside the other, with pages for 8 states
//! a = 1*40 2                         a prompt of 41 tokens; `^a` is a's prompt, `$a` with its completion so far
//! a = 1*40 | max 4 n 2 priority 1 salt 7 tenant 2 deadline 500 stop 3 border 20 score guess
//! run, step, step 5, cancel a, wait 500
//! pages, computed                    what is where; prompt tokens computed since the last time
//! ```

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use super::*;

/// A prompt, and the completion of its first choice so far.
type Text = Arc<Mutex<(Vec<u32>, Vec<u32>)>>;

#[derive(Default)]
struct Stage {
    world: Option<World>,
    limits: Option<Limits>,
    texts: HashMap<String, Text>,
    ids: HashMap<String, RequestId>,
    told: Arc<Mutex<String>>,
    n_computed: u64,
}

/// Plays the script and compares what it tells, line by line.
#[track_caller]
pub(super) fn check(script: &str, expected: &str) {
    let mut stage = Stage { limits: Some(limits(32)), ..Stage::default() };
    script.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| stage.play(line));
    let told = stage.told.lock().expect("no panic while it is locked").clone();
    let expected: String =
        expected.lines().map(str::trim).filter(|l| !l.is_empty()).map(|l| format!("{l}\n")).collect();
    assert!(told == expected, "told:\n{told}\nexpected:\n{expected}");
}

impl Stage {
    fn world(&mut self) -> &mut World {
        let Stage { world, limits, .. } = self;
        let limits = limits.clone().expect("limits");
        let groups = [Group::Pages(None), Group::States];
        world
            .get_or_insert_with(|| World::with_cache(limits.clone(), &groups[..limits.n_pages.len()], |_| {}))
    }

    fn tell(&self, line: String) {
        writeln!(self.told.lock().expect("no panic while it is locked"), "{line}").expect("memory");
    }

    fn play(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| words.get(i).map_or(1, |w| w.parse::<usize>().expect("a number"));
        match words[0] {
            "pages" | "sequences" | "rows" | "states" if words.len() > 1 => {
                for pair in words.chunks(2) {
                    let (limits, n) =
                        (self.limits.as_mut().expect("limits"), pair[1].parse().expect("a number"));
                    match pair[0] {
                        "pages" => limits.n_pages[0] = n,
                        "states" => limits.n_pages.push(n),
                        "sequences" => limits.max_sequences = n,
                        _ => limits.max_rows = n,
                    }
                }
            }
            "run" => self.world().run(),
            "step" => (0..number(1)).for_each(|_| self.world().step()),
            "wait" => drop(self.world().clock.fetch_add(number(1) as u64, Ordering::Relaxed)),
            "cancel" => {
                let id = self.ids[words[1]];
                self.world().core.cancel(id);
            }
            "pages" => {
                let pages = self.world().core.metrics().pages;
                self.tell(format!(
                    "pages: {} held, {} cached, {} free",
                    pages.held, pages.cached, pages.free
                ));
            }
            "computed" => {
                let n = self.world().core.metrics().prompt_tokens;
                self.tell(format!("{} prompt tokens computed", n - self.n_computed));
                self.n_computed = n;
            }
            name => {
                assert_eq!(words[1], "=", "{line}");
                let (_, wanted) = line.split_once('=').expect("just seen");
                let (prompt, options) = wanted.split_once('|').unwrap_or((wanted, ""));
                let request = options_of(self.prompt(prompt), options);
                self.submit(name, request);
            }
        }
    }

    fn prompt(&self, text: &str) -> Vec<u32> {
        let part = |word: &str| {
            if let Some(name) = word.strip_prefix(['^', '$']) {
                let (mut prompt, completion) =
                    self.texts[name].lock().expect("no panic while it is locked").clone();
                prompt.extend(completion.into_iter().filter(|_| word.starts_with('$')));
                return prompt;
            }
            let (token, n) = word.split_once('*').unwrap_or((word, "1"));
            vec![token.parse().expect("a token"); n.parse().expect("a number")]
        };
        text.split_whitespace().flat_map(part).collect()
    }

    fn submit(&mut self, name: &str, request: Request) {
        let text = Arc::new(Mutex::new((request.prompt.clone(), Vec::new())));
        self.texts.insert(name.to_owned(), Arc::clone(&text));
        let shape = self.world().shape;
        if let Err(refusal) = crate::core::check(&request, &shape) {
            return self.tell(format!("{name} refused: {refusal}"));
        }
        self.world().n_requests += 1;
        let id = RequestId(self.world().n_requests);
        self.ids.insert(name.to_owned(), id);
        let (told, name, n) = (Arc::clone(&self.told), name.to_owned(), request.n);
        let n_scored = Mutex::new(0);
        let sink = move |event| {
            let name = |choice_idx| if n == 1 { name.clone() } else { format!("{name}.{choice_idx}") };
            let line = match event {
                Event::Started { choice_idx, n_cached, miss } => {
                    format!("{} starts: {n_cached} cached, {miss:?}", name(choice_idx))
                }
                Event::Progress { .. } => return,
                Event::Prompt { logprobs, .. } => {
                    *n_scored.lock().expect("no panic while it is locked") += logprobs.len();
                    return;
                }
                Event::Token { choice_idx, token, .. } => {
                    if choice_idx == 0 {
                        text.lock().expect("no panic while it is locked").1.push(token);
                    }
                    return;
                }
                Event::Finished { choice_idx, finish, usage } => {
                    let mut line =
                        format!("{} ends: {finish:?}, {} tokens", name(choice_idx), usage.n_completion);
                    let n_scored = *n_scored.lock().expect("no panic while it is locked");
                    for (n, what) in [(n_scored, "scored"), (usage.n_preemptions as usize, "preemptions")] {
                        if n > 0 {
                            write!(line, ", {n} {what}").expect("memory");
                        }
                    }
                    if usage.n_accepted > 0 {
                        line.push_str(", some guessed");
                    }
                    line
                }
            };
            writeln!(told.lock().expect("no panic while it is locked"), "{line}").expect("memory");
        };
        let now = self.world().now();
        self.world().core.submit(id, request, now, Arc::new(sink));
    }
}

fn options_of(prompt: Vec<u32>, options: &str) -> Request {
    let mut request = Request { speculate: false, ..Request::new(prompt, 4) };
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "score" => request.prompt_logprobs = Some(0),
            "guess" => request.speculate = true,
            _ => {
                let n: i64 = words.next().and_then(|w| w.parse().ok()).expect("an option and its number");
                match word {
                    "max" => request.max_tokens = n as usize,
                    "n" => request.n = n as u32,
                    "priority" => request.priority = n as i32,
                    "salt" => request.salt = n as u64,
                    "border" => request.borders.push(n as usize),
                    "tenant" => request.tenant = n as u32,
                    "deadline" => request.deadline = Some(Duration::from_micros(n as u64)),
                    "stop" => request.sampling.stop_tokens.push(n as u32),
                    _ => panic!("no such option: {word}"),
                }
            }
        }
    }
    request
}
