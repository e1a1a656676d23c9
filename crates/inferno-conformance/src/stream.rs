//! Streams as clients read them: server-sent events, and lines of JSON.

use std::time::Duration;

use serde_json::Value;

use crate::exchange::Answer;
use crate::probe::{Stop, demand};

/// A server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Value of the field `event`.
    pub(crate) name: Option<String>,
    /// Lines of `data`, joined by line breaks.
    pub(crate) data: String,
    /// Time from the request to the event's last byte.
    pub(crate) at: Duration,
}

impl Event {
    /// The data as JSON.
    pub(crate) fn json(&self) -> Result<Value, Stop> {
        let json = serde_json::from_str(&self.data);
        json.map_err(|e| Stop::failed(format!("the data of an event is not JSON: {e}")).at(&self.data))
    }
}

impl Answer {
    /// The events of a successful stream that came to its end. Comments are left out, as clients do.
    ///
    /// # Errors
    /// The answer is no success or no stream, or the connection broke.
    pub(crate) fn events(&self) -> Result<Vec<Event>, Stop> {
        self.ok()?;
        let text = self.utf8()?;
        let mut events = Vec::new();
        let mut open: Option<Event> = None;
        let mut end = 0;
        for line in text.split_inclusive('\n') {
            end += line.len();
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                events.extend(open.take());
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            let at = self.time_of(end - 1);
            match field {
                "data" => match &mut open {
                    Some(event) if event.data.is_empty() => (event.data, event.at) = (value.to_owned(), at),
                    Some(event) => event.data = format!("{}\n{value}", event.data),
                    None => open = Some(Event { name: None, data: value.to_owned(), at }),
                },
                "event" => {
                    let event = open.get_or_insert(Event { name: None, data: String::new(), at });
                    event.name = Some(value.to_owned());
                }
                // A comment, or a field that these clients do not read.
                "" | "id" | "retry" => {}
                _ => {
                    let why = "a line of the stream is not a field of a server-sent event";
                    return Err(Stop::failed(why).at(line));
                }
            }
        }
        if let Some(event) = open {
            let why = "the stream's last event has no empty line behind it, and clients drop it";
            return Err(Stop::failed(why).at(event.data));
        }
        demand!(!events.is_empty(), "the stream has no event");
        Ok(events)
    }

    /// The chunks of an OpenAI stream: the data of its events without `[DONE]`, as JSON.
    pub(crate) fn chunks(&self) -> Result<Vec<Value>, Stop> {
        let events = self.events()?;
        events.iter().filter(|event| event.data != "[DONE]").map(Event::json).collect()
    }

    /// The lines of a stream of JSON lines, each with the time of its end.
    pub(crate) fn lines(&self) -> Result<Vec<(Value, Duration)>, Stop> {
        self.ok()?;
        let text = self.utf8()?;
        let mut end = 0;
        let mut lines = Vec::new();
        for line in text.split_inclusive('\n') {
            end += line.len();
            if line.trim().is_empty() {
                continue;
            }
            let json = serde_json::from_str(line.trim());
            let json = json.map_err(|e| Stop::failed(format!("a line is not JSON: {e}")).at(line))?;
            lines.push((json, self.time_of(end - 1)));
        }
        demand!(!lines.is_empty(), "the stream has no line");
        Ok(lines)
    }

    fn utf8(&self) -> Result<&str, Stop> {
        std::str::from_utf8(&self.body)
            .map_err(|e| Stop::failed(format!("the stream is not UTF-8 at byte {}", e.valid_up_to())))
    }
}

/// Did the tokens of a stream come as they were computed? `times` are those of its events with text, `n_tokens` is how many tokens
/// there are.
///
/// A server that computes first and sends later has all events within a moment at the end. A long wait for the first token alone
/// says nothing, so short waits are not judged.
pub(crate) fn flows(times: &[Duration], n_tokens: u64) -> Result<(), Stop> {
    const LEAST_WAIT: Duration = Duration::from_millis(300);
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
        return Err(Stop::skipped("the answer has no text"));
    };
    if n_tokens < 16 {
        return Err(Stop::skipped(format!("an answer of {n_tokens} tokens is too short to tell")));
    }
    demand!(times.len() > 1, "{n_tokens} tokens came in one event");
    if last < LEAST_WAIT {
        return Ok(());
    }
    let share = (last - first).as_secs_f64() / last.as_secs_f64();
    demand!(
        share > 0.05,
        "{n_tokens} tokens came within {} ms, after {} ms of silence: the stream is buffered",
        (last - first).as_millis(),
        first.as_millis()
    );
    Ok(())
}
