//! Forecasts as a table and as JSON.

use serde_json::{Value as Json, json};

use super::forecast::{Fit, MAX_USERS, Room, Speed};
use super::known::Candidate;
use crate::terminal;

/// A forecast's line.
pub(super) struct Row {
    name: String,
    quant: String,
    file_bytes: u64,
    /// `None` where only the size of the file is known.
    room: Option<Room>,
    /// `None` for a model that does not fit.
    speed: Option<Speed>,
}

/// Columns beside the name.
const COLUMNS: [(&str, &str, usize); 7] = [
    ("", "quant", 6),
    ("", "size", 7),
    ("", "fits", 8),
    ("answer", "tok/s", 6),
    ("prompt", "tok/s", 6),
    ("first", "token", 7),
    ("users", "of 4k", 5),
];

/// Columns of a label, at most: a row has 80 in all.
const LABEL: usize = 28;

/// A name for a row: without the folder of a file, or the owner and quant of a repository, and cut where it is too long.
pub(super) fn label(name: &str) -> String {
    let label = match name.rsplit_once('/') {
        Some((_, last)) => last.split(':').next().unwrap_or(last),
        None => name,
    };
    let label = terminal::visible(label);
    if label.chars().count() <= LABEL {
        return label;
    }
    label.chars().take(LABEL - 1).chain(['…']).collect()
}

/// The first two lines.
pub(super) fn heading(width: usize) -> String {
    let first: String = COLUMNS.iter().map(|&(top, _, width)| format!(" {top:>width$}")).collect();
    let second: String = COLUMNS.iter().map(|&(_, name, width)| format!(" {name:>width$}")).collect();
    format!("\n{:width$}{}\n{:width$}{}\n", "", first.trim_end(), "model", second)
}

/// Explanations of the table's words, as far as it has them.
pub(super) fn notes(rows: &[Row]) -> String {
    let mut text = String::new();
    if rows.iter().any(|row| row.speed.is_some()) {
        text += "\nFirst token: after a prompt of 1,000 tokens.";
    }
    if rows.iter().any(|row| row.fit() == Some(Fit::IfFreed)) {
        text += "\nif freed: fits once other programs release memory.";
    }
    for row in rows {
        if let Some(share) = row.room.and_then(|room| room.on_gpu).filter(|share| *share < 1.0) {
            text += &format!(
                "\n{}: {:.0} % of it on the GPU, the rest on the processor.",
                label(&row.name),
                100.0 * share
            );
        }
    }
    if rows.iter().any(|row| row.room.is_none()) {
        text += "\n–: the model's shape is not known before it is downloaded.";
    }
    if rows.iter().any(|row| row.room.is_some()) {
        text += "\nUsers: as many as have keys and values in half of the memory that the weights leave.";
    }
    text + "\n"
}

impl Row {
    pub(super) fn new(candidate: &Candidate, room: Option<&Room>, speed: Option<Speed>) -> Row {
        let Candidate { name, quant, file_bytes, .. } = candidate;
        Row { name: name.clone(), quant: quant.clone(), file_bytes: *file_bytes, room: room.copied(), speed }
    }

    pub(super) fn name_width(&self) -> usize {
        label(&self.name).chars().count()
    }

    fn fit(&self) -> Option<Fit> {
        self.room.map(|room| room.fit)
    }

    /// Its line, with a label of `width` columns.
    pub(super) fn text(&self, width: usize) -> String {
        let fits = match self.fit() {
            Some(Fit::Yes) => "yes",
            Some(Fit::IfFreed) => "if freed",
            Some(Fit::No) => "no",
            Some(Fit::Unknown) | None => "–",
        };
        let speed = |value: fn(Speed) -> String| self.speed.map_or("–".into(), value);
        let users = match self.room {
            Some(Room { fit: Fit::Yes | Fit::Unknown, users, .. }) if users >= MAX_USERS => {
                format!("{MAX_USERS}+")
            }
            Some(Room { fit: Fit::Yes | Fit::Unknown, users, .. }) => users.to_string(),
            _ => "–".into(),
        };
        let cells = [
            self.quant.clone(),
            size(self.file_bytes),
            fits.into(),
            speed(|speed| rate(speed.decode)),
            speed(|speed| rate(speed.prompt)),
            speed(|speed| seconds(speed.first_token)),
            users,
        ];
        let cells: String =
            cells.iter().zip(COLUMNS).map(|(cell, (.., width))| format!(" {cell:>width$}")).collect();
        format!("{:width$}{cells}\n", label(&self.name))
    }

    pub(super) fn to_json(&self) -> Json {
        let mut object = json!({
            "model": self.name,
            "quant": self.quant,
            "file_bytes": self.file_bytes,
            "fits": null,
        });
        let parts = [self.room.map(Room::to_json), self.speed.map(Speed::to_json)];
        for part in parts.into_iter().flatten() {
            let Json::Object(part) = part else { continue };
            for (key, value) in part {
                object[key] = value;
            }
        }
        object
    }
}

/// Bytes of a file in few digits.
fn size(bytes: u64) -> String {
    match bytes {
        100_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Tokens per second with digits that a forecast can keep.
fn rate(x: f64) -> String {
    match x {
        100.0.. => format!("{x:.0}"),
        10.0.. => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    }
}

fn seconds(x: f64) -> String {
    match x {
        100.0.. => format!("{:.1} min", x / 60.0),
        10.0.. => format!("{x:.0} s"),
        1.0.. => format!("{x:.1} s"),
        _ => format!("{:.0} ms", 1e3 * x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(room: Option<Room>, speed: Option<Speed>) -> Row {
        Row { name: "qwen3:4b".into(), quant: "Q4_K_M".into(), file_bytes: 2_497_280_256, room, speed }
    }

    #[test]
    fn a_row_has_80_columns_at_most_and_lines_up_with_the_heading() {
        let room = Room { needs: 3 << 30, fit: Fit::Yes, users: 31, on_gpu: None };
        let speed = Speed { decode: 5.94, prompt: 45.1, first_token: 22.4 };
        let text = row(Some(room), Some(speed)).text(28);
        assert!(text.trim_end().chars().count() <= 80, "{text}");
        for part in ["2.5 GB", "yes", "5.94", "45.1", "22 s", "31"] {
            assert!(text.contains(part), "{text}");
        }
        let heading = heading(28);
        let columns = |line: &str| line.trim_end().chars().count();
        assert_eq!(heading.lines().map(columns).max(), Some(columns(&text)), "{heading}{text}");
        let unknown = row(None, None);
        assert!(unknown.text(28).contains('–') && notes(&[unknown]).contains("before it is downloaded"));
    }

    #[test]
    fn labels_leave_out_what_other_columns_have() {
        for (name, shown) in [
            ("qwen3:4b-q8_0", "qwen3:4b-q8_0"),
            ("Qwen/Qwen3-0.6B-GGUF:Q8_0", "Qwen3-0.6B-GGUF"),
            ("/models/a b.gguf", "a b.gguf"),
            ("acme/a-very-long-name-of-a-model-GGUF:Q4_K_M", "a-very-long-name-of-a-model…"),
        ] {
            assert_eq!(label(name), shown);
        }
    }

    #[test]
    fn json_has_what_is_known() {
        let json = row(Some(Room { needs: 5, fit: Fit::No, users: 0, on_gpu: None }), None).to_json();
        assert_eq!((&json["fits"], &json["needs_bytes"]), (&"no".into(), &5.into()));
        assert!(json.get("decode_tokens_per_s").is_none());
    }
}
