use std::collections::HashSet;

use super::*;

fn args(text: &str) -> Result<Args> {
    Args::parse(&text.split_whitespace().map(String::from).collect::<Vec<_>>())
}

fn item(name: &str) -> &'static Item {
    ITEMS.iter().find(|item| item.name == name).expect("an item")
}

fn samples(samples: &[f64]) -> Samples {
    Samples(samples.to_vec())
}

fn outcome(ours: &[f64], theirs: &[f64], share: Option<&[f64]>) -> Outcome {
    Outcome {
        ours: samples(ours),
        theirs: samples(theirs),
        setting: "flash".into(),
        ratio: samples(ours).over(&samples(theirs)),
        read: share.map(|share| Read { stream: samples(&[12.5]), share: samples(share) }),
        n_disturbed: 0,
    }
}

fn report() -> Report {
    let machine = Machine {
        cpu: "A & B".into(),
        n_cores: 2,
        memory_gb: Some(24.6),
        flags: vec!["avx2", "avx512f"],
        has_amx: false,
    };
    let mut report = Report {
        machine,
        date: "2026-01-02".into(),
        command: "cargo xtask bench-peer --quick".into(),
        commit: "0123abcd".into(),
        threads: 2,
        ..Report::default()
    };
    let ours = serde_json::json!({
        "inferno": "0.1.0", "settings": { "backend": "avx512", "kv_type": "f16" }
    });
    let theirs = serde_json::json!({ "version": "llama.cpp 1", "system": "CPU : AVX512 = 1 |" });
    report.note_versions(&ours, &theirs);
    report.rows.push((item("prompt-512-q8_0"), Ok(outcome(&[300.0, 330.0], &[150.0, 110.0], None))));
    report.rows.push((item("decode-128-q8_0"), Ok(outcome(&[22.0], &[20.0], Some(&[0.92])))));
    report.rows.push((item("prompt-512-q4_0"), Err("it | died".into())));
    report
}

#[test]
fn the_report_has_medians_ranges_and_what_was_reached() {
    let text = report().to_markdown(Some("cpu.svg"));
    let expected = "\
* machine: A & B, 2 cores, 25 GB; avx2 avx512f
* date: 2026-01-02
* command: `cargo xtask bench-peer --quick`
* inferno: 0.1.0 (commit 0123abcd), avx512, KV f16
* llama.cpp: llama.cpp 1, KV f16; CPU : AVX512 = 1
* 2 threads each
";
    assert!(text.contains(expected), "{text}");
    let expected = "\
![ratios](cpu.svg)

| | inferno | llama.cpp | its best setting | ratio | first target | goal |
|---|--:|--:|---|--:|--:|--:|
| prompt 512, Q8_0 | 315 (300 … 330) | 130 (110 … 150) | flash attention | **2.50× (2.00× … 3.00×)** | 1.2× ✓ | 2× ✓ |
| decode 128, Q8_0 | 22.0 (22.0 … 22.0) | 20.0 (20.0 … 20.0) | flash attention | **1.10× (1.10× … 1.10×)** | 1.2× ✗ | 1.5× ✗ |
| … share of the streaming read, 12.5 (12.5 … 12.5) GB/s | 92 % (92 % … 92 %) | | | | 90 % ✓ | 95 % ✗ |
| prompt 512, Q4_0 | failed: it   died | | | | | |

This machine has no AMX.";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn the_targets_of_a_machine_with_amx_are_others() {
    let mut report = report();
    report.machine.has_amx = true;
    let text = report.to_markdown(None);
    assert!(text.contains("| 3× ✗ | 6× ✗ |") && text.contains("| 1× ✓ | 1.1× ✓ |"), "{text}");
    assert!(!text.contains("no AMX") && !text.contains("!["), "{text}");
}

#[test]
fn disturbed_samples_are_confessed() {
    let mut report = report();
    assert!(!report.to_markdown(None).contains("worth little"));
    let disturbed = Outcome { n_disturbed: 2, ..outcome(&[1.0], &[1.0], None) };
    report.rows.push((item("prompt-512-q4_k_m"), Ok(disturbed)));
    assert!(report.to_markdown(None).contains("during 2 of the samples: these figures are worth little"));
}

#[test]
fn the_plot_has_a_bar_for_every_figure() {
    let text = svg::plot(&report());
    assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"), "{text}");
    assert!(text.contains("A &amp; B") && !text.contains("NaN"), "{text}");
    // The background and two bars; the third item has failed.
    assert_eq!(text.matches("<rect").count(), 3);
    // Half as fast to four times as fast: 480 wide, 1x at a third of it.
    assert!(
        text.contains("<rect x=\"460.0\" y=\"63.0\" width=\"211.5\" height=\"16\" fill=\"#2a7f4f\"/>"),
        "{text}"
    );
    let open = text.matches("<text").count();
    assert_eq!(open, text.matches("</text>").count());
}

#[test]
fn a_report_without_figures_is_still_one() {
    let empty = Report::default();
    assert!(svg::plot(&empty).contains("1×"));
    assert!(empty.to_markdown(None).contains("inferno: unknown"));
}

#[test]
fn options_are_read_and_wrong_ones_refused() {
    let parsed = args("--out a/b.md --only prompt-512-q8_0 --rounds 2 --quick").unwrap();
    assert_eq!(plot_path(parsed.out.as_deref().unwrap()), Path::new("a/b.svg"));
    assert_eq!(parsed.n_rounds(item("prompt-512-q8_0")), 2);
    assert_eq!(parsed.to_command(), "cargo xtask bench-peer --only prompt-512-q8_0 --rounds 2 --quick");
    assert_eq!(parsed.items(true).unwrap(), [item("prompt-512-q8_0")]);
    for (text, expected) in [
        ("--rounds", "`--rounds` needs a value"),
        ("--rounds 0", "`--rounds` takes a number from 1 on, not `0`"),
        ("--threads x", "`--threads` takes a number from 1 on, not `x`"),
        ("--fast", "there is no option `--fast`"),
        ("--only prompt", "there is no item `prompt`, `--list` has the names"),
    ] {
        let error = args(text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn items_without_amx_need_a_machine_that_has_it() {
    let names = |text: &str, has_amx| -> HashSet<&str> {
        args(text).unwrap().items(has_amx).unwrap().iter().map(|item| item.name).collect()
    };
    let (with, without) = (names("", true), names("", false));
    assert_eq!(with.len(), ITEMS.len(), "names are unique");
    let missing: HashSet<_> = with.difference(&without).copied().collect();
    assert_eq!(missing, HashSet::from(["prompt-512-q8_0-no-amx", "decode-128-q8_0-no-amx"]));
    assert!(!names("--quick", false).contains("prompt-8192-q8_0"));
    assert!(names("--quick --only prompt-8192-q8_0", false).contains("prompt-8192-q8_0"));
    assert!(args("--only prompt-512-q8_0-no-amx").unwrap().items(false).is_err());
}

#[test]
fn both_programs_are_asked_for_the_same() {
    let (model, script) = (Path::new("m.gguf"), Path::new("s.py"));
    let ours = |name| item(name).our_arguments(model, 2).join(" ");
    let theirs = |name| item(name).their_arguments(script, model, 2).join(" ");
    assert_eq!(ours("prompt-8192-q8_0"), "bench --paced -m m.gguf --threads 2 --prompt 8192 --decode 0");
    assert_eq!(theirs("prompt-8192-q8_0"), "s.py m.gguf prompt --threads 2 --tokens 8192");
    assert_eq!(
        ours("decode-at-4096-q8_0-kv8"),
        "bench --paced -m m.gguf --threads 2 --prompt 0 --decode 128 --depth 4096 --sequences 1 --kv q8_0"
    );
    assert_eq!(
        theirs("decode-32-sequences-q8_0"),
        "s.py m.gguf decode --threads 2 --tokens 128 --depth 0 --sequences 32"
    );
    assert!(ours("decode-128-q8_0-no-amx").ends_with("--isa avx512"));
}
