//! Chat templates that would end, fill or stop the program: each fails alone, with a reason.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{inferno, pipe};

/// Templates that fail for any conversation, by name.
fn hostile() -> Vec<(&'static str, String)> {
    let chain = |n: usize, link: &str| link.repeat(n);
    let set = "{% set ns = namespace(x='aaaaaaaaaaaaaaaa', l=[]) %}";
    let doubled = |step: &str| format!("{set}{{% for i in range(40) %}}{step}{{% endfor %}}x");
    let nested =
        |end: &str| format!("{set}{{% for i in range(32200) %}}{{% set ns.l = [ns.l] %}}{{% endfor %}}{end}");
    let big = "{% set a = 'a' * 90000000 %}";
    vec![
        // Deep trees of a parser.
        ("minus", format!("{{{{ {}1 }}}}", chain(20_000, "-"))),
        ("not", format!("{{{{ {}1 }}}}", chain(20_000, "not "))),
        ("tilde", format!("{{{{ 1{}~x.b.c }}}}", chain(20_000, "~1"))),
        ("plus", format!("{{{{ 1{} }}}}", chain(20_000, "+1"))),
        ("power", format!("{{{{ 1{} }}}}", chain(20_000, "**1"))),
        ("and", format!("{{{{ 1{} }}}}", chain(20_000, " and 1"))),
        ("attributes", format!("{{{{ x{} }}}}", chain(20_000, ".b"))),
        ("items", format!("{{{{ x{} }}}}", chain(20_000, "[1]"))),
        ("calls", format!("{{{{ x{} }}}}", chain(20_000, "()"))),
        ("filters", format!("{{{{ x{} }}}}", chain(20_000, "|e"))),
        ("tests", format!("{{{{ x{} }}}}", chain(20_000, " is none"))),
        ("ternaries", format!("{{{{ {}1 }}}}", chain(20_000, "1 if 1 else "))),
        ("elif", format!("{{% if 0 %}}{}{{% endif %}}", chain(20_000, "{% elif 0 %}"))),
        ("lists", format!("{{{{ {}{} }}}}", chain(20_000, "["), chain(20_000, "]"))),
        ("parentheses", format!("{{{{ {}1{} }}}}", chain(20_000, "("), chain(20_000, ")"))),
        ("blocks", format!("{}{}", chain(20_000, "{% if 1 %}"), chain(20_000, "{% endif %}"))),
        // Deep values.
        ("deep, dropped", nested("x")),
        ("deep, printed", nested("{{ ns.l }}")),
        ("deep, compared", nested("{{ ns.l == ns.l }}")),
        ("deep, as JSON", nested("{{ ns.l | tojson }}")),
        // Memory.
        ("doubled by tilde", doubled("{% set ns.x = ns.x ~ ns.x %}")),
        ("doubled by plus", doubled("{% set ns.x = ns.x + ns.x %}")),
        ("doubled by a block", doubled("{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}")),
        ("doubled by a list", doubled("{% set ns.x = [ns.x, ns.x] | join %}")),
        (
            "doubled by a macro",
            format!(
                "{{% macro d(x) %}}{{{{ x }}}}{{{{ x }}}}{{% endmacro %}}{}",
                doubled("{% set ns.x = d(ns.x) %}")
            ),
        ),
        ("a tuple", "{% set a = (1,) * 100000000 %}x".into()),
        ("a list", "{{ ([1] * 100000000) | tojson }}".into()),
        (
            "strings",
            format!(
                "{set}{{% for i in range(100) %}}{{% set ns.l = ns.l + ['a' * (90000000 + i)] %}}{{% endfor %}}x"
            ),
        ),
        // Time.
        (
            "searches",
            format!("{big}{{% for i in range(100000) %}}{{% if 'b' in a %}}{{% endif %}}{{% endfor %}}x"),
        ),
        (
            "comparisons",
            format!(
                "{big}{{% set b = a ~ '' %}}{{% for i in range(100000) %}}{{% if a == b %}}{{% endif %}}{{% endfor %}}x"
            ),
        ),
        (
            "lengths",
            format!("{big}{{% for i in range(100000) %}}{{% if a | length %}}{{% endif %}}{{% endfor %}}x"),
        ),
        // Recursion.
        ("a macro in itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".into()),
        (
            "two macros",
            "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}".into(),
        ),
        ("a caller", "{% macro f() %}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}".into()),
        // Other templates.
        ("import", "{% import 'chat' as c %}x".into()),
        ("import as a string", "{% import 'chat' as 'c' %}x".into()),
        ("import as an expression", "{% import 'chat' as -c %}x".into()),
        ("from import", "{% from 'chat' import f %}{{ f() }}".into()),
        ("include", "{% include 'chat' %}".into()),
        ("extends", "{% extends 'chat' %}".into()),
        // Steps and output.
        ("a long range", "{% for i in range(1000000000) %}x{% endfor %}".into()),
        (
            "ranges in ranges",
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x".into(),
        ),
        ("a long output", "{% for i in range(99999) %}{{ 'a' * 99999 }}{% endfor %}".into()),
        ("a wide format", "{{ '%1000000000d' % 1 }}{{ '%1000000000d' | format(1) }}".into()),
        ("a wide indent", "{{ ('a\\n' * 99999) | indent(99999) }}".into()),
        ("a batch", "{{ [1] | batch(1000000000, 0) | list | length }}".into()),
    ]
}

fn file(folder: &Path, name: &str, template: &str) -> PathBuf {
    let path = folder.join(format!("{}.jinja", name.replace([' ', ','], "-")));
    std::fs::write(&path, template).unwrap();
    path
}

#[test]
fn a_hostile_template_is_an_error_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let all = hostile();
    let next = AtomicUsize::new(0);
    let try_all = || {
        while let Some((name, template)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = file(folder.path(), name, template);
            let error = inferno(&["run", "--chat-template", path.to_str().unwrap(), "Hi"]).error();
            let is_clear = error.contains("chat template") && error.len() < 500;
            assert!(is_clear, "{name}: {error}");
        }
    };
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(try_all))));
}

#[test]
fn a_template_that_gives_the_program_no_way_to_fail_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let recursive = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(12) }}Hi";
    let long = format!("{{{{ {}'Hi' }}}}", "'' ~ ".repeat(500));
    for (name, template) in [("recursive", recursive), ("long", &long)] {
        let path = file(folder.path(), name, template);
        let args = ["run", "--chat-template", path.to_str().unwrap(), "-t", "0", "-n", "4", "x"];
        assert_eq!(
            inferno(&args).ok(),
            inferno(&["run", "--raw", "-t", "0", "-n", "4", "Hi"]).ok(),
            "{name}"
        );
    }
}

#[test]
fn the_template_may_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| inferno(&[&["run", "-t", "0", "-n", "4"], args].concat());
    // Ember's is ChatML.
    assert_eq!(run(&["--chat-template", "chatml", "Hi"]).ok(), run(&["Hi"]).ok());
    let error = run(&["--chat-template", "none", "Hi"]).error();
    assert!(error.contains("`--chat-template none`") && error.contains("`inferno run --raw`"), "{error}");
    let error = run(&["--chat-template", "/nowhere.jinja", "Hi"]).error();
    assert!(error.starts_with("cannot read the chat template `/nowhere.jinja`"), "{error}");
    let bytes = folder.path().join("bytes.jinja");
    std::fs::write(&bytes, [b'x', 0xff]).unwrap();
    let error = run(&["--chat-template", bytes.to_str().unwrap(), "Hi"]).error();
    assert!(error.contains("is not UTF-8 at byte 1"), "{error}");
    let path = file(folder.path(), "tag", "{% trans %}");
    let error = pipe("Hi\n", &["chat", "--chat-template", path.to_str().unwrap()]).error();
    assert!(error.contains("unknown tag `trans`") && error.contains("`--chat-template FILE`"), "{error}");
}

#[test]
fn a_template_that_takes_parts_alone_gets_the_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let source = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}";
    let path = file(folder.path(), "parts", source);
    let args = ["run", "--chat-template", path.to_str().unwrap(), "-t", "0", "-n", "4", "Hi"];
    assert_eq!(inferno(&args).ok(), inferno(&["run", "--raw", "-t", "0", "-n", "4", "Hi"]).ok());
}

#[test]
fn real_templates_stay_within_the_limits() {
    let Some(folder) = xtask::testing::data("templates") else { return };
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut n = 0;
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "jinja")) {
        let path = path.to_str().unwrap();
        let ran = inferno(&["run", "--chat-template", path, "-n", "1", "Hello"]);
        // Some refuse a conversation without a system message or tools, or write more than Ember's context.
        assert!(matches!(ran.code, Some(0 | 1)), "{path}: {}", ran.stderr);
        let limits = ["cannot use", "too deep", "of memory", "takes more than", "the process"];
        assert!(!limits.iter().any(|limit| ran.stderr.contains(limit)), "{path}: {}", ran.stderr);
        n += 1;
    }
    assert!(n > 20, "only {n} templates");
}
