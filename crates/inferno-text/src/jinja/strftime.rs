//! Dates as C's `strftime` writes them in the C locale, with Python's `%f`.

/// Bytes of a date that may be made.
const MOST_BYTES: usize = 16 << 20;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A time of day on a date, without a zone: Python's `datetime.now()`.
struct Date {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: u32,
    /// From Sunday.
    weekday: i64,
    /// From 0.
    yearday: i64,
    /// Seconds since 1970 in UTC.
    epoch: i64,
}

/// `now` is seconds since 1970 and microseconds; `None` if the text becomes too long.
pub(super) fn strftime(format: &str, now: (i64, u32), utc_offset: i32) -> Option<String> {
    let mut out = String::new();
    write(&mut out, format, &Date::new(now, utc_offset))?;
    Some(out)
}

impl Date {
    fn new((epoch, micros): (i64, u32), utc_offset: i32) -> Date {
        // The years 1 to 9999, which are Python's.
        let local = epoch.saturating_add(i64::from(utc_offset)).clamp(-62_135_596_800, 253_402_300_799);
        let days = local.div_euclid(86_400);
        let of_day = local.rem_euclid(86_400);
        let (year, month, day) = civil(days);
        Date {
            year,
            month,
            day,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            micros,
            weekday: (days + 4).rem_euclid(7),
            yearday: days - days_before_year(year),
            epoch,
        }
    }

    /// Year and week of ISO 8601.
    fn iso_week(&self) -> (i64, i64) {
        let monday = (self.weekday + 6) % 7;
        let week = (self.yearday - monday + 10) / 7;
        if week < 1 {
            return (self.year - 1, weeks_of(self.year - 1));
        }
        if week > weeks_of(self.year) { (self.year + 1, 1) } else { (self.year, week) }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970 to a year's first.
fn days_before_year(year: i64) -> i64 {
    let before = year - 1;
    before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
}

/// Weeks that ISO 8601 gives a year.
fn weeks_of(year: i64) -> i64 {
    let first = (days_before_year(year) + 4).rem_euclid(7);
    if first == 4 || (is_leap(year) && first == 3) { 53 } else { 52 }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`).
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // since 0000-03-01
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // from March
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Padding and case of a field, which flags change.
#[derive(Clone, Copy)]
struct Field {
    /// `-`, `_`, `0`, or none.
    pad: Option<char>,
    upper: bool,
    swap: bool,
    width: usize,
}

fn write(out: &mut String, format: &str, date: &Date) -> Option<()> {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut chars = rest[1..].chars();
        let mut field = Field { pad: None, upper: false, swap: false, width: 0 };
        let mut c = chars.next();
        while let Some(flag) = c.filter(|c| "_-0^#".contains(*c)) {
            match flag {
                '^' => field.upper = true,
                '#' => field.swap = true,
                pad => field.pad = Some(pad),
            }
            c = chars.next();
        }
        while let Some(digit) = c.and_then(|c| c.to_digit(10)) {
            field.width = field.width * 10 + digit as usize;
            if field.width > MOST_BYTES {
                return None;
            }
            c = chars.next();
        }
        if matches!(c, Some('E' | 'O')) {
            c = chars.next();
        }
        let after = chars.as_str();
        match c {
            Some(c) if specifier(out, c, field, date).is_some() => {}
            // As it stands.
            _ => out.push_str(&rest[..rest.len() - after.len()]),
        }
        if out.len() > MOST_BYTES {
            return None;
        }
        rest = after;
    }
    out.push_str(rest);
    (out.len() <= MOST_BYTES).then_some(())
}

/// `None` if there is no such specifier.
fn specifier(out: &mut String, c: char, field: Field, date: &Date) -> Option<()> {
    let number = |out: &mut String, n: i64, digits: usize, pad: char| {
        let width = field.width.max(if field.pad == Some('-') { 0 } else { digits });
        let fill = match field.pad {
            Some('_') => ' ',
            Some('0') => '0',
            _ => pad,
        };
        let (sign, shown) = (if n < 0 { "-" } else { "" }, n.unsigned_abs().to_string());
        let missing = if field.pad == Some('-') && field.width == 0 {
            0
        } else {
            width.saturating_sub(shown.len() + sign.len())
        };
        if fill == '0' {
            out.push_str(sign);
        }
        out.extend(std::iter::repeat_n(fill, missing));
        if fill != '0' {
            out.push_str(sign);
        }
        out.push_str(&shown);
    };
    let words = |out: &mut String, text: &str| {
        let text = match (field.upper, field.swap) {
            (true, _) => text.to_uppercase(),
            (_, true) if c == 'p' => text.to_lowercase(),
            (_, true) => text.to_uppercase(),
            _ => text.to_owned(),
        };
        let fill = if field.pad == Some('0') { '0' } else { ' ' };
        out.extend(std::iter::repeat_n(fill, field.width.saturating_sub(text.chars().count())));
        out.push_str(&text);
    };
    let nested = |out: &mut String, format: &str| {
        let mut inner = String::new();
        write(&mut inner, format, date)?;
        words(out, &inner);
        Some(())
    };
    let hour12 = (date.hour + 11) % 12 + 1;
    let (weekday, month) = (DAYS[date.weekday as usize], MONTHS[(date.month - 1) as usize]);
    match c {
        'a' => words(out, &weekday[..3]),
        'A' => words(out, weekday),
        'b' | 'h' => words(out, &month[..3]),
        'B' => words(out, month),
        'c' => nested(out, "%a %b %e %H:%M:%S %Y")?,
        'C' => number(out, date.year.div_euclid(100), 2, '0'),
        'd' => number(out, date.day, 2, '0'),
        'D' | 'x' => nested(out, "%m/%d/%y")?,
        'e' => number(out, date.day, 2, ' '),
        'f' => out.push_str(&format!("{:06}", date.micros)),
        'F' => nested(out, "%Y-%m-%d")?,
        'g' => number(out, date.iso_week().0.rem_euclid(100), 2, '0'),
        'G' => number(out, date.iso_week().0, 0, '0'),
        'H' => number(out, date.hour, 2, '0'),
        'I' => number(out, hour12, 2, '0'),
        'j' => number(out, date.yearday + 1, 3, '0'),
        'k' => number(out, date.hour, 2, ' '),
        'l' => number(out, hour12, 2, ' '),
        'm' => number(out, date.month, 2, '0'),
        'M' => number(out, date.minute, 2, '0'),
        'n' => words(out, "\n"),
        'p' => words(out, if date.hour < 12 { "AM" } else { "PM" }),
        'P' => words(out, if date.hour < 12 { "am" } else { "pm" }),
        'r' => nested(out, "%I:%M:%S %p")?,
        'R' => nested(out, "%H:%M")?,
        's' => number(out, date.epoch, 0, '0'),
        'S' => number(out, date.second, 2, '0'),
        't' => words(out, "\t"),
        'T' | 'X' => nested(out, "%H:%M:%S")?,
        'u' => number(out, (date.weekday + 6) % 7 + 1, 1, '0'),
        'U' => number(out, (date.yearday + 7 - date.weekday) / 7, 2, '0'),
        'V' => number(out, date.iso_week().1, 2, '0'),
        'w' => number(out, date.weekday, 1, '0'),
        'W' => number(out, (date.yearday + 7 - (date.weekday + 6) % 7) / 7, 2, '0'),
        'y' => number(out, date.year.rem_euclid(100), 2, '0'),
        'Y' => number(out, date.year, 0, '0'),
        // A time without a zone has none to show.
        'z' | 'Z' => {}
        '%' => words(out, "%"),
        _ => return None,
    }
    Some(())
}
