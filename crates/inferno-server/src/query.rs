//! Parameters in the query of a path: `?conv_id=a%2Fb&from=12`.
#![deny(clippy::indexing_slicing)]

use hyper::Uri;

/// The value of the first parameter called `name`, decoded; `None` if there is none. Bytes that are not UTF-8 are U+FFFD.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = uri.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(found, _)| decoded(found) == name).map(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        match (byte, hex) {
            (b'%', (Some(high), Some(low))) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_name_and_decoded() {
        let uri: Uri = "/v1/stream?conv_id=a%3A%3Ab%2fc+d&from=12&empty=&flag&bad=%zz%4".parse().unwrap();
        for (name, value) in [
            ("conv_id", Some("a::b/c d")),
            ("from", Some("12")),
            ("empty", Some("")),
            ("flag", Some("")),
            ("bad", Some("%zz%4")),
            ("conv", None),
        ] {
            assert_eq!(parameter(&uri, name).as_deref(), value, "{name}");
        }
        assert_eq!(parameter(&"/v1/stream".parse().unwrap(), "conv_id"), None);
    }
}
