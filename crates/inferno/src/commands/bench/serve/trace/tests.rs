use super::*;

fn parts(a: &Arrival) -> Vec<(u64, usize)> {
    a.parts.iter().map(|part| (part.id, part.end)).collect()
}

fn error(text: &str) -> String {
    format!("{:#}", parse("t", text.as_bytes(), 9).expect_err("a line is wrong"))
}

#[test]
fn azures_lines_end_as_they_like() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n\
                2023-11-16 18:15:50.9951690,396,109\n2023-11-17T18:15:46.25Z,1,2";
    let all = parse("t", text.as_bytes(), 9).expect("three requests");
    assert_eq!(all.iter().map(parts).collect::<Vec<_>>(), [[(0, 374)], [(1, 396)], [(2, 1)]]);
    assert_eq!(all.iter().map(|a| a.n_completion).collect::<Vec<_>>(), [44, 109, 2]);
    assert!((all[1].at - all[0].at - 4.314_579).abs() < 1e-6);
    assert!((all[2].at - all[0].at - 86_399.569_41).abs() < 1e-4);
    assert_eq!(parse("t", text.as_bytes(), 2).expect("two of them").len(), 2);
}

#[test]
fn mooncakes_ids_are_runs_of_512_tokens() {
    let text = r#"
        {"timestamp": 3000, "input_length": 1025, "output_length": 3, "hash_ids": [0, 7, 9]}
        {"timestamp": 500, "input_length": 512, "output_length": 4, "hash_ids": [0]}"#;
    let all = parse("t", text.as_bytes(), 9).expect("two requests");
    assert_eq!(all.iter().map(|a| (a.at, a.n_completion)).collect::<Vec<_>>(), [(0.5, 4), (3.0, 3)]);
    assert_eq!(
        all.iter().map(parts).collect::<Vec<_>>(),
        [vec![(0, 512)], vec![(0, 512), (7, 1024), (9, 1025)]]
    );
}

#[test]
fn a_bad_line_is_named_with_what_was_expected() {
    let azure = |line: &str| error(&format!("{AZURE_HEADER}\n\n{line}\n"));
    assert_eq!(azure("2023-11-16 18:15:46.6,374"), "t:3: expected 3 fields, found 2");
    assert_eq!(
        azure("2023-11-16 18:15:46.6,0,4"),
        "t:3: expected 1 token or more as ContextTokens, found `0`"
    );
    assert_eq!(
        azure("2023-13-16 18:15:46.6,1,4"),
        "t:3: expected a time like `2023-11-16 18:15:46.68`, found `2023-13-16 18:15:46.6`"
    );
    let ids = |ids: &str| {
        error(&format!(r#"{{"timestamp": 1, "input_length": 513, "output_length": 3, "hash_ids": {ids}}}"#))
    };
    assert_eq!(ids("[1]"), "t:1: expected 2 `hash_ids` for 513 tokens, found 1");
    assert_eq!(ids("[1, -1]"), "t:1: expected whole numbers in `hash_ids`, found -1");
    assert_eq!(ids("7"), "t:1: expected `hash_ids` to be a list");
    assert_eq!(
        error(r#"{"timestamp": 1, "input_length": 0}"#),
        "t:1: expected `input_length` of 1 or more, found 0"
    );
    assert!(error("{\n").starts_with("t:1: expected an object in JSON: EOF"));
    assert_eq!(
        error("time,prompt\n"),
        "t:1: expected the header `TIMESTAMP,ContextTokens,GeneratedTokens`, or an object in JSON"
    );
    assert_eq!(error("\n"), "t: there are no requests in it");
}

#[test]
fn days_are_counted_from_1970() {
    assert_eq!(days_since_1970(1970, 1, 1), 0);
    assert_eq!(days_since_1970(2000, 2, 29) + 1, days_since_1970(2000, 3, 1));
    assert_eq!(seconds("2023-11-16 18:15:46"), Some(1_700_158_546.0));
}

#[test]
fn the_published_samples_are_read_whole() {
    let Some(folder) = xtask::testing::data("traces") else { return };
    let n = |name: &str| read(&folder.join(name), usize::MAX).expect("a sample").len();
    assert_eq!(n("AzureLLMInferenceTrace_conv.csv"), 19_366);
    assert_eq!(n("mooncake_conversation.jsonl"), 12_031);
}
