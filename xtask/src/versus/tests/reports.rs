use std::collections::HashSet;
use std::path::PathBuf;

use crate::peer::machine::Machine;
use crate::peer::samples::Samples;
use crate::versus::args::Args;
use crate::versus::case::{Case, Outcome, seed};
use crate::versus::report::{Report, with_section};

fn args(text: &str) -> Result<Args, String> {
    Args::parse(&text.split_whitespace().map(String::from).collect::<Vec<_>>())
}

#[test]
fn options_are_read_and_wrong_ones_refused() {
    let parsed =
        args("--theirs /a/llama-server --model /b/x.gguf --only streams-8 --rounds 3 -- -np 8 --quick")
            .unwrap();
    assert_eq!(parsed.cases(), [Case::Streams(8)]);
    assert_eq!((parsed.n_rounds(), parsed.quick), (3, false));
    assert_eq!((parsed.model(), parsed.label()), (PathBuf::from("/b/x.gguf"), "x.gguf".into()));
    assert_eq!(
        parsed.to_command(),
        "cargo xtask bench-server --theirs llama-server --model x.gguf --only streams-8 --rounds 3 -- -np 8 --quick"
    );
    let quick = args("--theirs s --quick").unwrap();
    assert_eq!((quick.n_rounds(), quick.cases().len()), (2, Case::ALL.len()));
    assert_eq!(quick.label(), "ember-q8_0.gguf");
    for (text, expected) in [
        ("", "`--theirs` must name `llama-server`"),
        ("--theirs", "`--theirs` needs a value"),
        ("--theirs s --rounds 0", "`--rounds` takes a number from 1 on, not `0`"),
        ("--theirs s --only streams", "there is no case `streams`, `--list` has the names"),
        ("--theirs s --fast", "there is no option `--fast`"),
    ] {
        let error = args(text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn no_case_has_the_seed_of_another() {
    let seeds = Case::ALL.into_iter().flat_map(|case| (0..9).map(move |round| seed(case, round)));
    assert_eq!(seeds.collect::<HashSet<_>>().len(), 9 * Case::ALL.len());
}

fn outcome(ours: &[&[f64]], theirs: &[&[f64]]) -> Outcome {
    let samples = |all: &[&[f64]]| all.iter().map(|samples| Samples(samples.to_vec())).collect();
    Outcome { ours: samples(ours), theirs: samples(theirs), note: String::new(), n_disturbed: 0 }
}

fn report(outcome: Result<Outcome, String>, case: Case) -> String {
    let machine = Machine { cpu: "C".into(), n_cores: 2, ..Machine::default() };
    let rows = vec![(case, outcome)];
    Report { label: "m.gguf".into(), machine, load: "0.1 0.2 0.3".into(), rows, ..Report::default() }
        .to_section()
}

#[test]
fn ratios_are_taken_round_by_round_and_held_against_the_targets() {
    let ours: [&[f64]; 3] = [&[400.0, 90.0, 200.0], &[10.0, 20.0, 30.0], &[1.0, 2.0, 3.0]];
    let theirs: [&[f64]; 3] = [&[100.0, 30.0, 40.0], &[100.0, 100.0, 100.0], &[2.0, 2.0, 2.0]];
    let text = report(Ok(outcome(&ours, &theirs)), Case::Streams(8));
    for expected in [
        "## m.gguf\n",
        "* load average before: 0.1 0.2 0.3\n",
        "| tokens/s | 200 (90.0 … 400) | 40.0 (30.0 … 100) | 4.00× (3.00× … 5.00×) | ≥ 3× ✓ | ≥ 5× ✗ |\n",
        "| time to first token, median | 20.0 ms (10.0 ms … 30.0 ms) | 100 ms (100 ms … 100 ms) | \
         0.20× (0.10× … 0.30×) | ≤ 0.25× ✓ | ≤ 0.125× ✗ |\n",
        "| time to first token, max | 2.0 ms (1.0 ms … 3.0 ms) | 2.0 ms (2.0 ms … 2.0 ms) | \
         1.00× (0.50× … 1.50×) |  |  |\n",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(!text.contains("Other programs"), "{text}");
}

#[test]
fn a_figure_that_is_not_there_is_a_dash() {
    let none: &[f64] = &[f64::NAN, f64::NAN];
    let ours: [&[f64]; 7] = [&[2.0, 4.0], &[64.0, 64.0], &[0.5, 0.7], &[0.0, 0.0], &[3.0, 3.0], none, none];
    let theirs: [&[f64]; 7] = [&[0.0, 2.0], &[0.0, 32.0], &[0.0, 0.0], &[1.0, 0.9], none, none, none];
    let outcome = Outcome { n_disturbed: 2, ..outcome(&ours, &theirs) };
    let text = report(Ok(outcome), Case::Overload);
    for expected in [
        "| requests/s done | 3.0 (2.0 … 4.0) | 1.0 (0.0 … 2.0) | ∞ (2.00× … ∞) |",
        "| refused | 60 % (50 % … 70 %) | 0 % (0 % … 0 %) | – |",
        "| refusal, p99 | 3.0 ms (3.0 ms … 3.0 ms) | – | – |",
        "at work during 2 of the samples",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    let text = report(Err("it | died".into()), Case::SharedPrefix);
    assert!(text.contains("| failed: it   died | | | | |"), "{text}");
}

#[test]
fn a_section_replaces_the_one_of_its_model_and_no_other() {
    let file = with_section("# Head\n\nWords.\n", "## a\n\n1\n");
    let file = with_section(&file, "## b\n\n2\n");
    assert_eq!(file, "# Head\n\nWords.\n\n## a\n\n1\n\n## b\n\n2\n");
    let file = with_section(&file, "## a\n\n3\n");
    assert_eq!(file, "# Head\n\nWords.\n\n## a\n\n3\n\n## b\n\n2\n");
    let file = with_section(&file, "## b\n\n4\n");
    assert_eq!(file, "# Head\n\nWords.\n\n## a\n\n3\n\n## b\n\n4\n");
}
