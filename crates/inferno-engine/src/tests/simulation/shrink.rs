//! The smallest world that a failing seed still fails in.

/// Parts of a world that can be left out. Draws that follow may differ then: a smaller world counts only if it fails too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Sequences that are cancelled, or have a deadline.
    Cancels,
    /// An engine that takes over the prefix cache of another.
    Restarts,
    Disk,
    /// Memory for pages that have left the pool.
    Away,
    Draft,
    /// Threads that compute masks.
    Threads,
    /// Stop conditions and grammars.
    Ends,
    /// Several choices of a request.
    Choices,
}

const PARTS: [Part; 8] = [
    Part::Cancels,
    Part::Restarts,
    Part::Disk,
    Part::Away,
    Part::Draft,
    Part::Threads,
    Part::Ends,
    Part::Choices,
];

/// A seed's world, without some of its parts and with its first requests only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Smaller {
    pub(super) without: Vec<Part>,
    pub(super) n_requests: usize,
}

impl Smaller {
    /// The whole world.
    pub(super) fn whole() -> Smaller {
        Smaller { without: Vec::new(), n_requests: usize::MAX }
    }

    pub(super) fn has(&self, part: Part) -> bool {
        !self.without.contains(&part)
    }

    /// As [`Smaller::to_string`] writes it: names of parts and a number, with commas.
    pub(super) fn parse(text: &str) -> Smaller {
        let mut smaller = Smaller::whole();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match PARTS.into_iter().find(|part| format!("{part:?}").eq_ignore_ascii_case(word)) {
                Some(part) => smaller.without.push(part),
                None => {
                    let n = word.parse();
                    smaller.n_requests =
                        n.unwrap_or_else(|_| panic!("{word} is not a part: one of {PARTS:?}"));
                }
            }
        }
        smaller
    }

    /// Leaves out what can be left out of the world of up to `n_requests` requests while it `fails`.
    pub(super) fn that_fails(n_requests: usize, fails: impl Fn(&Smaller) -> bool) -> Smaller {
        let mut found = Smaller::whole();
        for part in PARTS {
            found.without.push(part);
            if !fails(&found) {
                found.without.pop();
            }
        }
        let with = |n| Smaller { n_requests: n, ..found.clone() };
        (1..n_requests).map(with).find(fails).unwrap_or(found)
    }
}

impl std::fmt::Display for Smaller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words: Vec<String> =
            self.without.iter().map(|part| format!("{part:?}").to_lowercase()).collect();
        if self.n_requests != usize::MAX {
            words.push(self.n_requests.to_string());
        }
        f.write_str(&words.join(","))
    }
}

#[test]
fn a_world_that_fails_keeps_what_it_fails_for() {
    let found = Smaller::that_fails(9, |smaller| smaller.has(Part::Disk) && smaller.n_requests >= 3);
    assert_eq!(found.to_string(), "cancels,restarts,away,draft,threads,ends,choices,3");
    assert_eq!(Smaller::parse(&found.to_string()), found);
    let whole = Smaller::that_fails(9, |smaller| smaller == &Smaller::whole());
    assert_eq!((Smaller::parse(""), whole.to_string()), (whole, String::new()));
}
