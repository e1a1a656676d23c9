use std::sync::mpsc::channel;

use super::*;

const A: Line = Line::Key(1);
const B: Line = Line::Key(2);
const LONG: usize = 8 << 20;

fn job(line: Line, number: u64, n_bytes: usize) -> Job {
    Job { line, number, n_bytes, due: number + n_bytes as u64, work: Box::new(|| ()) }
}

/// The order in which jobs go, given as `(line, bytes)`, by their numbers.
fn order(jobs: &[(Line, usize)], may_be_long: bool) -> Vec<u64> {
    let mut queue = Queue::default();
    for (number, &(line, n_bytes)) in (0..).zip(jobs) {
        assert!(queue.enter(job(line, number, n_bytes)).is_none());
    }
    std::iter::from_fn(|| queue.next(may_be_long)).map(|job| job.number).collect()
}

#[test]
fn short_requests_go_before_long_ones_of_the_same_line() {
    assert_eq!(order(&[(A, LONG), (A, LONG), (A, 100), (A, 1 << 20)], true), [2, 3, 0, 1]);
    // The thread that is kept for them takes no others.
    assert_eq!(order(&[(A, LONG), (A, 100)], false), [1]);
}

#[test]
fn a_long_request_does_not_wait_for_ever() {
    // Short ones that come eight seconds later are due later.
    let mut queue = Queue::default();
    queue.enter(job(A, 0, LONG));
    queue.enter(Job { due: 9_000_000 + 100, ..job(A, 1, 100) });
    assert_eq!(queue.next(true).map(|job| job.number), Some(0));
}

#[test]
fn lines_take_turns_by_what_they_have_had() {
    let jobs = [(A, LONG), (A, LONG), (A, LONG), (B, LONG), (B, 1 << 20), (B, 1 << 20)];
    // B's are the shorter ones, and go until B has had as much.
    assert_eq!(order(&jobs, true), [4, 0, 5, 3, 1, 2]);
    // Someone who was not there has no credit.
    let mut queue = Queue::default();
    (0..4).for_each(|number| drop(queue.enter(job(A, number, LONG))));
    assert_eq!(queue.next(true).map(|job| job.number), Some(0));
    assert_eq!(queue.next(true).map(|job| job.number), Some(1));
    (4..8).for_each(|number| drop(queue.enter(job(B, number, LONG))));
    let rest: Vec<u64> = std::iter::from_fn(|| queue.next(true)).map(|job| job.number).collect();
    assert_eq!(rest, [4, 2, 5, 3, 6, 7]);
    assert_eq!(queue.n_waiting, 0);
}

#[test]
fn work_that_took_long_counts_for_its_time() {
    let mut queue = Queue::default();
    (0..3).for_each(|number| drop(queue.enter(job(A, number, 100))));
    assert_eq!(queue.next(true).map(|job| job.number), Some(0));
    (3..6).for_each(|number| drop(queue.enter(job(B, number, 100))));
    queue.charge(A, 2_000_000);
    let rest: Vec<u64> = std::iter::from_fn(|| queue.next(true)).map(|job| job.number).collect();
    assert_eq!(rest, [3, 4, 5, 1, 2]);
}

#[test]
fn where_too_many_wait_the_longest_line_loses_its_last() {
    let mut queue = Queue::default();
    for number in 0..WAITING as u64 {
        assert!(queue.enter(job(A, number, 100)).is_none());
    }
    let dropped = queue.enter(job(B, 5000, 100)).unwrap();
    assert_eq!((dropped.number, queue.n_waiting), (WAITING as u64 - 1, WAITING));
    // Of its own line the newcomer is the last.
    let dropped = queue.enter(job(A, 5001, LONG)).unwrap();
    assert_eq!(dropped.number, 5001);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_short_request_waits_for_no_long_one() {
    let workers = Arc::new(Workers::new("test", 4, || ()));
    block_on(async {
        let mut all = Vec::new();
        let mut releases = Vec::new();
        for _ in 0..8 {
            let (release, released) = channel::<()>();
            releases.push(release);
            let work = move |_: &Cancel| {
                let _ = released.recv();
                Ok(())
            };
            let workers = Arc::clone(&workers);
            all.push(tokio::spawn(async move { workers.run(A, LONG, work).await }));
        }
        tokio::task::yield_now().await;
        for i in 0..4 {
            assert_eq!(workers.run(A, 100, move |_| Ok(i)).await, Ok(i));
        }
        drop(releases);
        for job in all {
            assert!(job.await.unwrap().is_ok());
        }
    });
}

#[test]
fn work_whose_client_has_left_stops_and_is_not_begun() {
    let workers = Arc::new(Workers::new("test", 4, || ()));
    block_on(async {
        let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let (end, ended) = channel();
        let until_left = move |cancel: &Cancel| {
            begin.send(()).unwrap();
            let start = Instant::now();
            while !cancel.is_set() && start.elapsed() < Duration::from_secs(60) {
                std::thread::yield_now();
            }
            end.send(cancel.is_set()).unwrap();
            Ok(())
        };
        // Takes every thread that takes long ones.
        let held: Vec<_> = (1..workers.shared.most_threads)
            .map(|_| {
                let (workers, work) = (Arc::clone(&workers), until_left.clone());
                tokio::spawn(async move { workers.run(A, LONG, work).await })
            })
            .collect();
        for _ in 1..workers.shared.most_threads {
            begun.recv().await.unwrap();
        }
        let waiting = {
            let workers = Arc::clone(&workers);
            tokio::spawn(async move { workers.run(A, LONG, |_| Ok(unreachable_now())).await })
        };
        while workers.shared.lock().n_waiting == 0 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(workers.shared.lock().n_waiting, 0);
        for job in held {
            job.abort();
            let _ = job.await;
            assert!(ended.recv_timeout(Duration::from_secs(60)).unwrap());
        }
        assert_eq!(workers.run(A, LONG, |_| Ok(7)).await, Ok(7));
    });
}

fn unreachable_now() -> u8 {
    panic!("nobody waits for it")
}

#[test]
fn a_panic_is_the_error_of_its_own_request() {
    let workers = Workers::new("test", 4, || ());
    block_on(async {
        let error = workers.run::<()>(B, LONG, |_| panic!("a fault")).await.unwrap_err();
        assert_eq!(error.status, 500);
        assert_eq!(workers.run(B, LONG, |_| Ok(7)).await, Ok(7));
    });
}

#[test]
fn memory_is_given_back_when_much_was_read_and_nothing_comes() {
    static N: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let n = || N.load(Ordering::Relaxed);
    let workers = Workers::new("test", 4, || {
        N.fetch_add(1, Ordering::Relaxed);
    });
    block_on(async {
        workers.run(A, MUCH - 1, |_| Ok(())).await.unwrap();
        std::thread::sleep(2 * REST);
        assert_eq!(n(), 0);
        workers.run(A, 1, |_| Ok(())).await.unwrap();
        while n() == 0 {
            tokio::task::yield_now().await;
        }
        std::thread::sleep(2 * REST);
        assert_eq!(n(), 1);
    });
}
