use super::*;

fn numbers(done: u64, rate: Option<f64>) -> Numbers {
    Numbers { done, total: 639_446_688, rate, silence: Duration::ZERO }
}

#[test]
fn a_line_fits_every_terminal() {
    let name = "Qwen3-0.6B-Q8_0.gguf";
    assert_eq!(
        line(name, numbers(217_000_000, Some(24.1e6)), 80),
        "Qwen3-0.6B-Q8_0.gguf   33 % [##....]  217.0 of 639.4 MB, 24.1 MB/s, 0:17 left"
    );
    assert_eq!(
        line(name, numbers(217_000_000, Some(24.1e6)), 200),
        "Qwen3-0.6B-Q8_0.gguf   33 % [##########......................]  217.0 of 639.4 MB, 24.1 MB/s, 0:17 left"
    );
    assert_eq!(line(name, numbers(0, None), usize::MAX), "Qwen3-0.6B-Q8_0.gguf: 0 %, 0.0 of 639.4 MB");
    let long = "a".repeat(200);
    for columns in 0..240 {
        for rate in [None, Some(0.0), Some(1e9)] {
            for done in [0, 639_446_688] {
                let line = line(&long, numbers(done, rate), columns);
                let most = columns.saturating_sub(terminal::FREE_COLUMNS);
                assert!(line.chars().count() <= most, "{columns}: {line}");
            }
        }
    }
    let silent = Numbers { silence: Duration::from_secs(7), ..numbers(5, Some(9.0)) };
    assert!(line(name, silent, 80).ends_with(", nothing for 7 s"));
}

#[test]
fn the_rate_is_that_of_bytes_that_come_now() {
    let progress = Progress::new();
    let repo = RepoId::parse("a/b").unwrap();
    let file = |size| RemoteFile { path: "m.gguf".into(), size };
    progress.begin(&repo, &[file(1000), file(500)]);
    progress.advance(0, 700);
    let state = &mut *progress.state();
    let start = Instant::now();
    assert_eq!((state.numbers(start).done, state.came()), (700, 0));
    state.files = vec![Some((700, 800)), Some((0, 100))];
    let now = state.numbers(start + Duration::from_secs(2));
    assert_eq!((now.done, now.rate), (900, Some(100.0)));
    // What came before the window no longer counts.
    let now = state.numbers(start + Duration::from_secs(20));
    assert_eq!(now.rate, Some(0.0));
}

#[test]
fn times_are_read_at_a_glance() {
    let shown = [0, 48, 200, 7500].map(|s| clock(Duration::from_secs(s)));
    assert_eq!(shown, ["0.0 s", "48 s", "3 min 20 s", "2 h 5 min"]);
    assert_eq!([17, 200, 7500].map(countdown), ["0:17", "3:20", "2:05:00"]);
}
