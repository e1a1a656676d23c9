//! Results of the calls in an answer, which the user enters.

use anyhow::Result;
use serde_json::{Value, json};

use super::input::Input;
use super::line::Line;
use super::turns::Answered;
use super::{Chat, Next};
use crate::commands::note;
use crate::interrupt;

/// Input of the user for the calls of an answer.
enum Entered {
    /// A message for each call.
    Results(Vec<Value>),
    /// No result: the calls stay without.
    Nothing,
    /// A line that could not be read, which was said.
    Unfit,
    /// The input is over.
    End,
}

impl Chat<'_> {
    /// Asks for the results of the calls in the newest answer, and has the model answer them, until it calls no more or the
    /// user enters no result.
    ///
    /// # Errors
    /// The engine fails, stdin cannot be read, or stdout is closed.
    pub(super) fn go_on(&mut self, input: &mut Input) -> Result<Next> {
        loop {
            let calls = self.state.conversation.last().map_or(&Value::Null, |last| &last["tool_calls"]);
            let calls = calls.as_array().cloned().unwrap_or_default();
            let results = match self.results(&calls, input)? {
                Entered::Results(results) => results,
                Entered::Nothing => return Ok(Next::Go(true)),
                Entered::Unfit => return Ok(Next::Go(false)),
                Entered::End => return Ok(Next::End),
            };
            let n_results = results.len();
            results.into_iter().for_each(|result| self.state.conversation.push(result));
            match self.answer("the results were dropped")? {
                Answered::With(answer) => self.state.conversation.push(answer),
                Answered::Nothing | Answered::Refused => {
                    (0..n_results).for_each(|_| drop(self.state.conversation.take_last()));
                    return Ok(Next::Go(false));
                }
            }
        }
    }

    /// Asks for a result of each call; an empty line is none.
    fn results(&self, calls: &[Value], input: &mut Input) -> Result<Entered> {
        let mut results = Vec::with_capacity(calls.len());
        for call in calls {
            let name = call["function"]["name"].as_str().unwrap_or_default();
            let line = input.read_result(&crate::terminal::visible(name))?;
            if self.state.is_terminal {
                interrupt::catch_all();
            }
            let content = match line {
                Line::Text(text) | Line::Message(text) => text,
                Line::Cleared(_) => return Ok(Entered::Nothing),
                Line::End => return Ok(Entered::End),
                Line::Unfit(why) => {
                    note(&format!("{why}: the calls have no results"));
                    return Ok(Entered::Unfit);
                }
            };
            results.push(
                json!({ "role": "tool", "tool_call_id": call["id"], "name": name, "content": content }),
            );
        }
        // Where one call has a result, templates want one of each: the others' are empty.
        let has_result = results.iter().any(|result| result["content"] != "");
        Ok(if has_result { Entered::Results(results) } else { Entered::Nothing })
    }
}
