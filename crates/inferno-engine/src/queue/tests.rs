//! Who waits how long, measured in tokens and in time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn waiting(id: u64, tenant: u32, class: i32, arrived: Micros, n_tokens: usize) -> Waiting {
    Waiting { id: SeqId(id), tenant, class, arrived, n_tokens }
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) }
}

/// Tenants that always have something waiting; one sequence is served at a time.
struct Busy {
    queue: Queue,
    deficits: Deficits,
    served: BTreeMap<u32, usize>,
    n_sequences: u64,
}

impl Busy {
    fn new() -> Busy {
        Busy {
            queue: Queue::default(),
            deficits: Deficits::default(),
            served: BTreeMap::new(),
            n_sequences: 0,
        }
    }

    fn submit(&mut self, tenant: u32, n_tokens: usize) {
        self.n_sequences += 1;
        self.deficits.join(tenant);
        self.queue.push(waiting(self.n_sequences, tenant, 0, self.n_sequences, n_tokens));
    }

    /// The next one is computed; it leaves when `leave` is called for it.
    fn serve(&mut self) -> Waiting {
        let next = self.queue.next(0, 1 << 40, &mut self.deficits, &|_| true).expect("somebody waits");
        self.queue.remove(&next);
        self.deficits.charge(next.tenant, next.n_tokens);
        *self.served.entry(next.tenant).or_default() += next.n_tokens;
        next
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn tenants_that_always_wait_get_equally_many_tokens(
        costs in prop::collection::vec(prop::collection::vec(1..2000usize, 1..6), 2..6),
    ) {
        let mut busy = Busy::new();
        let tenants = 0..costs.len() as u32;
        tenants.clone().for_each(|t| busy.served.extend([(t, 0)]));
        let most = *costs.iter().flatten().max().expect("there are costs");
        // Lines of equal length, that never run dry.
        tenants.for_each(|t| (0..3).for_each(|i| busy.submit(t, costs[t as usize][i % costs[t as usize].len()])));
        for i in 0..300 {
            let next = busy.serve();
            let own = &costs[next.tenant as usize];
            busy.submit(next.tenant, own[i % own.len()]);
            busy.deficits.leave(next.tenant);
            let (least, best) = (busy.served.values().min(), busy.served.values().max());
            let apart = best.expect("tenants") - least.expect("tenants");
            prop_assert!(apart <= 2 * (QUANTUM as usize + most), "{apart} tokens apart: {:?}", busy.served);
        }
    }

    #[test]
    fn nobody_waits_longer_than_its_class_says(
        aging in 1..50u64,
        arrivals in prop::collection::vec((0..8u64, -2..4i32, 0..3u32), 1..60),
    ) {
        let (mut queue, mut deficits) = (Queue::default(), Deficits::default());
        let mut all = Vec::new();
        let mut now = 0;
        for (id, (pause, class, tenant)) in (0..).zip(arrivals) {
            now += pause;
            deficits.join(tenant);
            all.push(waiting(id, tenant, class, now, 10));
        }
        let mut coming = all.into_iter().peekable();
        let mut here: Vec<Waiting> = Vec::new();
        // One is served in every three units of time: the queue grows, then shrinks.
        for now in (0..).step_by(3) {
            while let Some(new) = coming.next_if(|w| w.arrived <= now) {
                queue.push(new);
                here.push(new);
            }
            let next = queue.next(now, aging, &mut deficits, &|_| true);
            prop_assert_eq!(next.is_none(), here.is_empty());
            let Some(next) = next else {
                if coming.peek().is_none() {
                    break;
                }
                continue;
            };
            // The oldest of its class, whoever's, may go before all others.
            let oldest = here.iter().filter(|w| w.class == next.class).map(|w| w.arrived).min().expect("it was here");
            for other in &here {
                let ahead = i64::from(other.class - next.class + 1) * aging as i64;
                prop_assert!(oldest as i64 <= other.arrived as i64 + ahead, "{next:?} goes before {other:?} at {now}");
            }
            queue.remove(&next);
            here.retain(|w| w.id != next.id);
            deficits.charge(next.tenant, next.n_tokens);
        }
    }

    #[test]
    fn what_is_taken_out_anywhere_is_gone_and_the_rest_keeps_its_place(
        ops in prop::collection::vec((0..5u8, 0..3u32, -1..2i32, 1..9usize, 0..20usize), 1..80),
    ) {
        let mut queue = Queue::default();
        let mut deficits = Deficits::default();
        let mut here: Vec<Waiting> = Vec::new();
        (0..3).for_each(|t| deficits.join(t));
        for (i, (op, tenant, class, n_tokens, which)) in (0..).zip(ops) {
            match op {
                0..3 => {
                    let new = waiting(i, tenant, class, i / 4, n_tokens);
                    if op == 0 { queue.push_front(new) } else { queue.push(new) }
                    here.push(new);
                }
                _ if here.is_empty() => {}
                _ => {
                    let old = here.swap_remove(which % here.len());
                    queue.remove(&old);
                    // Once more does nothing.
                    queue.remove(&old);
                }
            }
            prop_assert_eq!(queue.len(), here.len());
            prop_assert_eq!(queue.n_tokens(), here.iter().map(|w| w.n_tokens).sum::<usize>());
            let places = queue.places();
            prop_assert_eq!(places.len(), here.len());
            for w in &here {
                let before = |o: &&Waiting| (o.class, o.arrived, o.id) < (w.class, w.arrived, w.id);
                prop_assert_eq!(places[&w.id], here.iter().filter(before).count());
            }
            let may_go = |id: SeqId| id.0 % 3 != which as u64 % 3;
            let next = queue.next(i, 10, &mut deficits, &may_go);
            prop_assert_eq!(next.is_some(), here.iter().any(|w| may_go(w.id)));
            prop_assert!(next.is_none_or(|next| may_go(next.id) && here.iter().any(|w| w.id == next.id)));
        }
    }
}

#[test]
fn a_tenant_that_was_alone_for_long_does_not_pay_for_it_when_another_comes() {
    let mut busy = Busy::new();
    busy.submit(1, 10);
    busy.serve();
    // It decodes, and nobody else is there.
    busy.deficits.charge(1, 1_000_000);
    busy.submit(1, 10);
    busy.submit(2, 10);
    for _ in 0..300 {
        busy.submit(2, 10);
        busy.serve();
    }
    assert!(busy.served[&1] > 10, "the first waits until the second had a million tokens: {:?}", busy.served);
}

#[test]
fn a_tenant_that_sends_one_large_request_after_the_other_gets_no_more_than_its_share() {
    let mut busy = Busy::new();
    busy.submit(1, 5000);
    (0..100).for_each(|_| busy.submit(2, 100));
    for _ in 0..3000 {
        let next = busy.serve();
        // It leaves before it sends the next.
        busy.deficits.leave(next.tenant);
        busy.submit(next.tenant, next.n_tokens);
    }
    let (large, small) = (busy.served[&1], busy.served[&2]);
    assert!(large.abs_diff(small) < 2 * (5000 + QUANTUM as usize), "{large} tokens and {small}");
}

#[test]
fn priorities_and_times_at_their_ends_are_compared_without_overflow() {
    let (mut queue, mut deficits) = (Queue::default(), Deficits::default());
    for (id, class) in (1..).zip([i32::MAX, i32::MIN, 0]) {
        deficits.join(0);
        queue.push(waiting(id, 0, class, 0, usize::MAX >> 8));
    }
    let mut next =
        |now, aging| queue.next(now, aging, &mut deficits, &|_| true).expect("somebody waits").class;
    assert_eq!(next(0, 0), i32::MIN);
    assert_eq!(next(Micros::MAX, 0), i32::MIN, "all have risen equally");
    assert_eq!(next(Micros::MAX, Micros::MAX), i32::MIN);
}
