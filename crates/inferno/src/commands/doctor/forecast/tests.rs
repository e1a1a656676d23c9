use super::*;

#[test]
fn a_forecast_extrapolates_exactly_what_grows_with_layers_and_positions() {
    // A cut of a quarter: 2 ms a step, and a row of 1 ms with 1 µs for every position before it.
    let of_row = |mean_position: f64| 1e-3 + 1e-6 * mean_position;
    for rows in [64, 128, 512] {
        let times = Times { step: 2e-3, row: of_row(rows as f64 / 2.0), rows, position: 1e-6 };
        let speed = Speed::of(&times, 4.0, 4.0, 40_960);
        assert!((speed.decode - 125.0).abs() < 1e-9, "{speed:?}");
        assert!((speed.prompt * 4.0 * of_row(256.0) - 1.0).abs() < 1e-9, "{speed:?}");
        assert!((speed.first_token / (1000.0 * 4.0 * of_row(500.0)) - 1.0).abs() < 1e-9, "{speed:?}");
    }
    // A prompt is no longer than the context.
    let times = Times { step: 1.0, row: 1.0, rows: 32, position: 0.0 };
    assert_eq!(Speed::of(&times, 1.0, 1.0, 100).first_token, 100.0);
}

#[test]
fn devices_in_a_row_add_their_times() {
    let speed = |x: f64| Speed { decode: x, prompt: 10.0 * x, first_token: 1.0 / x };
    let mixed = Speed::mixed(speed(100.0), speed(10.0), 0.75);
    assert!((mixed.decode - 1.0 / (0.75 / 100.0 + 0.25 / 10.0)).abs() < 1e-9, "{mixed:?}");
    assert!((mixed.prompt - 10.0 * mixed.decode).abs() < 1e-9, "{mixed:?}");
    assert!((mixed.first_token - 1.0 / mixed.decode).abs() < 1e-12, "{mixed:?}");
}

#[test]
fn what_is_free_decides_what_fits_and_what_there_is_what_could() {
    assert_eq!(fit(10, Some(10), Some(20)), Fit::Yes);
    assert_eq!(fit(11, Some(10), Some(20)), Fit::IfFreed);
    assert_eq!(fit(21, Some(10), Some(20)), Fit::No);
    assert_eq!(fit(21, None, Some(20)), Fit::Unknown);
}

#[test]
fn users_are_what_keys_and_values_leave_room_for() {
    let whole = crate::load::open(&crate::cli::ModelFile::default()).unwrap();
    let arch = whole.architecture(None).unwrap();
    let compute = Compute { backend: crate::load::BackendChoice::Cpu, ..Compute::default() };
    let room = room(&whole, &arch, whole.file.file_bytes(), &compute).unwrap();
    assert!(room.needs > whole.file.file_bytes() + BUFFERS, "{room:?}");
    assert_eq!((room.fit, room.users), (Fit::Yes, MAX_USERS), "{room:?}");
    let large = super::room(&whole, &arch, 1 << 60, &compute).unwrap();
    assert_eq!((large.fit, large.users), (Fit::No, 0), "{large:?}");
}
