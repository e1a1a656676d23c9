//! A report as JUnit XML, a test suite for each dialect.

use super::{Outcome, Report, Row, curl};
use crate::check::Dialect;

/// The report as JUnit XML; `url` is the server's address. What is not offered counts as skipped.
pub fn junit(report: &Report, url: &str, has_key: bool) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml += &format!(
        "<testsuites name=\"inferno conformance\" tests=\"{}\" failures=\"{}\" time=\"{:.3}\">\n",
        report.rows.len(),
        report.count("failed"),
        report.took.as_secs_f64()
    );
    for dialect in Dialect::ALL {
        let rows: Vec<&Row> = report.of(dialect).collect();
        if rows.is_empty() {
            continue;
        }
        let n = |names: &[&str]| rows.iter().filter(|row| names.contains(&row.outcome.name())).count();
        xml += &format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">\n",
            dialect.name(),
            rows.len(),
            n(&["failed"]),
            n(&["not offered", "skipped"]),
            rows.iter().map(|row| row.took.as_secs_f64()).sum::<f64>()
        );
        rows.iter().for_each(|row| xml += &case(row, url, has_key));
        xml += "  </testsuite>\n";
    }
    xml + "</testsuites>\n"
}

fn case(row: &Row, url: &str, has_key: bool) -> String {
    let head = format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        row.dialect.name(),
        row.name,
        row.took.as_secs_f64()
    );
    match &row.outcome {
        Outcome::Passed => format!("{head}/>\n"),
        Outcome::Skipped(why) => format!("{head}><skipped message=\"{}\"/></testcase>\n", escaped(why)),
        Outcome::NotOffered(why) => {
            format!("{head}><skipped message=\"not offered: {}\"/></testcase>\n", escaped(why))
        }
        Outcome::Failed(why) => {
            let mut text = format!("{}\nsource: {}\n", row.loses, row.source);
            if let Some(request) = &row.request {
                text += &format!("{}\n", curl(url, request, has_key));
            }
            if let Some(part) = row.excerpt(4_000) {
                text += &format!("{part}\n");
            }
            format!(
                "{head}>\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
                escaped(why),
                escaped(&text)
            )
        }
    }
}

/// Text of an element or an attribute. Characters that XML cannot have are U+FFFD.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => xml += "&amp;",
            '<' => xml += "&lt;",
            '>' => xml += "&gt;",
            '"' => xml += "&quot;",
            '\n' => xml += "&#10;",
            '\t' => xml += "&#9;",
            '\r' => xml += "&#13;",
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            c => xml.push(c),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_server_breaks_the_xml() {
        assert_eq!(escaped("a<b>&\"c\"\u{1b}[0m\n]]>"), "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}[0m&#10;]]&gt;");
    }
}
