//! Answers with calls, as a grammar in llguidance's Lark.

use std::fmt::Write;

use inferno_text::{CallBody, ReplyFormat, Special, TokenKind, Tokenizer};

use super::body::arguments;
use super::{CallChoice, CallRules};
use crate::marks::{Marks, literal, quoted};

/// Any text. Control tokens are no text.
const ANY: &str = "/(.|\\n)*/";

/// End of a message of harmony's, and the beginning of the next one.
const MESSAGE_END: &str = "<|end|>";
const NEXT_MESSAGE: &str = "<|start|>assistant";
/// Beginning of a message of harmony's that is a call.
pub(super) const CALL_MESSAGE: &str = "<|channel|>commentary to=functions.";

/// Writes a grammar: rules as they are needed, and the expressions that refer to them.
pub(super) struct Writer<'a> {
    pub(super) rules: &'a CallRules<'a>,
    pub(super) format: &'a ReplyFormat,
    /// Control tokens that are marks of the format.
    marks: Marks,
    lark: String,
    n_rules: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        rules: &'a CallRules<'a>,
        format: &'a ReplyFormat,
        tokenizer: &Tokenizer,
    ) -> Writer<'a> {
        let token = |text: &str| match tokenizer.encode_continuation(text, Special::Recognise)[..] {
            [id] if tokenizer.token_kind(id) == Some(TokenKind::Control) => Some((text.to_owned(), id)),
            _ => None,
        };
        let marks = Marks::new(format.marks().into_iter().filter_map(token), tokenizer);
        Writer { rules, format, marks, lark: String::new(), n_rules: 0 }
    }

    /// Marks of the format, as bytes: those that end calls and texts, then those that lead on within a call, then those that
    /// begin one in place of more reasoning.
    pub(super) fn marks_to_the_end(&self) -> Vec<Vec<u8>> {
        let calls = &self.format.calls;
        let mut texts = vec![&*calls.section_end, &calls.call_end];
        match &calls.body {
            CallBody::Json { .. } | CallBody::Recipients => {}
            CallBody::Named { before_id, after_name, after_arguments, .. } => {
                texts.extend([&**after_arguments, after_name, before_id]);
            }
            CallBody::Tagged(tags) => {
                texts.extend([&*tags.end, tags.after_value.trim_end(), &tags.after_key, &tags.after_name]);
            }
            CallBody::Python => texts.push(")"),
            CallBody::Gemma => texts.push("<|\"|>"),
            CallBody::Harmony => texts.extend([MESSAGE_END, CALL_MESSAGE]),
        }
        texts.extend(self.format.reasoning.as_ref().map(|marks| marks.end.trim()));
        let first = self.first_mark();
        // A form that stands beside calls has endings of its own.
        texts.extend(self.rules.form.is_none().then_some(&*first));
        let mut marks: Vec<Vec<u8>> = texts.into_iter().map(|text| self.marks.bytes(text)).collect();
        marks.retain(|mark| !mark.is_empty());
        marks
    }

    /// The grammar.
    pub(super) fn write(mut self) -> String {
        if self.format.calls.body == CallBody::Recipients {
            let start = self.recipients();
            return format!("start: {start}\n{}", self.lark);
        }
        let calls = self.calls();
        if self.format.calls.body == CallBody::Harmony {
            let start = self.harmony(&calls);
            return format!("start: {start}\n{}", self.lark);
        }
        let start = match self.rules.choice {
            CallChoice::Required => {
                let reasoning = self.reasoning();
                let first = self.trigger();
                format!("{reasoning} {first} {calls}")
            }
            CallChoice::Auto => match self.rules.form {
                Some(form) => {
                    let (first, form) = (self.trigger(), self.rule(&form.lark));
                    format!("{first} {calls} | {form}")
                }
                None => {
                    let free = self.until_trigger();
                    format!("{free} {calls} | {}", self.free())
                }
            },
        };
        format!("start: {start}\n{}", self.lark)
    }

    /// A new rule, by its name.
    pub(super) fn rule(&mut self, body: &str) -> String {
        self.named_rule("", body)
    }

    /// A new terminal, by its name.
    fn terminal(&mut self, body: &str) -> String {
        let name = format!("T{}", self.n_rules);
        self.n_rules += 1;
        let _ = writeln!(self.lark, "{name}: {body}");
        name
    }

    fn named_rule(&mut self, attributes: &str, body: &str) -> String {
        let name = format!("r{}", self.n_rules);
        self.n_rules += 1;
        let _ = writeln!(self.lark, "{name}{attributes}: {body}");
        name
    }

    /// A text of the format: literals, and control tokens where its marks are some. A token that ends the generation is
    /// left out with all after it, as the answer ends there.
    pub(super) fn mark(&self, text: &str) -> String {
        self.marks.to_end(text)
    }

    /// Any text up to `mark`, and the mark.
    pub(super) fn until(&mut self, mark: &str) -> String {
        // Before a control token any text may stand, so that what the mark has there needs no more.
        if let Some(start) = self.marks.control_in(mark) {
            return format!("{ANY} {}", self.marks.whole(&mark[start..]));
        }
        self.named_rule(&format!("[suffix={}]", quoted(mark)), ANY)
    }

    /// The first text of calls; empty if they have none.
    pub(super) fn first_mark(&self) -> String {
        let calls = &self.format.calls;
        let texts = [&calls.section_begin, &calls.call_begin];
        let first = texts.into_iter().find(|text| !text.is_empty() && !calls.bare);
        match (&calls.body, first) {
            (CallBody::Harmony | CallBody::Recipients, _) => String::new(),
            (_, Some(text)) => text.clone(),
            (CallBody::Named { before_name, .. }, None) => before_name.clone(),
            (CallBody::Tagged(tags), None) => tags.before_name.clone(),
            _ => String::new(),
        }
    }

    fn trigger(&self) -> String {
        self.mark(&self.first_mark())
    }

    /// A free text before a call, and the first mark of the call.
    fn until_trigger(&mut self) -> String {
        let mark = self.first_mark();
        // White space at its end is of no account to the parser, but a call goes on after all of it.
        match mark.trim_end() {
            "" => "\"\"".to_owned(),
            trigger => {
                let until = self.until(trigger);
                format!("{until} {}", self.mark(&mark[trigger.len()..]))
            }
        }
    }

    /// A text without calls.
    fn free(&mut self) -> String {
        let mark = self.first_mark();
        match (&self.format.calls.body, mark.trim_end()) {
            (CallBody::Json { name, .. }, "") => {
                self.terminal(&format!("{ANY} & ~/[ \\n]*\\{{\"{name}\"(.|\\n)*/"))
            }
            // A list begins with a lexeme of its own, which a text that may begin so would hide.
            (_, "") => self.terminal("/([^\\[](.|\\n)*)?/"),
            _ => ANY.to_owned(),
        }
    }

    /// An answer in messages: reasoning and texts, and a call or a text at its end.
    fn harmony(&mut self, call: &str) -> String {
        // Its end mark ends messages, never the answer.
        let text = format!("{} {}", self.until(MESSAGE_END), self.marks.whole(NEXT_MESSAGE));
        let (channel, message) = (self.mark("<|channel|>"), self.mark("<|message|>"));
        match (self.rules.choice, self.rules.form) {
            (CallChoice::Required, _) => format!("({channel} \"analysis\" {message} {text})? {call}"),
            (CallChoice::Auto, None) => {
                let head = format!("{channel} (\"analysis\" | \"commentary\" | \"final\") {message}");
                let head = self.rule(&head);
                format!("({head} {text})* ({head} {ANY} | {call})")
            }
            (CallChoice::Auto, Some(form)) => {
                let head = format!("{channel} (\"analysis\" | \"commentary\") {message}");
                let (head, form) = (self.rule(&head), self.rule(&form.lark));
                format!("({head} {text})* ({channel} \"final\" {message} {form} | {call})")
            }
        }
    }

    /// An answer in messages after their recipients, of which the prompt has begun the first: calls, or a text to all with
    /// calls behind it or without.
    fn recipients(&mut self) -> String {
        let between = self.format.calls.between.clone();
        let bodies: Vec<String> = self.rules.tools.iter().map(|tool| self.call(tool)).collect();
        let body = self.rule(&bodies.join(" | "));
        let more = if self.rules.parallel { format!("({} {body})*", quoted(&between)) } else { quoted("") };
        let to_all = quoted("all\n");
        match (self.rules.choice, self.rules.form) {
            (CallChoice::Required, _) => format!("{body} {more}"),
            (CallChoice::Auto, Some(form)) => format!("{body} {more} | {to_all} {}", self.rule(&form.lark)),
            (CallChoice::Auto, None) => {
                let mut found = Vec::new();
                for tool in self.rules.tools {
                    // The mark alone may stand in a text.
                    let text = self.until(&format!("{between}{}\n", tool.name));
                    let arguments = self.rule(&format!("%json {}", arguments(tool)));
                    found.push(format!("{text} {arguments}"));
                }
                let found = self.rule(&found.join(" | "));
                format!("{body} {more} | {to_all} ({found} {more} | {ANY})")
            }
        }
    }

    /// Reasoning before forced calls, without marks of calls: a call within it would end it, and be held to nothing.
    fn reasoning(&mut self) -> String {
        let Some(marks) = self.format.reasoning.clone() else { return "\"\"".to_owned() };
        if !self.format.thinks {
            return "\"\"".to_owned();
        }
        let calls: Vec<String> = self.format.begins_of_calls().into_iter().map(literal).collect();
        let thought = match calls.is_empty() {
            true => ANY.to_owned(),
            false => self.terminal(&format!("{ANY} & ~/(.|\\n)*({})(.|\\n)*/", calls.join("|"))),
        };
        let end = marks.end.trim();
        let end = match self.marks.control_in(end) {
            Some(start) => format!("{thought} {}", self.marks.whole(&end[start..])),
            None => self.named_rule("[lazy]", &format!("{thought} {}", quoted(end))),
        };
        format!("({} {end} /\\n{{0,2}}/)?", self.mark(marks.begin.trim()))
    }

    /// One call or several, after the first mark, to the end of the answer.
    fn calls(&mut self) -> String {
        let calls = self.format.calls.clone();
        let bodies: Vec<String> = self.rules.tools.iter().map(|tool| self.call(tool)).collect();
        let body = self.rule(&bodies.join(" | "));
        let parallel = self.rules.parallel && !matches!(calls.body, CallBody::Harmony);
        let has_section = !calls.section_begin.is_empty() && !calls.bare;
        let first_call = if has_section { self.mark(&calls.call_begin) } else { "\"\"".to_owned() };
        let (open, close) = if calls.list { ("\"[\"", "\"]\"") } else { ("\"\"", "\"\"") };
        let end = self.mark(&calls.call_end);
        let more = match parallel {
            false => "\"\"".to_owned(),
            true => {
                let between = format!("{}{}", calls.between, calls.call_begin);
                let first = if calls.call_begin.is_empty() { self.first_text() } else { String::new() };
                format!("({} {body} {end})*", self.mark(&format!("{between}{first}")))
            }
        };
        let section_end = if has_section { self.mark(&calls.section_end) } else { "\"\"".to_owned() };
        // In a section, a body's first text is not the mark of the section.
        let first =
            if has_section && calls.call_begin.is_empty() { self.first_text() } else { String::new() };
        let first = self.mark(&first);
        format!("{open} {first_call} {first} {body} {end} {more} {close} {section_end}")
    }
}
