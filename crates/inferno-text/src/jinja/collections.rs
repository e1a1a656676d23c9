//! Lists and dicts.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::error::{Result, error};
use super::text::Text;
use super::value::Value;

/// Maximum nesting of lists and dicts: values are compared, printed and dropped by recursion.
const DEPTH: u16 = 120;

/// Items of a list or tuple.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(super) items: Vec<Value>,
    pub(super) depth: u16,
    pub(super) has_state: bool,
}

/// Keys and values in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Dict {
    pub(super) pairs: Vec<(Value, Value)>,
    /// Where string keys are, once there are many.
    index: OnceCell<HashMap<Text2, usize, RandomState>>,
    pub(super) depth: u16,
    pub(super) has_state: bool,
}

/// A text as a key.
#[derive(Debug)]
struct Text2(Text);

impl std::hash::Hash for Text2 {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl PartialEq for Text2 {
    fn eq(&self, other: &Text2) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Text2 {}

impl std::borrow::Borrow<str> for Text2 {
    fn borrow(&self) -> &str {
        self.0.as_str()
    }
}

/// Dicts of fewer pairs are searched one by one.
const INDEXED: usize = 12;

/// Keys that are no strings are searched one by one, always.
const OTHERS: usize = 5000;

impl List {
    pub(crate) fn new(items: Vec<Value>) -> Result<Rc<List>> {
        let depth = items.iter().map(Value::depth).max().unwrap_or(0) + 1;
        let has_state = items.iter().any(Value::has_state);
        checked(depth)?;
        Ok(Rc::new(List { items, depth, has_state }))
    }
}

fn checked(depth: u16) -> Result<()> {
    if depth > DEPTH { Err(error(format!("a value nests deeper than {DEPTH} levels"))) } else { Ok(()) }
}

impl Dict {
    /// Of keys that are the same the last value counts, at the first's place.
    pub(crate) fn new(pairs: Vec<(Value, Value)>) -> Result<Rc<Dict>> {
        let mut dict = Dict::default();
        let mut n_others = 0;
        let mut seen: HashMap<Text2, usize, RandomState> = HashMap::default();
        for (key, value) in pairs {
            let at = match &key {
                Value::Str(text) => seen.get(text.as_str()).copied(),
                other => {
                    other.check_hashable()?;
                    n_others += 1;
                    if n_others > OTHERS {
                        return Err(error(format!(
                            "a dict has more than {OTHERS} keys that are not strings"
                        )));
                    }
                    dict.pairs.iter().position(|(k, _)| !matches!(k, Value::Str(_)) && k.equals(other))
                }
            };
            let depth = 1 + key.depth().max(value.depth());
            checked(depth)?;
            dict.depth = dict.depth.max(depth);
            dict.has_state |= key.has_state() || value.has_state();
            match at {
                Some(at) => dict.pairs[at].1 = value,
                None => {
                    if let Value::Str(text) = &key {
                        seen.insert(Text2(text.clone()), dict.pairs.len());
                    }
                    dict.pairs.push((key, value));
                }
            }
        }
        dict.depth = dict.depth.max(1);
        if dict.pairs.len() > INDEXED {
            let _ = dict.index.set(seen);
        }
        Ok(Rc::new(dict))
    }

    pub(crate) fn pairs(&self) -> &[(Value, Value)] {
        &self.pairs
    }

    pub(crate) fn get_str(&self, key: &str) -> Option<&Value> {
        if let Some(index) = self.index.get() {
            return index.get(key).map(|&at| &self.pairs[at].1);
        }
        self.pairs
            .iter()
            .find(|(k, _)| matches!(k, Value::Str(text) if text.as_str() == key))
            .map(|(_, value)| value)
    }

    pub(crate) fn get(&self, key: &Value) -> Option<&Value> {
        match key {
            Value::Str(text) => self.get_str(text.as_str()),
            other => {
                let mut pairs = self.pairs.iter().filter(|(k, _)| !matches!(k, Value::Str(_)));
                pairs.find(|(k, _)| k.equals(other)).map(|(_, value)| value)
            }
        }
    }
}
