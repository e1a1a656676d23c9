//! Strings that know which of their characters the template wrote and which came from its input.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

/// An immutable string. Bytes of the template's input are *foreign*, all others are the template's own.
#[derive(Clone)]
pub(crate) struct Text(Rc<Inner>);

#[derive(Default)]
struct Inner {
    text: Box<str>,
    origin: Origin,
    is_ascii: bool,
    /// Whether it is safe HTML, to which others are only added escaped.
    is_markup: bool,
}

/// Bytes that are foreign.
#[derive(Clone, Default, PartialEq, Eq)]
enum Origin {
    #[default]
    Own,
    Foreign,
    /// Byte ranges, ascending, none empty, no two adjacent.
    Mixed(Box<[Range<usize>]>),
}

impl Text {
    /// A string of the template's own.
    pub(crate) fn own(text: impl Into<Box<str>>) -> Text {
        Text::new(text.into(), Origin::Own)
    }

    /// A string of the template's input.
    pub(crate) fn foreign(text: impl Into<Box<str>>) -> Text {
        Text::new(text.into(), Origin::Foreign)
    }

    /// One of the two.
    pub(crate) fn of(text: impl Into<Box<str>>, is_foreign: bool) -> Text {
        if is_foreign { Text::foreign(text) } else { Text::own(text) }
    }

    fn new(text: Box<str>, origin: Origin) -> Text {
        let is_ascii = text.is_ascii();
        Text(Rc::new(Inner { text, origin, is_ascii, is_markup: false }))
    }

    /// The same as Jinja's `Markup`, which `safe` and `escape` make.
    pub(super) fn as_markup(&self) -> Text {
        if self.0.is_markup {
            return self.clone();
        }
        let Inner { text, origin, is_ascii, .. } = &*self.0;
        Text(Rc::new(Inner {
            text: text.clone(),
            origin: origin.clone(),
            is_ascii: *is_ascii,
            is_markup: true,
        }))
    }

    pub(super) fn is_markup(&self) -> bool {
        self.0.is_markup
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Length in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        self.0.text.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.text.is_empty()
    }

    /// Length in characters, which is Python's.
    pub(crate) fn n_chars(&self) -> usize {
        if self.0.is_ascii { self.n_bytes() } else { self.as_str().chars().count() }
    }

    /// The byte at which character `idx` starts; the length if there are not as many.
    pub(crate) fn byte_of(&self, idx: usize) -> usize {
        if self.0.is_ascii {
            return idx.min(self.n_bytes());
        }
        self.as_str().char_indices().nth(idx).map_or(self.n_bytes(), |(at, _)| at)
    }

    /// The number of characters before a byte.
    pub(crate) fn char_of(&self, byte: usize) -> usize {
        if self.0.is_ascii { byte } else { self.as_str()[..byte].chars().count() }
    }

    /// A part of it, by bytes at character boundaries.
    pub(crate) fn sub(&self, range: Range<usize>) -> Text {
        if range == (0..self.n_bytes()) {
            return self.clone();
        }
        let mut out = TextBuilder::default();
        out.push_range(self, range);
        out.finish()
    }

    /// The same part given as a subslice of [`as_str`](Self::as_str).
    pub(crate) fn slice_of(&self, part: &str) -> Text {
        let start = part.as_ptr() as usize - self.as_str().as_ptr() as usize;
        self.sub(start..start + part.len())
    }

    /// Whether any of it is foreign.
    pub(crate) fn has_foreign(&self) -> bool {
        self.0.origin != Origin::Own && !self.is_empty()
    }

    /// Runs of one origin each, in order: the text, and whether it is foreign.
    pub(crate) fn runs(&self) -> Vec<(&str, bool)> {
        let text = self.as_str();
        match &self.0.origin {
            _ if text.is_empty() => Vec::new(),
            Origin::Own => vec![(text, false)],
            Origin::Foreign => vec![(text, true)],
            Origin::Mixed(ranges) => {
                let mut runs = Vec::with_capacity(2 * ranges.len() + 1);
                let mut at = 0;
                for range in ranges {
                    if at < range.start {
                        runs.push((&text[at..range.start], false));
                    }
                    runs.push((&text[range.clone()], true));
                    at = range.end;
                }
                if at < text.len() {
                    runs.push((&text[at..], false));
                }
                runs
            }
        }
    }

    /// Its characters, and whether each is foreign.
    pub(crate) fn chars(&self) -> impl Iterator<Item = (char, bool)> {
        self.runs().into_iter().flat_map(|(text, is_foreign)| text.chars().map(move |c| (c, is_foreign)))
    }

    /// Each character replaced by what `map` makes of it.
    pub(crate) fn map_chars<I: IntoIterator<Item = char>>(&self, mut map: impl FnMut(char) -> I) -> Text {
        let mut out = TextBuilder::default();
        for (run, is_foreign) in self.runs() {
            out.begin(is_foreign);
            for c in run.chars() {
                out.text.extend(map(c));
            }
            out.end(is_foreign);
        }
        out.finish()
    }

    /// Each run of one origin replaced by what `map` makes of it.
    pub(crate) fn map_runs(&self, map: impl Fn(&str) -> String) -> Text {
        let mut out = TextBuilder::default();
        self.runs().into_iter().for_each(|(run, is_foreign)| out.push(&map(run), is_foreign));
        out.finish()
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.runs()).finish()
    }
}

/// A [`Text`] under construction.
#[derive(Debug, Default)]
pub(crate) struct TextBuilder {
    text: String,
    /// As in [`Origin::Mixed`].
    foreign: Vec<Range<usize>>,
    /// Where the run began that is being written.
    start: usize,
}

impl TextBuilder {
    pub(crate) fn n_bytes(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn own(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(crate) fn push(&mut self, text: &str, is_foreign: bool) {
        self.begin(is_foreign);
        self.text.push_str(text);
        self.end(is_foreign);
    }

    pub(crate) fn push_char(&mut self, c: char, is_foreign: bool) {
        self.begin(is_foreign);
        self.text.push(c);
        self.end(is_foreign);
    }

    /// A text with what `escape` has for some of its characters in their place.
    pub(crate) fn push_escaped(&mut self, text: &Text, escape: impl Fn(char) -> Option<Cow<'static, str>>) {
        for (run, is_foreign) in text.runs() {
            self.begin(is_foreign);
            let mut plain = 0;
            for (i, c) in run.char_indices() {
                if let Some(escaped) = escape(c) {
                    self.text.push_str(&run[plain..i]);
                    self.text.push_str(&escaped);
                    plain = i + c.len_utf8();
                }
            }
            self.text.push_str(&run[plain..]);
            self.end(is_foreign);
        }
    }

    pub(crate) fn push_text(&mut self, text: &Text) {
        self.push_range(text, 0..text.n_bytes());
    }

    /// A part of a text, by bytes at character boundaries.
    pub(crate) fn push_range(&mut self, text: &Text, range: Range<usize>) {
        let at = self.text.len();
        self.text.push_str(&text.as_str()[range.clone()]);
        match &text.0.origin {
            Origin::Own => {}
            Origin::Foreign => self.mark(at..at + range.len()),
            Origin::Mixed(ranges) => {
                let from = ranges.partition_point(|foreign| foreign.end <= range.start);
                for foreign in ranges[from..].iter().take_while(|foreign| foreign.start < range.end) {
                    let start = foreign.start.max(range.start) - range.start;
                    let end = foreign.end.min(range.end) - range.start;
                    self.mark(at + start..at + end);
                }
            }
        }
    }

    fn begin(&mut self, is_foreign: bool) {
        if is_foreign {
            self.start = self.text.len();
        }
    }

    fn end(&mut self, is_foreign: bool) {
        if is_foreign {
            self.mark(self.start..self.text.len());
        }
    }

    fn mark(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        match self.foreign.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.foreign.push(range),
        }
    }

    pub(crate) fn finish(self) -> Text {
        let origin = match self.foreign.as_slice() {
            [] => Origin::Own,
            [all] if *all == (0..self.text.len()) => Origin::Foreign,
            _ => Origin::Mixed(self.foreign.into()),
        };
        Text::new(self.text.into(), origin)
    }
}
