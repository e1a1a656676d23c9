//! Cases whose right values come from Jinja2 itself (`testdata/jinja/`), and limits.

use super::*;

pub(super) const LIMITS: Limits = Limits {
    fuel: 20_000_000,
    output: 4 << 20,
    bytes: 256 << 20,
    now: (1_700_000_000, 123_456),
    utc_offset: 0,
};

pub(super) fn render(source: &str, variables: &serde_json::Value) -> Result<Text, Fail> {
    let variables = variables.as_object().unwrap();
    let variables =
        variables.iter().map(|(name, value)| (name.as_str(), crate::template::to_value(value).unwrap()));
    Template::parse(source)?.render(variables.collect(), LIMITS)
}

#[test]
fn templates_say_what_jinja2_says() {
    let path = std::env::var("JINJA_CASES").map_or(xtask::testing::testdata("jinja/cases.json"), Into::into);
    let cases: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let variables = &cases["variables"];
    let mut wrong = Vec::new();
    let all = cases["cases"].as_array().unwrap();
    for case in all {
        let source = case[0].as_str().unwrap();
        let found = render(source, case.get(2).unwrap_or(variables));
        let is_right = match (&found, case[1].as_str()) {
            (Ok(found), Some(expected)) => found.as_str() == expected,
            (Err(Fail::Error { .. } | Fail::Raised(_)), None) => true,
            _ => false,
        };
        if !is_right {
            let found = found.map(|text| text.as_str().to_owned());
            let name = case.get(3).unwrap_or(&case[0]);
            wrong.push(format!("{name:?}\n   jinja2 {:?}\n   here   {found:?}", case[1]));
        }
    }
    assert!(all.len() > 100);
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// Runs on a thread with the smallest stack that templates have.
fn on_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap()
}

#[test]
fn deep_sources_and_values_are_errors_and_overflow_no_stack() {
    on_small_stack(|| {
        let repeated = |open: &str, inside: &str, close: &str, n: usize| {
            format!("{{{{ {}{inside}{} }}}}", open.repeat(n), close.repeat(n))
        };
        for n in [20, 100, 149, 1000, 20_000] {
            let sources = [
                repeated("-", "1", "", n),
                repeated("- ", "x", "", n),
                repeated("not ", "1", "", n),
                repeated("(", "1", ")", n),
                repeated("[", "1", "]", n),
                repeated("{'a':", "1", "}", n),
                repeated("[", "", "]", n),
                repeated("x[", "1", "]", n),
                repeated("dict(a=", "1", ")", n),
                repeated("1", " if 1 else 1", "", 1) + &format!("{{{{ {} 1 }}}}", "1 if 0 else ".repeat(n)),
                format!("{{{{ 1{} }}}}", "~1".repeat(n)),
                format!("{{{{ 1{} }}}}", "+1".repeat(n)),
                format!("{{{{ 1{} }}}}", "**1".repeat(n)),
                format!("{{{{ x{} }}}}", ".b".repeat(n)),
                format!("{{{{ x{} }}}}", "[1]".repeat(n)),
                format!("{{{{ x{} }}}}", "|e".repeat(n)),
                format!("{{{{ x{} }}}}", "()".repeat(n)),
                format!("{{{{ x{} }}}}", " is defined".repeat(n)),
                format!("{{{{ 1{} }}}}", " and 1".repeat(n)),
                format!("{{{{ 1{} }}}}", " or 1".repeat(n)),
                format!("{{{{ 1{} }}}}", " < 1".repeat(n)),
                format!("{{{{ 'a'{} }}}}", " 'a'".repeat(n)),
                format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(n)),
                format!("{}{}", "{% if 1 %}".repeat(n), "{% endif %}".repeat(n)),
                format!("{}{}", "{% for x in [1] %}".repeat(n), "{% endfor %}".repeat(n)),
                format!("{}{}", "{% set x %}".repeat(n), "{% endset %}".repeat(n)),
                format!("{}{}", "{% filter upper %}".repeat(n), "{% endfilter %}".repeat(n)),
                format!("{}{}", "{% with %}".repeat(n), "{% endwith %}".repeat(n)),
                format!("{}{}", "{% call m() %}".repeat(n), "{% endcall %}".repeat(n)),
                format!("{}{}", "{% macro m() %}".repeat(n), "{% endmacro %}".repeat(n)),
                format!("{{% set {}a{} = 1 %}}", "(".repeat(n), ")".repeat(n)),
                format!("{{% for {}a{} in [1] %}}{{% endfor %}}", "(".repeat(n), ",)".repeat(n)),
                "{% macro m(a=m) %}{% endmacro %}".repeat(n),
                format!("{{{{ '{}'.format({}) }}}}", "{:".repeat(n) + &"}".repeat(n), "1,".repeat(n)),
                "{{".repeat(n),
                "{%".repeat(n),
                "{#".repeat(n),
                "{% raw %}".repeat(n),
            ];
            for source in sources {
                match render(&source, &serde_json::json!({ "x": 1 })) {
                    Ok(_) | Err(Fail::Error { .. }) => {}
                    Err(other) => panic!("{other:?}: {}", &source[..60.min(source.len())]),
                }
            }
        }
        let grown =
            "{% set ns = namespace(l=[]) %}{% for i in range(32200) %}{% set ns.l = [ns.l] %}{% endfor %}x";
        let doubled = "{% set ns = namespace(l=[1], k=[1]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] %}\
                       {% set ns.k = [ns.k, ns.k] %}{% endfor %}";
        for (source, words) in [
            (grown.to_owned(), "nests deeper"),
            (grown.replace("[ns.l]", "{'a': ns.l}"), "nests deeper"),
            (grown.replace("[ns.l]", "(ns.l,)"), "nests deeper"),
            (grown.replace("[ns.l]", "namespace(l=ns.l)"), "cannot hold"),
            (grown.replace("[ns.l]", "cycler(ns.l)"), "cannot hold"),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(), "nest deeper"),
            ("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(), "nest deeper"),
            ("{% set ns = namespace() %}{% set ns.x = ns %}".to_owned(), "cannot hold"),
            (format!("{doubled}{{{{ ns.l }}}}"), "64 MiB"),
            (format!("{doubled}{{{{ ns.l | string | length }}}}"), "64 MiB"),
            ("{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}x".to_owned(), "MiB"),
            ("{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}x".to_owned(), "MiB"),
            ("{{ (1,) * 100000000 }}".to_owned(), "1000000 items"),
            ("{{ 'a' * 90000000 }}".to_owned(), "64 MiB"),
            ("{% for i in range(100) %}{% set x = 'a' * 60000000 %}{% endfor %}".to_owned(), "MiB of strings"),
        ] {
            match render(&source, &serde_json::json!({})) {
                Err(Fail::Error { reason, .. }) => assert!(reason.contains(words), "{source}: {reason}"),
                found => panic!("{source}: {found:?}"),
            }
        }
        // What takes long runs out of steps.
        for source in [
            format!("{doubled}{{{{ ns.l == ns.k }}}}"),
            format!("{doubled}{{{{ ns.l < ns.k }}}}"),
            "{% set a = 'a' * 60000000 %}{% for i in range(100000) %}{% if 'b' in a %}{% endif %}{% endfor %}x".to_owned(),
            "{% set a = 'a' * 60000000 %}{% set b = 'a' ~ a[1:] %}{% for i in range(100000) %}{% if a == b %}{% endif %}{% endfor %}x".to_owned(),
            "{% for i in range(100000) %}{% for i in range(100000) %}{% endfor %}{% endfor %}".to_owned(),
            "{% set l = range(100000) | list %}{% for i in range(100000) %}{{ -1 in l }}{% endfor %}".to_owned(),
            "{% set l = range(100000) | list %}{{ l | unique | list | length }}".to_owned(),
        ] {
            let found = render(&source, &serde_json::json!({})).map(|text| text.n_bytes());
            assert_eq!(found, Err(Fail::OutOfFuel), "{source}");
        }
    });
}

#[test]
fn every_character_is_known_to_be_the_templates_or_its_inputs() {
    let marked = |source: &str| {
        let variables =
            serde_json::json!({ "c": "<|x|> ab", "n": 12, "l": ["<|", "x"], "d": { "k<": "v>" }, "e": "é<" });
        let text = render(source, &variables).unwrap_or_else(|e| panic!("{source}: {e:?}"));
        text.runs()
            .iter()
            .map(|(run, foreign)| if *foreign { format!("[{run}]") } else { (*run).to_owned() })
            .collect::<String>()
    };
    for (source, expected) in [
        ("<|{{ c }}|>", "<|[<|x|> ab]|>"),
        ("{{ c ~ 'q' + c[1:3] }}", "[<|x|> ab]q[|x]"),
        ("{{ c | upper }}{{ c | title }}{{ 'c' | upper }}", "[<|X|> AB<|x|> Ab]C"),
        ("{{ c.split('|') | join('-') }}", "[<]-[x]-[> ab]"),
        ("{{ c.replace('x', 'y') }}", "[<|]y[|> ab]"),
        ("{{ c | replace('|', '') }}", "[<x> ab]"),
        ("{{ '%s|%d' % (c, n) }}", "[<|x|> ab]|[12]"),
        ("{{ '{:>3}|{}'.format(n, c) }}", " [12]|[<|x|> ab]"),
        ("{{ d | tojson }}", "{\"[k<]\": \"[v>]\"}"),
        ("{{ e | tojson(ensure_ascii=true) }}", "\"[\\u00e9<]\""),
        ("{{ l }}{{ n }}{{ n + 1 }}{{ -n }}{{ n | string }}{{ c | length }}", "['[<|]', '[x]'][1213-1212]8"),
        ("{{ c | reverse }}{{ c[::-1] }}{{ c[::2] }}", "[ba >|x|<ba >|x|<<x>a]"),
        ("{% for x in c %}{{ x }}{% endfor %}", "[<|x|> ab]"),
        ("{% set x %}<{{ c }}>{% endset %}{{ x[1:] }}", "[<|x|> ab]>"),
        ("{% macro m(a) %}<{{ a }}{% endmacro %}{{ m(c) | trim('<') }}", "[|x|> ab]"),
        ("{{ c | e }}{{ c | center(10) }}", "[&lt;|x|&gt; ab] [<|x|> ab] "),
        ("{{ c * 2 }}{{ l | join }}{{ l | first ~ '>' }}", "[<|x|> ab<|x|> ab<|x<|]>"),
        ("{{ c | indent(2, true) }}{{ c | wordwrap(5) }}", "  [<|x|> ab<|x|>]\n[ab]"),
        ("{% for k, v in d.items() %}<{{ k }}={{ v }}>{% endfor %}", "<[k<]=[v>]>"),
        ("{{ 'a' if c == '<|x|> ab' else c }}{{ {'<|x|> ab': '<s>'}[c] }}", "a<s>"),
        ("{{ l | sort | join(',') }}{{ c.partition('x')[1] }}{{ c.strip('<b') }}", "[<|],[xx|x|> a]"),
    ] {
        assert_eq!(marked(source), expected, "{source}");
    }
}
