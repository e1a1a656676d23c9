//! A request as a line for a shell.

use crate::exchange::Request;

/// Longest body in a line, in bytes.
const MOST_BYTES: usize = 4096;

/// The request as a `curl` line to the server at `base`. A key is the variable `API_KEY`; a long body is left out.
pub fn curl(base: &str, request: &Request, has_key: bool) -> String {
    let mut line = format!("curl -sSNi {}", quoted(&format!("{base}{}", request.path)));
    if request.method == "DELETE" {
        line += " -X DELETE";
    }
    for (name, value) in &request.headers {
        line += &format!(" -H {}", quoted(&format!("{name}: {value}")));
    }
    let is_anthropic = request.headers.iter().any(|header| header.0 == "anthropic-version");
    let name = if is_anthropic { "x-api-key: " } else { "authorization: Bearer " };
    match (request.has_wrong_key, has_key) {
        (true, _) => line += &format!(" -H '{name}wrong'"),
        (false, true) => line += &format!(" -H \"{name}$API_KEY\""),
        (false, false) => {}
    }
    if let Some(body) = &request.body {
        // No argument of a program holds a NUL byte.
        let is_argument = !body.contains(&0);
        match std::str::from_utf8(body) {
            Ok(text) if is_argument && text.len() <= MOST_BYTES => {
                line += &format!(" --data-binary {}", quoted(text))
            }
            Err(_) if is_argument && body.len() <= MOST_BYTES / 4 => {
                let bytes: String = body.iter().map(|b| format!("\\x{b:02x}")).collect();
                line += &format!(" --data-binary $'{bytes}'");
            }
            _ => line += &format!(" --data-binary @body  # {} bytes, see the JSON report", body.len()),
        }
    }
    line
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
