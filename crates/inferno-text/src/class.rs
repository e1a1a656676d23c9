//! What kind of character a code point is, as far as pre-tokenizers ask.
//!
//! The categories are those of the `unicode-properties` crate (Unicode 18); `\s` is the White_Space property,
//! which is also llama.cpp's list. A code point that is assigned only in a later version than the one a model
//! was trained with may fall on the other side of a split; it is rare text by nature.

use std::sync::OnceLock;

use unicode_properties::{GeneralCategory as G, UnicodeGeneralCategory};

/// `\p{L}`
pub(crate) const LETTER: u16 = 1;
/// `\p{N}`
pub(crate) const NUMBER: u16 = 2;
/// `\s`
pub(crate) const SPACE: u16 = 4;
/// `\p{M}`
pub(crate) const MARK: u16 = 8;
/// `\p{P}`
pub(crate) const PUNCTUATION: u16 = 16;
/// `\p{S}`
pub(crate) const SYMBOL: u16 = 32;
/// `[\r\n]`
pub(crate) const NEWLINE: u16 = 64;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`: may stand where a capital does
pub(crate) const UPPER: u16 = 128;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: may stand where a small letter does
pub(crate) const LOWER: u16 = 256;
/// `\p{Han}`
pub(crate) const HAN: u16 = 512;
/// `\p{Nd}`
pub(crate) const DIGIT: u16 = 1024;
/// `\p{Pc}`
pub(crate) const CONNECTOR: u16 = 2048;

/// The bits of a character.
#[inline]
pub(crate) fn of(c: char) -> u16 {
    let code = c as usize;
    if code < 128 { ASCII[code] } else { page(code >> 8)[code & 255] }
}

/// The bits of the character at `pos` and its length in bytes; `(0, 0)` at the end.
#[inline]
pub(crate) fn at(text: &str, pos: usize) -> (u16, usize) {
    match text.as_bytes().get(pos) {
        None => (0, 0),
        Some(&b) if b < 128 => (ASCII[b as usize], 1),
        Some(_) => match text[pos..].chars().next() {
            None => (0, 0),
            Some(c) => (of(c), c.len_utf8()),
        },
    }
}

/// The end of the run of characters from `pos` on that have one of the bits of `mask`.
#[inline]
pub(crate) fn run_end(text: &str, mut pos: usize, mask: u16) -> usize {
    loop {
        let (class, len) = at(text, pos);
        if class & mask == 0 {
            return pos;
        }
        pos += len;
    }
}

static ASCII: [u16; 128] = ascii();

const fn ascii() -> [u16; 128] {
    let mut table = [0; 128];
    let mut i = 0;
    while i < 128 {
        table[i] = match i as u8 {
            b'\n' | b'\r' => SPACE | NEWLINE,
            b'\t' | 0x0b | 0x0c | b' ' => SPACE,
            b'0'..=b'9' => NUMBER | DIGIT,
            b'_' => PUNCTUATION | CONNECTOR,
            b'A'..=b'Z' => LETTER | UPPER,
            b'a'..=b'z' => LETTER | LOWER,
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~' => SYMBOL,
            b'!'..=b'/' | b':'..=b'@' | b'['..=b']' | b'{' | b'}' => PUNCTUATION,
            _ => 0,
        };
        i += 1;
    }
    table
}

/// 256 code points at a time, computed when first asked for: a text touches few of the 4,352 pages.
fn page(index: usize) -> &'static [u16; 256] {
    static PAGES: [OnceLock<Box<[u16; 256]>>; 0x1100] = [const { OnceLock::new() }; 0x1100];
    PAGES[index].get_or_init(|| {
        let mut page = Box::new([0; 256]);
        for (low, bits) in page.iter_mut().enumerate() {
            *bits = char::from_u32((index << 8 | low) as u32).map_or(0, compute);
        }
        page
    })
}

fn compute(c: char) -> u16 {
    let space = if c.is_whitespace() { SPACE } else { 0 };
    let han = if is_han(c) { HAN } else { 0 };
    space
        | han
        | match c.general_category() {
            G::UppercaseLetter | G::TitlecaseLetter => LETTER | UPPER,
            G::LowercaseLetter => LETTER | LOWER,
            G::ModifierLetter | G::OtherLetter => LETTER | UPPER | LOWER,
            G::NonspacingMark | G::SpacingMark | G::EnclosingMark => MARK | UPPER | LOWER,
            G::DecimalNumber => NUMBER | DIGIT,
            G::LetterNumber | G::OtherNumber => NUMBER,
            G::ConnectorPunctuation => PUNCTUATION | CONNECTOR,
            G::DashPunctuation
            | G::OpenPunctuation
            | G::ClosePunctuation
            | G::InitialPunctuation
            | G::FinalPunctuation
            | G::OtherPunctuation => PUNCTUATION,
            G::MathSymbol | G::CurrencySymbol | G::ModifierSymbol | G::OtherSymbol => SYMBOL,
            _ => 0,
        }
}

/// The script property Han (Unicode 17, `Scripts.txt`), planes that are set aside for ideographs as a whole.
fn is_han(c: char) -> bool {
    matches!(c,
        '\u{2e80}'..='\u{2e99}' | '\u{2e9b}'..='\u{2ef3}' | '\u{2f00}'..='\u{2fd5}' | '\u{3005}' | '\u{3007}'
        | '\u{3021}'..='\u{3029}' | '\u{3038}'..='\u{303b}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{fa6d}' | '\u{fa70}'..='\u{fad9}' | '\u{16fe2}' | '\u{16fe3}' | '\u{16ff0}' | '\u{16ff1}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_ascii_table_agrees_with_the_unicode_tables() {
        for b in 0..128u8 {
            let c = char::from(b);
            let newline = if matches!(c, '\r' | '\n') { super::NEWLINE } else { 0 };
            assert_eq!(super::of(c), super::compute(c) | newline, "{c:?}");
        }
    }
}
