//! Jinja's filters and methods, where one call could make much out of little: each is asked beforehand how much
//! it will make.

use std::fmt::{self, Write as _};

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

/// The most bytes of text that one call may make.
pub(super) const MOST_BYTES: usize = 16 << 20;
/// The most items that one call may make or take.
pub(super) const MOST_ITEMS: usize = 100_000;
/// The most digits of a number in a format. It may be a width.
const WIDTH_DIGITS: usize = 3;

/// What an item counts for by itself.
const ITEM: usize = 16;
/// How deep values may nest.
const DEPTH: usize = 100;

type Check = fn(&[Value]) -> Result<(), Error>;

pub(super) fn add_to(environment: &mut Environment<'static>) {
    let bounded: [(&'static str, Check, Value); 24] = [
        ("format", format, Value::from_function(filters::format)),
        ("replace", replace, Value::from_function(filters::replace)),
        ("indent", indent, Value::from_function(filters::indent)),
        ("join", |args| join(args.get(1), args.first(), args), Value::from_function(filters::join)),
        ("batch", count, Value::from_function(filters::batch)),
        ("slice", count, Value::from_function(filters::slice)),
        ("string", text, Value::from_function(filters::string)),
        ("safe", text, Value::from_function(filters::safe)),
        ("escape", text, Value::from_function(filters::escape)),
        ("e", text, Value::from_function(filters::escape)),
        ("upper", text, Value::from_function(filters::upper)),
        ("lower", text, Value::from_function(filters::lower)),
        ("title", text, Value::from_function(filters::title)),
        ("capitalize", text, Value::from_function(filters::capitalize)),
        ("trim", text, Value::from_function(filters::trim)),
        ("split", text, Value::from_function(filters::split)),
        ("lines", text, Value::from_function(filters::lines)),
        ("list", items, Value::from_function(filters::list)),
        ("sort", items, Value::from_function(filters::sort)),
        ("reverse", items, Value::from_function(filters::reverse)),
        ("unique", items, Value::from_function(filters::unique)),
        ("map", items, Value::from_function(filters::map)),
        ("groupby", items, Value::from_function(filters::groupby)),
        ("sum", items, Value::from_function(filters::sum)),
    ];
    for (name, check, filter) in bounded {
        environment.add_filter(name, move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            check(&args)?;
            filter.call(state, &args)
        });
    }
    // For looking at values, and for URLs.
    environment.remove_filter("pprint");
    environment.remove_filter("urlencode");
    environment.set_unknown_method_callback(method);
}

/// Python's methods.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let with_value = || [std::slice::from_ref(value), args].concat();
    match name {
        "format" => format(&with_value())?,
        "replace" => replace(&with_value())?,
        "join" => join(Some(value), args.first(), args)?,
        _ => {}
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// All text there is to go into a format, as often as it has fields, and the most that it may add to each.
fn format(args: &[Value]) -> Result<(), Error> {
    let format = args.first().and_then(Value::as_str).unwrap_or_default();
    if format.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > WIDTH_DIGITS) {
        return Err(refused("a format with a width of more than 3 digits"));
    }
    let n_fields = format.matches(['%', '{']).count();
    let padding = 4 * 10usize.pow(WIDTH_DIGITS as u32);
    let each = size(&args[1.min(args.len())..])?.saturating_add(padding);
    total(format.len().saturating_add(n_fields.saturating_mul(each)))
}

/// `value, from, to`
fn replace(args: &[Value]) -> Result<(), Error> {
    size(args)?;
    let [Some(value), Some(from), Some(to)] = [0, 1, 2].map(|i| args.get(i).map(Value::to_string)) else {
        return Ok(());
    };
    total(value.len().saturating_add(value.matches(&from).count().saturating_mul(to.len())))
}

/// `value, width`
fn indent(args: &[Value]) -> Result<(), Error> {
    let n_bytes = size(args)?;
    let n_lines = args.first().and_then(Value::as_str).map_or(n_bytes, |text| text.matches('\n').count() + 1);
    let named = args.last().filter(|last| last.is_kwargs()).and_then(|named| named.get_attr("width").ok());
    let width =
        [args.get(1).cloned(), named].into_iter().flatten().filter_map(|width| width.as_usize()).max();
    total(n_bytes.saturating_add(n_lines.saturating_mul(width.unwrap_or(4))))
}

fn join(joiner: Option<&Value>, list: Option<&Value>, args: &[Value]) -> Result<(), Error> {
    let Some(list) = list else { return Ok(()) };
    let n_bytes = size([list])?; // which is an end to its items
    let n_items = match list.as_str() {
        Some(text) => text.chars().count(),
        None => list.try_iter().map_or(0, Iterator::count),
    };
    let named = args.last().filter(|last| last.is_kwargs());
    let between = size(joiner.into_iter().chain(named))?;
    total(n_bytes.saturating_add(n_items.saturating_mul(between)))
}

/// `value, count`
fn count(args: &[Value]) -> Result<(), Error> {
    items(args)?;
    match args.get(1).and_then(Value::as_usize) {
        Some(n) if n > MOST_ITEMS => Err(refused("more than 100000 items")),
        _ => Ok(()),
    }
}

fn text(args: &[Value]) -> Result<(), Error> {
    match args.first().is_some_and(|value| value.as_str().is_none()) {
        true => size(&args[..1]).map(drop),
        false => Ok(()),
    }
}

fn items(args: &[Value]) -> Result<(), Error> {
    let is_long = |value: &Value| value.as_str().is_none() && value.len().is_some_and(|n| n > MOST_ITEMS);
    if args.iter().any(is_long) { Err(refused("more than 100000 items")) } else { Ok(()) }
}

/// How many bytes the values are when written out, and some for each item.
fn size<'v>(values: impl IntoIterator<Item = &'v Value>) -> Result<usize, Error> {
    let mut left = Left(MOST_BYTES);
    for value in values {
        left.take_value(value, 0).map_err(|_| refused("a string of more than 16 MiB"))?;
    }
    Ok(MOST_BYTES - left.0)
}

fn total(n_bytes: usize) -> Result<(), Error> {
    if n_bytes > MOST_BYTES { Err(refused("a string of more than 16 MiB")) } else { Ok(()) }
}

pub(super) fn refused(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{what} in one call"))
}

/// Counts what is written, and ends it.
struct Left(usize);

impl Left {
    /// Item by item, as the engine's way of writing lists does not stop at an error.
    fn take_value(&mut self, value: &Value, depth: usize) -> fmt::Result {
        match value.kind() {
            _ if depth > DEPTH => Err(fmt::Error),
            ValueKind::Undefined => Ok(()),
            ValueKind::String => self.take(value.as_str().map_or(0, str::len)),
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
                let is_map = value.kind() == ValueKind::Map;
                for item in value.try_iter().map_err(|_| fmt::Error)? {
                    self.take(ITEM)?;
                    self.take_value(&item, depth + 1)?;
                    if is_map && let Ok(value) = value.get_item(&item) {
                        self.take_value(&value, depth + 1)?;
                    }
                }
                Ok(())
            }
            _ => write!(self, "{value}"),
        }
    }

    fn take(&mut self, n: usize) -> fmt::Result {
        self.0 = self.0.checked_sub(n).ok_or(fmt::Error)?;
        Ok(())
    }
}

impl fmt::Write for Left {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.take(text.len())
    }
}
