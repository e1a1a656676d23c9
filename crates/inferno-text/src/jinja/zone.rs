//! The local time zone: `TZ`, or the system's `/etc/localtime`, as C's `localtime` reads them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::strftime::civil;

/// Files of zones are some KiB.
const MOST_BYTES: u64 = 1 << 20;

/// Seconds that local time is ahead of UTC at a time in seconds since 1970. UTC where no zone is known.
pub(crate) fn utc_offset(epoch: i64) -> i32 {
    static ZONE: OnceLock<Option<Zone>> = OnceLock::new();
    let zone = ZONE.get_or_init(|| Zone::of(std::env::var("TZ").ok().as_deref()));
    zone.as_ref().map_or(0, |zone| zone.offset(epoch))
}

/// When which offset begins, and what holds after the last.
#[derive(Debug, Default)]
struct Zone {
    /// Seconds since 1970, ascending, and the offset from then on.
    changes: Vec<(i64, i32)>,
    /// Before the first change.
    first: i32,
    rule: Option<Rule>,
}

/// A rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    standard: i32,
    /// The offset in summer, when it begins and when it ends.
    summer: Option<(i32, Day, Day)>,
}

/// A day of each year, and the seconds of local time on it.
#[derive(Debug, PartialEq, Eq)]
struct Day {
    kind: DayKind,
    seconds: i64,
}

#[derive(Debug, PartialEq, Eq)]
enum DayKind {
    /// From 1; the 29th of February does not count.
    Julian(i64),
    /// From 0.
    Ordinal(i64),
    /// Month, week (5 is the last), weekday from Sunday.
    Week(i64, i64, i64),
}

impl Zone {
    fn of(tz: Option<&str>) -> Option<Zone> {
        match tz {
            None => Zone::of_file(Path::new("/etc/localtime")),
            Some("") => None,
            Some(text) => {
                let name = text.strip_prefix(':').unwrap_or(text);
                let path = PathBuf::from(name);
                if path.is_absolute() {
                    return Zone::of_file(&path);
                }
                let plain = path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
                let file =
                    plain.then(|| Zone::of_file(&Path::new("/usr/share/zoneinfo").join(name))).flatten();
                file.or_else(|| Some(Zone { rule: Some(Rule::parse(text)?), ..Zone::default() }))
            }
        }
    }

    fn of_file(path: &Path) -> Option<Zone> {
        let meta = std::fs::metadata(path).ok()?;
        if !meta.is_file() || meta.len() > MOST_BYTES {
            return None;
        }
        Zone::parse(&std::fs::read(path).ok()?)
    }

    /// A TZif file (RFC 9636).
    fn parse(bytes: &[u8]) -> Option<Zone> {
        let mut reader = Reader(bytes);
        let header = reader.header()?;
        if header.version == 0 {
            return reader.block(&header, 4, false);
        }
        // The first block has 32-bit times, for old readers.
        reader.take(header.size(4))?;
        let header = reader.header()?;
        reader.block(&header, 8, true)
    }

    fn offset(&self, epoch: i64) -> i32 {
        let after = self.changes.partition_point(|&(at, _)| at <= epoch);
        match (&self.rule, after) {
            (Some(rule), after) if after == self.changes.len() => rule.offset(epoch),
            (_, 0) => self.first,
            (_, after) => self.changes[after - 1].1,
        }
    }
}

struct Header {
    version: u8,
    n_utc: usize,
    n_std: usize,
    n_leaps: usize,
    n_times: usize,
    n_types: usize,
    n_chars: usize,
}

impl Header {
    fn size(&self, width: usize) -> usize {
        self.n_times * (width + 1)
            + self.n_types * 6
            + self.n_chars
            + self.n_leaps * (width + 4)
            + self.n_std
            + self.n_utc
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, width: usize) -> Option<i64> {
        let bytes = self.take(width)?;
        Some(match width {
            4 => i64::from(i32::from_be_bytes(bytes.try_into().ok()?)),
            _ => i64::from_be_bytes(bytes.try_into().ok()?),
        })
    }

    fn header(&mut self) -> Option<Header> {
        let start = self.take(20)?;
        if !start.starts_with(b"TZif") {
            return None;
        }
        let mut count = || self.number(4).and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= 100_000);
        let (n_utc, n_std, n_leaps) = (count()?, count()?, count()?);
        let (n_times, n_types, n_chars) = (count()?, count()?, count()?);
        Some(Header { version: start[4], n_utc, n_std, n_leaps, n_times, n_types, n_chars })
    }

    fn block(&mut self, header: &Header, width: usize, has_footer: bool) -> Option<Zone> {
        let times: Vec<i64> = (0..header.n_times).map(|_| self.number(width)).collect::<Option<_>>()?;
        let kinds = self.take(header.n_times)?;
        let types: Vec<(i32, bool)> = (0..header.n_types)
            .map(|_| {
                let offset = self.number(4)? as i32;
                let rest = self.take(2)?;
                Some((offset, rest[0] != 0))
            })
            .collect::<Option<_>>()?;
        self.take(header.n_chars + header.n_leaps * (width + 4) + header.n_std + header.n_utc)?;
        let offset = |kind: &u8| types.get(usize::from(*kind)).map(|&(offset, _)| offset);
        let changes = times.into_iter().zip(kinds.iter().map(offset)).map(|(at, offset)| Some((at, offset?)));
        let changes = changes.collect::<Option<Vec<_>>>()?;
        let first = types.iter().find(|(_, is_summer)| !is_summer).or(types.first())?.0;
        let footer = std::str::from_utf8(self.0).ok().map(|text| text.trim_matches('\n'));
        let rule = footer.filter(|_| has_footer).and_then(Rule::parse);
        Some(Zone { changes, first, rule })
    }
}

impl Rule {
    /// As in POSIX: names, offsets that count west, and the days on which summer begins and ends.
    fn parse(text: &str) -> Option<Rule> {
        let mut rest = text;
        name(&mut rest)?;
        let standard = -offset(&mut rest)?;
        if rest.is_empty() {
            return Some(Rule { standard: standard as i32, summer: None });
        }
        name(&mut rest)?;
        let summer = match rest.chars().next() {
            None | Some(',') => standard + 3600,
            Some(_) => -offset(&mut rest)?,
        };
        // Without days those of the United States, as glibc has it.
        let days = if rest.is_empty() { ",M3.2.0,M11.1.0" } else { rest };
        let mut days = days.strip_prefix(',')?.split(',');
        let (begin, end) = (Day::parse(days.next()?)?, Day::parse(days.next()?)?);
        Some(Rule { standard: standard as i32, summer: Some((summer as i32, begin, end)) })
    }

    fn offset(&self, epoch: i64) -> i32 {
        let Some((summer, begin, end)) = &self.summer else { return self.standard };
        let year = civil((epoch + i64::from(self.standard)).div_euclid(86_400)).0;
        let begin = begin.at(year) - i64::from(self.standard);
        let end = end.at(year) - i64::from(*summer);
        let is_summer = match begin < end {
            true => (begin..end).contains(&epoch),
            false => !(end..begin).contains(&epoch),
        };
        if is_summer { *summer } else { self.standard }
    }
}

fn name(rest: &mut &str) -> Option<()> {
    let end = match rest.strip_prefix('<') {
        Some(after) => after.find('>')? + 2,
        None => rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len()),
    };
    *rest = &rest[end..];
    (end >= 3).then_some(())
}

/// `[+-]h[h[h]][:mm[:ss]]` in seconds.
fn offset(rest: &mut &str) -> Option<i64> {
    let sign = match rest.chars().next()? {
        '-' => -1,
        _ => 1,
    };
    let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(digits.len());
    let mut seconds = 0;
    for (part, unit) in digits[..end].splitn(3, ':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok().filter(|n| (0..=167).contains(n))? * unit;
    }
    *rest = &digits[end..];
    Some(sign * seconds)
}

impl Day {
    fn parse(text: &str) -> Option<Day> {
        let (day, time) = match text.split_once('/') {
            Some((day, mut time)) => (day, offset(&mut time)?),
            None => (text, 7200),
        };
        let number = |text: &str| text.parse::<i64>().ok();
        let kind = match day.as_bytes().first()? {
            b'J' => DayKind::Julian(number(&day[1..])?),
            b'M' => {
                let mut parts = day[1..].split('.').map(number);
                let (month, week, weekday) = (parts.next()??, parts.next()??, parts.next()??);
                let is_right =
                    (1..=12).contains(&month) && (1..=5).contains(&week) && (0..=6).contains(&weekday);
                is_right.then_some(DayKind::Week(month, week, weekday))?
            }
            _ => DayKind::Ordinal(number(day)?),
        };
        Some(Day { kind, seconds: time })
    }

    /// Seconds of local time since 1970.
    fn at(&self, year: i64) -> i64 {
        let before = |year: i64| {
            let last = year - 1;
            last * 365 + last.div_euclid(4) - last.div_euclid(100) + last.div_euclid(400) - 719_162
        };
        let first = before(year);
        let is_leap = before(year + 1) - first == 366;
        let day = match self.kind {
            DayKind::Ordinal(n) => n,
            DayKind::Julian(n) => n - 1 + i64::from(is_leap && n >= 60),
            DayKind::Week(month, week, weekday) => {
                let lengths = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
                let start: i64 = lengths[..(month - 1) as usize].iter().sum();
                let of_first = (first + start + 4).rem_euclid(7);
                let mut day = (weekday - of_first).rem_euclid(7) + 7 * (week - 1);
                if day >= lengths[(month - 1) as usize] {
                    day -= 7;
                }
                start + day
            }
        };
        (first + day) * 86_400 + self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_give_the_offsets_of_winter_and_summer() {
        let berlin = Rule::parse("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        // 2026-03-29 01:00 UTC and 2026-10-25 01:00 UTC.
        for (epoch, offset) in
            [(1_774_745_999, 3600), (1_774_746_000, 7200), (1_792_889_999, 7200), (1_792_890_000, 3600)]
        {
            assert_eq!(berlin.offset(epoch), offset, "{epoch}");
        }
        let sydney = Rule::parse("AEST-10AEDT,M10.1.0,M4.1.0/3").unwrap();
        assert_eq!([1_767_225_600, 1_782_864_000].map(|epoch| sydney.offset(epoch)), [39_600, 36_000]);
        assert_eq!(Rule::parse("EST5").unwrap().offset(0), -18_000);
        assert_eq!(Rule::parse("<+0545>-5:45").unwrap().offset(0), 20_700);
        assert_eq!(Rule::parse("UTC0").unwrap().offset(0), 0);
        assert_eq!(
            [Rule::parse(""), Rule::parse("x"), Rule::parse("EST5EDT,M13.1.0,M1.1.0")],
            [None, None, None]
        );
    }

    #[test]
    fn files_of_zones_are_read() {
        for name in ["Europe/Berlin", "Asia/Kolkata", "America/New_York"] {
            let Some(zone) = Zone::of_file(&Path::new("/usr/share/zoneinfo").join(name)) else {
                xtask::testing::skip("zones", "no zone files on this machine");
                return;
            };
            let expected = match name {
                "Europe/Berlin" => [3600, 7200, 7200],
                "Asia/Kolkata" => [19_800, 19_800, 19_800],
                _ => [-18_000, -14_400, -14_400],
            };
            // January and July 2026, and July 2060, which only the rule has.
            assert_eq!(
                [1_768_000_000, 1_784_000_000, 2_856_000_000].map(|epoch| zone.offset(epoch)),
                expected,
                "{name}"
            );
        }
        assert!(Zone::parse(b"TZif2").is_none());
        assert!(Zone::of(Some("../../etc/passwd")).is_none());
    }
}
