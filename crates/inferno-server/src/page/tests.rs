use super::*;

/// The page with another script behind its own, for tests in a browser.
pub(crate) fn with_script(path: &str) -> String {
    FILES[0].text.replace("</body>", &format!("<script type=\"module\" src=\"{path}\"></script>\n</body>"))
}

/// The response with the headers of the page.
pub(crate) fn with_headers(name: &'static str, text: String) -> Response {
    let file = File { name, text: "", tag: HeaderValue::from_static("\"0\"") };
    respond(&file, &HeaderMap::new()).map(|_| Body::from(text))
}

#[test]
fn the_page_is_small() {
    let n_bytes: usize = FILES.iter().map(|file| file.text.len()).sum();
    assert!(n_bytes < 150_000, "{n_bytes} bytes");
}

#[test]
fn every_file_is_one_that_another_names() {
    let all: String = FILES.iter().map(|file| file.text).collect();
    for file in FILES.iter().skip(1) {
        let names = [format!("\"page/{}\"", file.name), format!("\"./{}\"", file.name)];
        assert!(names.iter().any(|name| all.contains(name)), "{} is used nowhere", file.name);
    }
    for import in all.split("from \"./").skip(1) {
        let name = import.split('"').next().unwrap();
        assert!(part(name).is_some(), "`{name}` is imported and is not a file");
    }
}

#[test]
fn no_text_becomes_markup_script_or_style() {
    let forbidden = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "setHTMLUnsafe",
        "createContextualFragment",
        "DOMParser",
        "document.write",
        "srcdoc",
        "eval(",
        "Function(",
        "import(",
        "javascript:",
        "style=",
        "cssText",
        "new Worker",
        "new Image",
        "\"img\"",
        "\"script\"",
        "\"iframe\"",
        "<img",
    ];
    for file in FILES.iter() {
        let code: String = file.text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for word in forbidden {
            assert!(!code.contains(word), "{} has `{word}`", file.name);
        }
        // Everything comes from this server.
        let bare = code.replace("http://www.w3.org/2000/svg", "");
        let is_address = |at: usize| bare[at + 3..].starts_with(|c: char| c.is_ascii_alphanumeric());
        assert!(!bare.match_indices("://").any(|(at, _)| is_address(at)), "{} has an address", file.name);
    }
    let page = FILES[0].text;
    for (at, _) in page.match_indices(" on") {
        assert!(
            !page[at + 3..].trim_start_matches(char::is_alphabetic).starts_with('='),
            "an inline handler"
        );
    }
    assert_eq!(page.matches("<script").count(), 1, "one module, and no inline script");
}

#[test]
fn browsers_get_html_and_programs_get_text() {
    let wants = |accept: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        wants_html(&headers)
    };
    for accept in [
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html",
        "application/json, Text/HTML;q=0.1",
        "text/html;level=1",
    ] {
        assert!(wants(&[accept]), "{accept}");
    }
    for accept in
        ["", "*/*", "application/json", "text/*", "text/plain", "text/html;q=0", "text/html; Q = 0.000"]
    {
        assert!(!wants(&[accept]), "{accept}");
    }
    assert!(wants(&["*/*", "text/html"]) && !wants(&[]));
}
