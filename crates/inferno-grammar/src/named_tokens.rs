//! Tokens that a grammar names, by number or by text.

use inferno_text::{Special, TokenKind, Tokenizer};

/// Tokens of a grammar that the search for its shortest ending tries.
const MOST_NAMED: usize = 64;

/// Tokens from the first to the last of each range.
pub(crate) type TokenRanges = Vec<(u32, u32)>;

/// Finds the tokens that `<[5]>`, `<think>` or, for all others, `!<think>` stand for.
///
/// # Errors
/// The reason for which there are none.
pub(crate) type Find<'a> = dyn Fn(&str) -> Result<TokenRanges, String> + 'a;

/// The tokens of `tokenizer` that `written` stands for: see [`Find`].
pub(crate) fn find(tokenizer: &Tokenizer, written: &str) -> Result<TokenRanges, String> {
    let (is_negated, name) = match written.strip_prefix('!') {
        Some(name) => (true, name),
        None => (false, written),
    };
    let id = match name.strip_prefix("<[").and_then(|name| name.strip_suffix("]>")) {
        Some(number) => by_number(tokenizer, number.trim())?,
        None => by_text(tokenizer, name)?,
    };
    if is_negated {
        return Ok(others(tokenizer, &[id]));
    }
    check(tokenizer, id, name)?;
    Ok(vec![(id, id)])
}

/// The token with this number.
pub(crate) fn by_number(tokenizer: &Tokenizer, number: &str) -> Result<u32, String> {
    let n_tokens = tokenizer.vocab_size();
    let id = number.parse::<u32>().ok().filter(|&id| (id as usize) < n_tokens);
    id.ok_or_else(|| {
        format!("`{number}` is not a token: this model has those from 0 to {}", n_tokens.saturating_sub(1))
    })
}

/// The one token whose text this is.
pub(crate) fn by_text(tokenizer: &Tokenizer, text: &str) -> Result<u32, String> {
    match tokenizer.encode_continuation(text, Special::Recognise)[..] {
        [id] => Ok(id),
        ref ids => Err(format!(
            "`{text}` is {} tokens of this model, expected one: write it as a text in quotes",
            ids.len()
        )),
    }
}

/// Checks that a token may stand within an answer.
pub(crate) fn check(tokenizer: &Tokenizer, id: u32, name: &str) -> Result<(), String> {
    match takes(tokenizer, id) {
        true => Ok(()),
        false if tokenizer.end_of_generation().contains(&id) => {
            Err(format!("`{name}` ends an answer, which ends where the grammar does: leave it out"))
        }
        false => Err(format!("`{name}` has no text, and is in no answer: leave it out")),
    }
}

/// All tokens that may stand within an answer, without some.
pub(crate) fn others(tokenizer: &Tokenizer, without: &[u32]) -> TokenRanges {
    let mut ranges: TokenRanges = Vec::new();
    for id in (0..tokenizer.vocab_size() as u32).filter(|id| !without.contains(id) && takes(tokenizer, *id)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == id => *last = id,
            _ => ranges.push((id, id)),
        }
    }
    ranges
}

/// Whether a token may stand within an answer: it has a text, and ends no generation.
fn takes(tokenizer: &Tokenizer, id: u32) -> bool {
    let has_text = match tokenizer.token_kind(id) {
        Some(TokenKind::Control) => tokenizer.token_text(id).is_some_and(|text| !text.is_empty()),
        Some(TokenKind::Normal | TokenKind::UserDefined | TokenKind::Byte) => {
            tokenizer.piece(id).is_some_and(|piece| !piece.is_empty())
        }
        Some(TokenKind::Unknown | TokenKind::Unused) | None => false,
    };
    has_text && !tokenizer.end_of_generation().contains(&id)
}

/// One of these tokens, in llguidance's Lark.
pub(crate) fn lark(tokens: &[(u32, u32)]) -> String {
    let range = |&(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    format!("<[{}]>", tokens.iter().map(range).collect::<Vec<_>>().join(","))
}

/// The tokens that stand alone in a grammar that [`lark`] has written, each once.
pub(crate) fn in_lark(grammar: &str) -> Vec<u32> {
    let mut all: Vec<u32> = Vec::new();
    for (start, _) in grammar.match_indices("<[") {
        let rest = &grammar[start + 2..];
        let id = rest.find("]>").and_then(|end| rest[..end].parse().ok());
        all.extend(id.filter(|id| !all.contains(id)));
        if all.len() == MOST_NAMED {
            break;
        }
    }
    all
}
