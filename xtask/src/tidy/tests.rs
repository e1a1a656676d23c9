use super::rust::Rust;
use super::{File, check_files};

mod language;

/// Checks a tree of these files, and expects exactly these findings, each written `file:line: rule`.
#[track_caller]
fn check(files: &[(&str, &str)], expected: &[&str]) {
    let files: Vec<File> =
        files.iter().map(|f| File { path: f.0.to_owned(), text: f.1.to_owned() }).collect();
    let violations = check_files(&files).violations;
    let found: Vec<String> =
        violations.iter().map(|v| format!("{}:{}: {}", v.file, v.line, v.rule)).collect();
    assert_eq!(found, expected, "{violations:#?}");
}

/// The same for one file, with findings written `line: rule`.
#[track_caller]
fn check_file(path: &str, text: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|e| format!("{path}:{e}")).collect();
    check(&[(path, text)], &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn literals_and_comments_are_told_from_code() {
    let views = |text| {
        let rust = Rust::scan("", text);
        assert_eq!(rust.code.len(), text.len());
        let squeeze = |view: &str| view.split_whitespace().collect::<Vec<_>>().join(" ");
        (squeeze(&rust.code), squeeze(&rust.comments))
    };
    let cases = [
        (r#"a "b \" /* c" d"#, "a d", ""),
        (r##"a r#"b " \"# c"##, "a c", ""),
        (r##"a br"\" c cr#"x"# r#type"##, "a c r#type", ""),
        ("a // b \"\nc", "a c", "// b \""),
        ("a /* b /* c */ \" */ d", "a d", "/* b /* c */ \" */"),
        (r"a '\'' b '\\' c '\u{1F}' d '/' e", "a b c d e", ""),
        (
            "'a: loop { f::<'b>('c', '\u{e9}', '\u{1f600}', b'd', '\"') }",
            "'a: loop { f::<'b>( , , , b , ) }",
            "",
        ),
        ("xr \"a\" b // \u{e9}", "xr b", "// \u{e9}"),
        ("a \"unfinished", "a", ""),
        ("a r#\"unfinished\"", "a", ""),
        ("a /* unfinished", "a", "/* unfinished"),
        (r"a '\", r"a '\", ""),
    ];
    for (text, code, comments) in cases {
        assert_eq!(views(text), (code.to_owned(), comments.to_owned()), "{text}");
    }
}

#[test]
fn crates_import_downward() {
    let model = "[package]\nname = \"inferno-model\"\n[dependencies]\n";
    let model = |rest: &str| format!("{model}{rest}");
    let path = "crates/inferno-model/Cargo.toml";
    check_file(path, &model("inferno-format.workspace = true\nserde = \"1\""), &[]);
    check_file(
        path,
        &model("[dev-dependencies]\nxtask.workspace = true\ninferno-model.workspace = true"),
        &[],
    );
    check_file(path, &model("inferno-text.workspace = true"), &["4: imports"]);
    check_file(path, &model("xtask = { path = \"../../xtask\" }"), &["4: imports"]);
    check_file(path, &model("inferno-surprise = \"1\""), &["4: imports"]);
    check_file(path, &model("[dev-dependencies]\ninferno-engine.workspace = true"), &["5: imports"]);
    check_file(path, &model("[build-dependencies.inferno-cpu]\npath = \"x\""), &["4: imports"]);
    check_file(
        path,
        &model("[target.'cfg(target_os = \"x\")'.dependencies]\ninferno-cpu.path = \"x\""),
        &["5: imports"],
    );
    check_file(path, &model("alias = { path = \"x\", package = \"inferno-cpu\" }"), &["4: imports"]);
    check_file(path, &model("[dependencies.alias]\npackage = \"inferno-cpu\""), &["4: imports"]);
    let workspace = "[workspace.dependencies]\nalias = { path = \"x\", package = \"inferno-cpu\" }\n";
    let alias = model("alias.workspace = true");
    check(&[("Cargo.toml", workspace), (path, &alias)], &["crates/inferno-model/Cargo.toml:4: imports"]);
}

#[test]
fn arrows_between_crates_are_transitive() {
    let server = "[package]\nname = \"inferno-server\"\n[dependencies]\ninferno-format.path = \"x\"\n";
    check_file("crates/inferno-server/Cargo.toml", server, &[]);
}

#[test]
fn a_crate_must_be_in_the_table() {
    check_file("crates/new/Cargo.toml", "[package]\nname = \"new\"\n", &["1: imports"]);
}

#[test]
fn families_are_named_in_the_table_alone() {
    let path = "crates/inferno-model/src/a.rs";
    check_file(path, "let x = \"llama\";\n", &["1: family-name"]);
    check_file(path, "\nlet is_gemma3 = 1;\n", &["2: family-name"]);
    check_file(path, "struct Qwen3Moe;\n", &["1: family-name"]);
    check_file(path, "let isMistral = MIXTRAL;\n", &["1: family-name", "1: family-name"]);
    check_file(path, "let ollama = alphi3;\n", &[]);
    check_file(path, "//! llama\n/* phi3 */\n", &[]);
    check_file(path, "#[cfg(test)]\nmod tests {\n    const A: &str = \"llama }\";\n}\n", &[]);
    check_file(path, "#[cfg(test)]\nmod tests;\nmod llama;\n", &["3: family-name"]);
    check_file("crates/inferno-model/src/architecture.rs", "let x = \"llama\";\n", &[]);
    check_file("crates/inferno-cpu/benches/a.rs", "let x = \"llama\";\n", &[]);
    check_file("crates/inferno-text/src/a.rs", "let x = \"llama\";\n", &[]);
}

#[test]
fn long_files_are_split() {
    let path = "crates/inferno-text/src/a.rs";
    check_file(path, &"//\n".repeat(1000), &[]);
    check_file(path, &"//\n".repeat(1001), &["1: length"]);
    check_file("crates/inferno-text/src/a/tests.rs", &"//\n".repeat(1001), &[]);
    check_file(path, &format!("//! Classes.\n// tidy: table\n{}", "//\n".repeat(1001)), &[]);

    let notes = |n| {
        let file = File { path: path.to_owned(), text: "//\n".repeat(n) };
        check_files(&[file]).notes.len()
    };
    assert_eq!((notes(499), notes(500), notes(1000), notes(1001)), (0, 1, 1, 0));
}

#[test]
fn unsafe_says_why_it_holds() {
    let path = "crates/inferno-cpu/src/a.rs";
    let good = "\
        // SAFETY: the pointer is valid.
        // Really.
        #[allow(x)]
        let a =
            unsafe { f() };
        // SAFETY: aligned.
        unsafe impl Send for A {}
        /// # Safety
        /// The pointer must be valid.
        unsafe fn f() {}
        type F = unsafe extern \"C\" fn(u8);
        // SAFETY: passes on.
        unsafe impl GlobalAlloc for A {
            unsafe fn alloc() {}
        }
        const TEXT: &str = \"unsafe {}\"; // unsafe {}
    ";
    let good = good.trim_end_matches(' ');
    check_file(path, good, &[]);
    check_file(path, "unsafe { f() }\n", &["1: unsafe"]);
    check_file(path, "// SAFETY: far away.\n\nunsafe { f() }\n", &["3: unsafe"]);
    check_file(path, "// SAFETY: of f alone.\nunsafe { f() };\nunsafe { g() };\n", &["3: unsafe"]);
    check_file(path, "unsafe impl Send for A {}\n", &["1: unsafe"]);
    check_file(path, "unsafe fn f() {}\n", &["1: unsafe"]);
    check_file(path, "unsafe extern \"C\" {}\n", &["1: unsafe"]);
}

#[test]
fn unsafe_lives_in_the_backends() {
    let text = "// SAFETY: valid.\nunsafe { f() };\n";
    check_file("crates/inferno-wgpu/src/a.rs", text, &[]);
    check_file("crates/inferno-text/src/a.rs", text, &["2: unsafe"]);
    check_file("xtask/src/a.rs", text, &["2: unsafe"]);
    check_file("crates/inferno-text/tests/a.rs", text, &[]);
    check_file("crates/inferno-text/tests/a.rs", "unsafe { f() }\n", &["1: unsafe"]);
}

#[test]
fn every_other_crate_forbids_unsafe() {
    check_file("crates/inferno-text/src/lib.rs", "#![forbid(unsafe_code)]\n", &[]);
    check_file("crates/inferno-text/src/lib.rs", "// #![forbid(unsafe_code)]\n", &["1: unsafe"]);
    check_file("crates/inferno/src/main.rs", "fn main() {}\n", &["1: unsafe"]);
    check_file("crates/inferno-cuda/src/lib.rs", "mod a;\n", &[]);
}

#[test]
fn nothing_is_compiled_for_one_cpu() {
    let flags = "rustflags = [\"-C\", \"target-cpu=native\"]\n";
    check_file(".cargo/config.toml", flags, &["1: target-cpu"]);
    check_file(".ci/run", flags, &["1: target-cpu"]);
    check_file("crates/inferno-cpu/build.rs", "let x = \"target-cpu\";\n", &["1: target-cpu"]);
    check_file("crates/inferno-cpu/src/a.rs", "// No target-cpu.\n", &[]);
    check_file("scripts/a.sh", "# No target-cpu.\n", &[]);
    check_file("README.md", flags, &[]);
}

#[test]
fn the_product_stays_free_of_frameworks() {
    let manifest =
        "[package]\nname = \"inferno-llm\"\n[dependencies]\nhttp = \"1\"\n[dev-dependencies]\ndev = \"1\"\n";
    let tree = |lock: &str, expected: &[&str]| {
        let ours = "[[package]]\nname = \"inferno-llm\"\nversion = \"0.1.0\"\ndependencies = [\n \"dev\",\n \"http 1.0.0\",\n]\n";
        let lock = format!("{ours}{}", lock.replace("SOURCE", "source = \"registry\""));
        check(&[("Cargo.lock", &lock), ("crates/inferno/Cargo.toml", manifest)], expected);
    };
    let http =
        "[[package]]\nname = \"http\"\nversion = \"1.0.0\"\nSOURCE\ndependencies = [\n \"openssl-sys\",\n]\n";
    let openssl = "[[package]]\nname = \"openssl-sys\"\nversion = \"0.9.0\"\nSOURCE\n";
    tree(&format!("{http}{openssl}"), &["Cargo.lock:15: dependencies"]);
    // Another version than ours, and what only tests import.
    tree(&format!("{}{openssl}", http.replace("1.0.0", "2.0.0")), &[]);
    tree(&format!("{}{openssl}", http.replace("http", "dev")), &[]);
    check(&[("crates/inferno/Cargo.toml", manifest)], &["Cargo.lock:1: dependencies"]);
}

#[test]
fn nothing_is_left_over() {
    let path = "crates/inferno-text/src/a.rs";
    check_file(path, "// TODO: faster\n", &["1: todo"]);
    check_file(path, "/* FIXME(ann) */\n", &["1: todo"]);
    check_file(path, "// TODO(when files hold it): read it\nconst TODO: &str = \"TODO\";\n", &[]);
    check_file(path, "\ndbg!(x);\n", &["2: dbg"]);
    check_file(path, "let dbg = \"dbg!\"; // dbg!\n", &[]);
}

#[test]
fn an_ignored_test_names_its_command() {
    let path = "crates/inferno-text/tests/a.rs";
    check_file(path, "#[test]\n#[ignore]\n", &["2: ignore"]);
    check_file(path, "#[ignore = \"slow\"]\n", &["1: ignore"]);
    check_file(path, "#[cfg_attr(miri, ignore)]\n", &["1: ignore"]);
    check_file(path, "#[ignore = \"slow: cargo test -- --ignored\"]\n", &[]);
    check_file(path, "#[expect(x, reason = \"ignore\")]\nlet ignore = [0];\n", &[]);
}

#[test]
fn modules_are_named_for_what_they_do() {
    check_file("crates/inferno-text/src/utils.rs", "", &["1: file-name"]);
    check_file("crates/inferno-text/tests/common/a.rs", "", &["1: file-name"]);
    check_file("crates/inferno-text/src/common_words.rs", "", &[]);
}

#[test]
fn white_space_is_plain() {
    let path = "crates/inferno-text/src/a.rs";
    check_file(
        path,
        "a \nb\r\n\tc\nd",
        &["1: white-space", "2: white-space", "3: white-space", "4: white-space"],
    );
    check_file(path, "a\n\n    b\n", &[]);
}

#[test]
fn backends_are_chosen_in_one_file() {
    let text = "#[cfg(any(test, feature = \"cuda\"))]\n";
    check_file("crates/inferno/src/run.rs", text, &["1: feature"]);
    check_file("crates/inferno/src/run.rs", "if cfg!(feature=\"wgpu\") {}\n", &["1: feature"]);
    check_file("crates/inferno/src/load.rs", text, &[]);
    check_file("crates/inferno/src/run.rs", "#[cfg(feature = \"ember\")]\n// feature = \"cuda\"\n", &[]);
    check_file("crates/inferno/src/run.rs", "#[cfg(target_feature = \"cuda\")]\nlet feature = 1;\n", &[]);
}

#[test]
fn paths_hold_on_every_machine() {
    check_file("README.md", "cd /home/ann\n", &["1: machine-path"]);
    check_file("crates/inferno-text/src/a.rs", "// see `/work/x`\n", &["1: machine-path"]);
    check_file("README.md", "../work/x ~/work/x $HOME/work/x ${A}/root/x https://a.b/home/x\n", &[]);
}

#[test]
fn the_wall_clock_is_read_where_a_time_of_day_is_meant() {
    let text = "use std::time::SystemTime;\nfn now() {}\n";
    check_file("crates/inferno-server/src/watchdog.rs", text, &["1: wall-clock"]);
    check_file("crates/inferno-server/src/clock.rs", text, &[]);
    check_file("crates/inferno-server/tests/it/watchdog.rs", text, &[]);
    check_file("crates/inferno-server/src/watchdog.rs", "// SystemTime jumps.\nfn now() {}\n", &[]);
}
