//! Properties of characters, by which Python's string methods go.

use unicode_properties::{GeneralCategory as G, UnicodeGeneralCategory};

/// Python's white space: `str.isspace`, and what `split` and `strip` look for.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Where `splitlines` cuts.
pub(super) fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// `str.isalpha`
pub(super) fn is_alpha(c: char) -> bool {
    use G::{LowercaseLetter, ModifierLetter, OtherLetter, TitlecaseLetter, UppercaseLetter};
    matches!(
        c.general_category(),
        LowercaseLetter | ModifierLetter | OtherLetter | TitlecaseLetter | UppercaseLetter
    )
}

/// The value of a decimal digit of any script.
pub(super) fn decimal(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    if c.general_category() != G::DecimalNumber {
        return None;
    }
    // Unicode keeps the ten digits of a script together, from a zero on; mathematical ones stand five times in a row.
    if ('\u{1d7ce}'..='\u{1d7ff}').contains(&c) {
        return Some((c as u32 - 0x1d7ce) % 10);
    }
    let mut zero = c as u32;
    while let Some(before) = zero.checked_sub(1).and_then(char::from_u32)
        && before.general_category() == G::DecimalNumber
        && c as u32 - zero < 9
    {
        zero -= 1;
    }
    Some(c as u32 - zero)
}

/// `str.isdigit`: decimal digits, and digits above or below the line or in circles.
pub(super) fn is_digit(c: char) -> bool {
    decimal(c).is_some()
        || matches!(c, '²' | '³' | '¹' | '\u{2070}' | '\u{2074}'..='\u{2079}' | '\u{2080}'..='\u{2089}'
            | '\u{2460}'..='\u{2468}' | '\u{2474}'..='\u{247c}' | '\u{2488}'..='\u{2490}' | '\u{24ea}'
            | '\u{24f5}'..='\u{24fd}' | '\u{24ff}' | '\u{2776}'..='\u{277e}' | '\u{2780}'..='\u{2788}'
            | '\u{278a}'..='\u{2792}' | '\u{1369}'..='\u{1371}' | '\u{1f100}'..='\u{1f10a}')
}

/// `str.isnumeric`
pub(super) fn is_numeric(c: char) -> bool {
    matches!(c.general_category(), G::DecimalNumber | G::LetterNumber | G::OtherNumber)
        || matches!(
            c,
            '零' | '〇'
                | '一'
                | '二'
                | '三'
                | '四'
                | '五'
                | '六'
                | '七'
                | '八'
                | '九'
                | '十'
                | '百'
                | '千'
                | '万'
                | '億'
                | '兆'
                | '亿'
                | '壹'
                | '贰'
                | '叁'
                | '伍'
                | '拾'
        )
}

/// `str.isalnum`
pub(super) fn is_alnum(c: char) -> bool {
    is_alpha(c) || decimal(c).is_some() || is_digit(c) || is_numeric(c)
}

/// Whether `repr` shows a character as it is.
pub(super) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    !matches!(
        c.general_category(),
        G::Control
            | G::Format
            | G::Surrogate
            | G::PrivateUse
            | G::Unassigned
            | G::LineSeparator
            | G::ParagraphSeparator
            | G::SpaceSeparator
    )
}

/// Whether a letter has a case, or is of title case.
pub(super) fn is_cased(c: char) -> bool {
    c.is_uppercase() || c.is_lowercase() || is_title(c)
}

/// Letters such as `ǅ`.
pub(super) fn is_title(c: char) -> bool {
    c.general_category() == G::TitlecaseLetter
}

/// A letter as words begin with it.
pub(super) fn to_title(c: char) -> Vec<char> {
    match c {
        'ß' => vec!['S', 's'],
        'Ǆ' | 'ǆ' | 'ǅ' => vec!['ǅ'],
        'Ǉ' | 'ǉ' | 'ǈ' => vec!['ǈ'],
        'Ǌ' | 'ǌ' | 'ǋ' => vec!['ǋ'],
        'Ǳ' | 'ǳ' | 'ǲ' => vec!['ǲ'],
        'ﬀ' => vec!['F', 'f'],
        'ﬁ' => vec!['F', 'i'],
        'ﬂ' => vec!['F', 'l'],
        _ => c.to_uppercase().collect(),
    }
}

/// `str.casefold` of a character.
pub(super) fn fold(c: char) -> Vec<char> {
    match c {
        'ß' | 'ẞ' => vec!['s', 's'],
        'ς' => vec!['σ'],
        'ŉ' => vec!['ʼ', 'n'],
        'ſ' => vec!['s'],
        'ͅ' => vec!['ι'],
        'µ' => vec!['μ'],
        'ﬀ' => vec!['f', 'f'],
        'ﬁ' => vec!['f', 'i'],
        'ﬂ' => vec!['f', 'l'],
        'ﬃ' => vec!['f', 'f', 'i'],
        'ﬄ' => vec!['f', 'f', 'l'],
        'ﬅ' | 'ﬆ' => vec!['s', 't'],
        _ => c.to_lowercase().collect(),
    }
}
