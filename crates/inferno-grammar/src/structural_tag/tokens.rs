//! Parts that are tokens, by number or by text.

use serde_json::{Map, Value};

use super::{After, Writer, error, text};
use crate::named_tokens;
use crate::source::GrammarError;

impl Writer<'_> {
    /// The token that `token` names.
    pub(super) fn token(&self, map: &Map<String, Value>, path: &str) -> Result<String, GrammarError> {
        let id = self.token_id(map, path)?;
        Ok(named_tokens::lark(&[(id, id)]))
    }

    /// A token that is none of those that `exclude_tokens` names, nor the one whose text is `end`.
    pub(super) fn other_tokens(
        &self,
        map: &Map<String, Value>,
        path: &str,
        end: &str,
    ) -> Result<String, GrammarError> {
        let excluded = match map.get("exclude_tokens") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(tokens)) => tokens.as_slice(),
            Some(_) => return Err(error(path, "`exclude_tokens` must be a list")),
        };
        let mut excluded: Vec<u32> =
            excluded.iter().map(|token| self.id_of(token, path)).collect::<Result<_, _>>()?;
        excluded.extend(named_tokens::by_text(self.tokenizer, end));
        Ok(named_tokens::lark(&named_tokens::others(self.tokenizer, &excluded)))
    }

    /// The text of a tag's `begin` or `end`, which may be a token.
    pub(super) fn edge(
        &self,
        map: &Map<String, Value>,
        key: &str,
        path: &str,
    ) -> Result<String, GrammarError> {
        let Some(Value::Object(token)) = map.get(key) else { return Ok(text(map, key, path)?.to_owned()) };
        let path = format!("{path}/{key}");
        let id = self.token_id(token, &path)?;
        let text = self.tokenizer.token_text(id);
        text.map(str::to_owned).ok_or_else(|| error(&path, "the token has no text"))
    }

    /// The content of a repetition, which any of itself may follow.
    pub(super) fn repeated(&mut self, map: &Map<String, Value>, path: &str) -> Result<String, GrammarError> {
        let content = map.get("content").ok_or_else(|| error(path, "`content` is missing"))?;
        let content = self.format(content, &format!("{path}/content"), &After::Other)?;
        Ok(self.rule("", &content))
    }

    fn token_id(&self, map: &Map<String, Value>, path: &str) -> Result<u32, GrammarError> {
        let token = map.get("token").ok_or_else(|| error(path, "`token` is missing: a number or a text"))?;
        let id = self.id_of(token, path)?;
        named_tokens::check(self.tokenizer, id, &token.to_string()).map_err(|reason| error(path, &reason))?;
        Ok(id)
    }

    fn id_of(&self, token: &Value, path: &str) -> Result<u32, GrammarError> {
        let id = match token {
            Value::Number(number) => named_tokens::by_number(self.tokenizer, &number.to_string()),
            Value::String(text) => named_tokens::by_text(self.tokenizer, text),
            _ => Err("a token is named by its number or its text".to_owned()),
        };
        id.map_err(|reason| error(path, &reason))
    }
}
