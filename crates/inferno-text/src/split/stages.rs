//! Pre-tokenizers of several expressions: each is applied to every piece the one before left, whether it
//! matched or lay between matches.

use crate::class::{LETTER, MARK, NEWLINE, NUMBER, PUNCTUATION, SPACE, SYMBOL, at, of, run_end};

use super::words::{self, space_end};
use super::{cased, threes};

/// One expression: hands on the matches in the piece and the text between them.
pub(super) type Stage = for<'t> fn(&'t str, &mut dyn FnMut(&'t str));

pub(super) fn split<'t>(stages: &[Stage], piece: &'t str, emit: &mut dyn FnMut(&'t str)) {
    match stages {
        [] => emit(piece),
        [stage, rest @ ..] => stage(piece, &mut |part| split(rest, part, emit)),
    }
}

/// llama.cpp's choice for files that name no pre-tokenizer.
pub(super) const DEFAULT: &[Stage] = &[
    |text, emit| runs(text, |c| is_punctuation(c) && c != '`', emit),
    gpt2,
    |text, emit| runs(text, |c| of(c) & NUMBER != 0, emit),
    three_digits,
];

pub(super) const FALCON: &[Stage] = &[|text, emit| runs(text, is_punctuation, emit), gpt2, three_digits];

/// Digits one by one, then GPT-2's expression.
pub(super) const STARCODER: &[Stage] = &[digits, gpt2];

pub(super) const DEEPSEEK_LLM: &[Stage] = &[
    newlines,
    |text, emit| spaced_runs(text, is_cased_letter, emit),
    |text, emit| spaced_runs(text, is_common_punctuation, emit),
    trailing_space,
    |text, emit| runs(text, is_cjk, emit),
    |text, emit| runs(text, |c| of(c) & NUMBER != 0, emit),
];

pub(super) const DEEPSEEK_CODER: &[Stage] = &[
    newlines,
    |text, emit| spaced_runs(text, |c| of(c) & LETTER != 0, emit),
    |text, emit| spaced_runs(text, |c| of(c) & PUNCTUATION != 0, emit),
    |text, emit| runs(text, is_cjk, emit),
    digits,
];

pub(super) const DEEPSEEK_V3: &[Stage] = &[up_to_three_digits, kana_and_ideographs, deepseek_v3_words];

/// As DeepSeek V3, with line ends and digits one by one.
pub(super) const SPARK: &[Stage] = &[up_to_three_digits, kana_and_ideographs, spark_words, digits];

pub(super) const AFMOE: &[Stage] =
    &[threes::numbers, |text, emit| runs(text, is_unspaced, emit), deepseek_v3_words];

pub(super) const TINY_AYA: &[Stage] = &[threes::before_no_word, gpt4o];

/// Words are not cut at spaces.
pub(super) const SUPERBPE: &[Stage] = &[|text, emit| runs(text, |c| of(c) & NUMBER != 0, emit), threes::cuts];

pub(super) const MINICPM5: &[Stage] = &[up_to_three_digits, |text, mut emit| {
    super::one_by_one(text, |pos| words::MINICPM5.word_end(text, pos), &mut emit)
}];

/// `[^\n]+|[\n]+`
pub(super) const LINES: &[Stage] = &[lines];

pub(super) const LAGUNA: &[Stage] =
    &[lines, |text, mut emit| super::one_by_one(text, |pos| words::QWEN2.word_end(text, pos), &mut emit)];

/// `\S+`
pub(super) const WHITESPACE: &[Stage] = &[|text, emit| runs(text, |c| of(c) & SPACE == 0, emit)];

pub(super) const YOUTU: &[Stage] = &[youtu_scripts, |text, mut emit| {
    super::one_by_one(text, |pos| cased::YOUTU.word_end(text, pos), &mut emit)
}];

pub(super) const JAIS2: &[Stage] = &[jais2];

/// ` ?[^(\s|.,!?…。，、।۔،)]+`
pub(super) const BLOOM: &[Stage] = &[bloom];
pub(super) const VIKING: &[Stage] = &[bloom, digits];

pub(super) fn gpt2<'t>(text: &'t str, mut emit: &mut dyn FnMut(&'t str)) {
    super::one_by_one(text, |pos| super::gpt2::word_end(text, pos), &mut emit);
}

fn gpt4o<'t>(text: &'t str, mut emit: &mut dyn FnMut(&'t str)) {
    super::one_by_one(text, |pos| cased::GPT4O.word_end(text, pos), &mut emit);
}

fn lines<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    runs(text, |c| c == '\n', emit);
}

/// `[一-龥぀-ゟ゠-ヿ]+`
fn kana_and_ideographs<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    runs(text, is_kana_or_ideograph, emit);
}

/// `[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+`
fn youtu_scripts<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let kind = |c: char| match c {
        '가'..='힣' | 'ㄱ'..='ㆎ' => 1,
        '！' | '…' | '“' | '”' | '‘' | '’' | '—' | '：' | '；' | '，' | '、'..='〿' | '︰'..='﹏' => {
            2
        }
        'ㄅ'..='ㄯ' => 3,
        _ if is_kana_or_ideograph(c) => 4,
        _ => 0,
    };
    runs_of_kinds(text, kind, emit);
}

/// Llama 3's expression with `\s{512}(?!\S)|\s{256}(?!\S)|` and so on for `\s+(?!\S)|\s+`: white space without line ends is
/// cut into powers of two, the largest first.
fn jais2<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    super::one_by_one(text, |pos| words::LLAMA3.word_end(text, pos), &mut |word: &'t str| {
        if !word.chars().all(|c| of(c) & (SPACE | NEWLINE) == SPACE) {
            return emit(word);
        }
        let (mut rest, mut left) = (word, word.chars().count());
        while left > 0 {
            let n = 512.min(1 << left.ilog2());
            let end = rest.char_indices().nth(n).map_or(rest.len(), |(at, _)| at);
            let (piece, after) = rest.split_at(end);
            emit(piece);
            (rest, left) = (after, left - n);
        }
    });
}

/// `X+`
fn runs<'t>(text: &'t str, in_class: impl Fn(char) -> bool, emit: &mut dyn FnMut(&'t str)) {
    runs_of_kinds(text, in_class, emit);
}

/// Runs of characters of one kind.
fn runs_of_kinds<'t, K: PartialEq + Copy>(
    text: &'t str,
    kind: impl Fn(char) -> K,
    emit: &mut dyn FnMut(&'t str),
) {
    let mut start = 0;
    let mut inside = None;
    for (pos, c) in text.char_indices() {
        let now = kind(c);
        if inside.is_some_and(|before| before != now) {
            emit(&text[start..pos]);
            start = pos;
        }
        inside = Some(now);
    }
    emit_rest(text, start, emit);
}

/// `\s?X+`
fn spaced_runs<'t>(text: &'t str, in_class: impl Fn(char) -> bool, emit: &mut dyn FnMut(&'t str)) {
    led_runs(text, |c| of(c) & SPACE != 0, in_class, emit);
}

/// `L?X+`
fn led_runs<'t>(
    text: &'t str,
    may_lead: impl Fn(char) -> bool,
    in_class: impl Fn(char) -> bool,
    emit: &mut dyn FnMut(&'t str),
) {
    let mut start = 0; // of the piece that is being read
    let mut inside = false; // a match, as against text between matches
    let mut lead = None; // where the character before is, if it is outside a match and may lead one
    for (pos, c) in text.char_indices() {
        let now = in_class(c);
        if now != inside {
            let cut = if now { lead.unwrap_or(pos) } else { pos };
            if cut > start {
                emit(&text[start..cut]);
            }
            start = cut;
            inside = now;
        }
        lead = (!now && may_lead(c)).then_some(pos);
    }
    emit_rest(text, start, emit);
}

/// `[\r\n]`
fn newlines<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    singles(text, |c| of(c) & NEWLINE != 0, emit);
}

/// `\p{N}`
pub(super) fn digits<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    singles(text, |c| of(c) & NUMBER != 0, emit);
}

/// `X`
pub(super) fn singles<'t>(text: &'t str, in_class: impl Fn(char) -> bool, emit: &mut dyn FnMut(&'t str)) {
    let mut start = 0;
    for (pos, c) in text.char_indices() {
        if in_class(c) {
            if pos > start {
                emit(&text[start..pos]);
            }
            start = pos + c.len_utf8();
            emit(&text[pos..start]);
        }
    }
    emit_rest(text, start, emit);
}

/// `[0-9][0-9][0-9]`
fn three_digits<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let bytes = text.as_bytes();
    let (mut start, mut pos) = (0, 0);
    while pos + 3 <= bytes.len() {
        if bytes[pos..pos + 3].iter().all(u8::is_ascii_digit) {
            if pos > start {
                emit(&text[start..pos]);
            }
            emit(&text[pos..pos + 3]);
            pos += 3;
            start = pos;
        } else {
            pos += 1;
        }
    }
    emit_rest(text, start, emit);
}

/// `\p{N}{1,3}`
fn up_to_three_digits<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let (mut start, mut pos) = (0, 0);
    while pos < text.len() {
        let (class, len) = at(text, pos);
        if class & NUMBER == 0 {
            pos += len;
            continue;
        }
        if pos > start {
            emit(&text[start..pos]);
        }
        start = super::words::digits_end(text, pos, 3);
        emit(&text[pos..start]);
        pos = start;
    }
    emit_rest(text, start, emit);
}

/// `\s+$`
fn trailing_space<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let cut = text.trim_end().len();
    if cut > 0 {
        emit(&text[..cut]);
    }
    emit_rest(text, cut, emit);
}

/// ``[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|``
/// ` ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
fn deepseek_v3_words<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    sign_words(text, |end| run_end(text, end, NEWLINE), |pos| space_end(text, pos), emit);
}

/// The same with ` ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+` for what follows the words.
fn spark_words<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let spaces = |pos| if of_newline(text, pos) { pos + 1 } else { super::whitespace_end(text, pos) };
    sign_words(text, |end| end, spaces, emit);
}

fn of_newline(text: &str, pos: usize) -> bool {
    matches!(text.as_bytes()[pos], b'\r' | b'\n')
}

/// DeepSeek V3's words: `signs_end` says where those end whose signs end at a place, `spaces_end` where white space does.
fn sign_words<'t>(
    text: &'t str,
    signs_end: impl Fn(usize) -> usize,
    spaces_end: impl Fn(usize) -> usize,
    emit: &mut dyn FnMut(&'t str),
) {
    const WORD: u16 = LETTER | MARK;
    const SIGN: u16 = PUNCTUATION | SYMBOL;
    let bytes = text.as_bytes();
    let (mut start, mut pos) = (0, 0); // [start, pos): characters no alternative takes
    while pos < text.len() {
        let (class, len) = at(text, pos);
        let (next, _) = at(text, pos + len);
        let letters = bytes[pos + len..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let end = if bytes[pos].is_ascii_punctuation() && letters > 0 {
            pos + len + letters
        } else if class & WORD != 0 || class & (NEWLINE | SIGN) == 0 && next & WORD != 0 {
            run_end(text, pos + len, WORD)
        } else if class & SIGN != 0 || bytes[pos] == b' ' && next & SIGN != 0 {
            signs_end(run_end(text, pos + len, SIGN))
        } else if class & SPACE != 0 {
            spaces_end(pos)
        } else {
            pos += len;
            continue;
        };
        if pos > start {
            emit(&text[start..pos]);
        }
        emit(&text[pos..end]);
        start = end;
        pos = end;
    }
    emit_rest(text, start, emit);
}

fn bloom<'t>(text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let outside = |c: char| {
        of(c) & SPACE != 0
            || matches!(
                c,
                '(' | '|' | '.' | ',' | '!' | '?' | '…' | '。' | '，' | '、' | '।' | '۔' | '،' | ')'
            )
    };
    led_runs(text, |c| c == ' ', |c| !outside(c), emit);
}

pub(super) fn emit_rest<'t>(text: &'t str, start: usize, emit: &mut dyn FnMut(&'t str)) {
    if start < text.len() {
        emit(&text[start..]);
    }
}

/// ``[\p{P}\$\+<=>\^~\|`]``
fn is_punctuation(c: char) -> bool {
    of(c) & PUNCTUATION != 0 || matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|' | '`')
}

/// `[!-/:-~！-／：-～‘-‟　-。]`: the second range holds the letters of ASCII too.
fn is_common_punctuation(c: char) -> bool {
    matches!(c, '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '‘'..='‟' | '\u{3000}'..='。')
}

/// `[一-龥ࠀ-一가-퟿]`
fn is_cjk(c: char) -> bool {
    matches!(c, '\u{800}'..='龥' | '가'..='\u{d7ff}')
}

fn is_kana_or_ideograph(c: char) -> bool {
    matches!(c, '一'..='龥' | '\u{3040}'..='ゟ' | '゠'..='ヿ')
}

/// Scripts without spaces between words:
/// `[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]`
#[rustfmt::skip]
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{f900}'..='\u{faff}' | '\u{3040}'..='\u{30ff}' | '\u{ff65}'..='\u{ff9f}'
        | '\u{2f00}'..='\u{2fdf}' | '\u{e40}'..='\u{eff}' | '\u{1780}'..='\u{17ff}' | '\u{1000}'..='\u{109f}' | '\u{aa60}'..='\u{aa7f}'
        | '\u{a9e0}'..='\u{a9ff}' | '\u{ac00}'..='\u{d7af}' | '\u{1100}'..='\u{11ff}')
}

/// The letters of scripts with upper and lower case, as DeepSeek LLM lists them.
#[rustfmt::skip]
fn is_cased_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    matches!(c,
        'µ' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ƺ' | 'Ƽ'..='ƿ' | 'Ǆ'..='ʓ' | 'ʕ'..='ʯ' | 'Ͱ'..='ͳ' | 'Ͷ' | 'ͷ'
        | 'ͻ'..='ͽ' | 'Ϳ' | 'Ά' | 'Έ'..='Ί' | 'Ό' | 'Ύ'..='Ρ' | 'Σ'..='ϵ' | 'Ϸ'..='ҁ' | 'Ҋ'..='ԯ' | 'Ա'..='Ֆ'
        | 'Ⴀ'..='Ⴥ' | 'Ꭰ'..='Ᏽ' | 'ᏸ'..='ᏽ' | 'Ა'..='Ჺ' | 'Ჽ'..='Ჿ' | 'ᴀ'..='ᴫ' | 'ᵫ'..='ᵷ' | 'ᵹ'..='ᶚ'
        | 'Ḁ'..='ἕ' | 'Ἐ'..='Ἕ' | 'ἠ'..='ὅ' | 'Ὀ'..='Ὅ' | 'ὐ'..='ὗ' | 'Ὑ' | 'Ὓ' | 'Ὕ' | 'Ὗ'..='\u{1f7d}' | 'ᾀ'..='ᾴ'
        | 'ᾶ'..='ᾼ' | '\u{1fbe}' | 'ῂ'..='ῄ' | 'ῆ'..='ῌ' | 'ῐ'..='\u{1fd3}' | 'ῖ'..='\u{1fdb}' | 'ῠ'..='Ῥ' | 'ῲ'..='ῴ' | 'ῶ'..='ῼ'
        | 'ℂ' | 'ℇ' | 'ℊ'..='ℓ' | 'ℕ' | 'ℙ'..='ℝ' | 'ℤ' | '\u{2126}' | 'ℨ' | '\u{212a}'..='ℭ' | 'ℯ'..='ℴ' | 'ℹ'
        | 'ℼ'..='ℿ' | 'ⅅ'..='ⅉ' | 'ⅎ' | 'Ↄ' | 'ↄ' | 'Ⰰ'..='ⱻ' | 'Ȿ'..='ⳤ' | 'Ⳬ'..='ⳮ' | 'Ⳳ' | 'ⳳ' | 'Ꙁ'..='ꙭ'
        | 'Ꚁ'..='ꚛ' | 'Ꜣ'..='ꝯ' | 'ꝱ'..='ꞇ' | 'Ꞌ'..='ꞎ' | 'ꭰ'..='ꮿ' | 'ﬀ'..='ﬆ' | 'ﬓ'..='ﬗ' | 'Ａ'..='Ｚ'
        | 'ａ'..='ｚ' | '𐐀'..='𐑏' | '𐒰'..='𐓓' | '𐓘'..='𐓻' | '𐲀'..='𐲲' | '𐳀'..='𐳲' | '𑢠'..='𑣟' | '𞤀'..='𞥃')
}
