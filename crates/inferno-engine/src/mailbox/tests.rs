//! Every order in which threads can meet at the mailbox, tried by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p inferno-engine --release mailbox`

use std::sync::Arc as StdArc;

use loom::sync::Arc;
use loom::thread;

use super::*;

fn submit(mailbox: &Mailbox) -> Result<RequestId, Refusal> {
    mailbox.submit(Request::new(vec![1], 1), 0, StdArc::new(|_| {}), |_, _| Ok(()))
}

fn n_requests(letters: &[Letter]) -> usize {
    letters.iter().filter(|letter| matches!(letter, Letter::Request(..))).count()
}

#[test]
fn no_letter_is_lost_and_nobody_sleeps_beside_one() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || submit(&mailbox).expect("nobody stops it"))
            })
            .collect();
        // If a letter did not wake who waits, loom would find that all are asleep.
        let (mut letters, mut n) = (Vec::new(), 0);
        while n < 2 {
            assert_eq!(mailbox.take(&mut letters, Wait::Long), Post::Letters);
            n += letters.drain(..).count();
        }
        let ids: Vec<_> = senders.into_iter().map(|sender| sender.join().expect("no panic")).collect();
        assert_ne!(ids[0], ids[1]);
    });
}

#[test]
fn a_request_at_the_end_is_refused_or_comes_back() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || submit(&mailbox).is_ok())
        };
        let stopper = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.stop())
        };
        let (mut letters, mut n) = (Vec::new(), 0);
        while mailbox.take(&mut letters, Wait::Long) == Post::Letters {
            n += n_requests(&letters);
            letters.clear();
        }
        n += n_requests(&mailbox.close());
        let was_taken = sender.join().expect("no panic");
        stopper.join().expect("no panic");
        assert_eq!(n, usize::from(was_taken));
        assert_eq!(submit(&mailbox), Err(Refusal::Stopped));
    });
}

#[test]
fn other_letters_wake_who_waits_too() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::default());
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                mailbox.send(Letter::Cancel(RequestId(1)));
                mailbox.stop();
            })
        };
        let mut letters = Vec::new();
        while mailbox.take(&mut letters, Wait::Long) == Post::Letters {}
        // What was not read before the stop comes back.
        letters.extend(mailbox.close());
        assert_eq!(letters.len(), 1);
        sender.join().expect("no panic");
        mailbox.send(Letter::ClearCache);
        assert!(mailbox.close().is_empty(), "nothing is taken any more");
    });
}
