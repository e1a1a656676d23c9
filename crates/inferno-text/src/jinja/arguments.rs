//! Arguments of calls.

use super::ast::Name;
use super::error::{Result, error};
use super::text::Text;
use super::value::Value;

/// Arguments of a call, evaluated.
#[derive(Debug, Default, Clone)]
pub(super) struct Given {
    pub(super) pos: Vec<Value>,
    pub(super) named: Vec<(Name, Value)>,
}

impl Given {
    /// The arguments by the names of parameters.
    ///
    /// # Errors
    /// There are more, or others, or one twice.
    pub(super) fn bind<const N: usize>(self, what: &str, names: [&str; N]) -> Result<[Option<Value>; N]> {
        let mut bound = [const { None }; N];
        if self.pos.len() > N {
            return Err(error(format!("`{what}` takes at most {N} arguments, and got {}", self.pos.len())));
        }
        for (to, value) in bound.iter_mut().zip(self.pos) {
            *to = Some(value);
        }
        for (name, value) in self.named {
            let Some(at) = names.iter().position(|n| **n == *name) else {
                return Err(error(format!("`{what}` got an unexpected keyword argument '{name}'")));
            };
            if bound[at].replace(value).is_some() {
                return Err(error(format!("`{what}` got multiple values for argument '{name}'")));
            }
        }
        Ok(bound)
    }

    /// The same where all parameters are positional only.
    pub(super) fn positional<const N: usize>(self, what: &str) -> Result<[Option<Value>; N]> {
        if let Some((name, _)) = self.named.first() {
            return Err(error(format!("`{what}` takes no keyword argument '{name}'")));
        }
        self.bind(what, [""; N])
    }
}

/// An argument that must be there.
pub(super) fn required(value: Option<Value>, what: &str, name: &str) -> Result<Value> {
    value.ok_or_else(|| error(format!("`{what}` lacks its argument '{name}'")))
}

/// An argument that must be a string.
pub(super) fn text(value: Value, what: &str) -> Result<Text> {
    match value {
        Value::Str(text) => Ok(text),
        other => Err(error(format!("`{what}` takes a string, not '{}'", other.type_name()))),
    }
}

/// An argument that must be a string, if it is there and not none.
pub(super) fn opt_text(value: Option<Value>, what: &str) -> Result<Option<Text>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => text(value, what).map(Some),
    }
}

/// An argument that must be an integer.
pub(super) fn int(value: &Value, what: &str) -> Result<i128> {
    value.as_index().ok_or_else(|| error(format!("`{what}` takes an integer, not '{}'", value.type_name())))
}

/// An argument that must be an integer, if it is there and not none.
pub(super) fn opt_int(value: Option<&Value>, what: &str) -> Result<Option<i128>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => int(value, what).map(Some),
    }
}

/// A size that a template asks for, which is bounded where it is used. Negative ones are 0.
pub(super) fn size(n: i128) -> usize {
    usize::try_from(n.max(0)).unwrap_or(usize::MAX)
}
