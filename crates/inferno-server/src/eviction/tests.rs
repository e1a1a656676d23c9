use super::*;

/// Connections as `(stage, address, milliseconds ago)`, numbered from 0; the number of the one that yields.
#[track_caller]
fn check(connections: &[(Stage, u8, u64)], expected: Option<u64>) {
    let now = Instant::now() + Duration::from_secs(1000);
    let waiting = (0..).zip(connections).filter_map(|(number, &(stage, address, ms))| {
        let since = now - Duration::from_millis(ms);
        Waiting::new(number, IpAddr::from([10, 0, 0, address]), stage, since, None)
    });
    assert_eq!(victim(waiting, now, Duration::from_secs(10)), expected, "{connections:?}");
}

#[test]
fn the_newest_of_the_silent_yields_but_none_whose_request_may_be_on_its_way() {
    use Stage::{Busy, Closing, Head, Idle, New};
    check(&[], None);
    check(&[(Busy, 1, 9000), (Closing, 1, 9000)], None);
    check(&[(New, 1, 9000), (New, 1, 600), (New, 1, 3000), (New, 1, 10)], Some(1));
    check(&[(Head, 1, 9000), (New, 1, 10), (Idle, 1, 70_000)], Some(0));
    // All have just come: the oldest of them had the most time.
    check(&[(New, 1, 20), (New, 1, 30), (New, 1, 10)], Some(1));
}

#[test]
fn a_flood_of_idle_or_of_new_connections_pays_for_itself() {
    use Stage::{Idle, New};
    check(&[(Idle, 1, 50), (Idle, 1, 900), (New, 1, 10)], Some(1));
    check(&[(Idle, 1, 50), (New, 1, 10), (New, 1, 20)], Some(2));
}

#[test]
fn the_address_with_the_most_silent_connections_yields() {
    use Stage::{Idle, New};
    check(&[(New, 1, 600), (New, 2, 5000), (New, 2, 7000)], Some(1));
    check(&[(Idle, 1, 9000), (Idle, 2, 10), (Idle, 2, 20)], Some(2));
    check(&[(New, 1, 30), (New, 2, 10), (New, 2, 20)], Some(2));
}

#[test]
fn bodies_and_readers_yield_once_they_have_stopped() {
    check(&[(Stage::Body, 1, 1900)], None);
    check(&[(Stage::Body, 1, 2100), (Stage::Idle, 1, 9000)], Some(0));
    let now = Instant::now() + Duration::from_secs(1000);
    let reader = |number: u64, stalled: Option<u64>| {
        let stalled = stalled.map(|ms| now - Duration::from_millis(ms));
        Waiting::new(number, IpAddr::from([10, 0, 0, 1]), Stage::Busy, now - Duration::from_secs(60), stalled)
    };
    let victim =
        |all: &[Option<Waiting>]| super::victim(all.iter().flatten().copied(), now, Duration::from_secs(10));
    assert_eq!(victim(&[reader(0, None), reader(1, Some(1000))]), None);
    assert_eq!(victim(&[reader(0, Some(3000)), reader(1, Some(9000)), reader(2, None)]), Some(1));
}
