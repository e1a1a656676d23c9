//! What is measured, and the pages it takes.

use std::ops::Range;

use anyhow::{Result, bail, ensure};
use inferno_model::architecture::{Architecture, CacheGroup, CacheKind};
use inferno_model::batch::{PAGE_LEN, PageId};

use crate::cli;

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Work {
    /// A prompt of so many tokens, to its last row's logits.
    Prompt { n_tokens: usize },
    /// So many steps of one row per sequence; each sequence has `depth` positions already.
    Decode { n_steps: usize, depth: usize, n_sequences: usize },
}

/// A measurement and the page tables of its sequences. Positions up to the depth are computed once, so pages with
/// such positions belong to one measurement; the others are shared.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::commands) struct Item {
    pub(in crate::commands) work: Work,
    /// By sequence, in each cache group with keys and values.
    pub(in crate::commands) tables: Vec<Vec<PageId>>,
    /// By sequence the page of its state, in each cache group of recurrent layers.
    pub(in crate::commands) states: Vec<PageId>,
}

/// All measurements, in the order of a repeat.
#[derive(Debug)]
pub(in crate::commands) struct Plan {
    pub(in crate::commands) items: Vec<Item>,
    n_pages: usize,
    n_states: usize,
}

impl Work {
    pub(in crate::commands) fn name(self) -> String {
        match self {
            Work::Prompt { n_tokens } => format!("prompt {n_tokens}"),
            Work::Decode { n_steps, depth, n_sequences } => {
                let depth = if depth > 0 { format!(" at {depth}") } else { String::new() };
                let by = if n_sequences > 1 { format!(" × {n_sequences}") } else { String::new() };
                format!("decode {n_steps}{depth}{by}")
            }
        }
    }

    /// Tokens that count for tokens per second.
    pub(in crate::commands) fn n_tokens(self) -> usize {
        match self {
            Work::Prompt { n_tokens } => n_tokens,
            Work::Decode { n_steps, n_sequences, .. } => n_steps * n_sequences,
        }
    }

    /// Positions each sequence ends with.
    pub(in crate::commands) fn n_positions(self) -> usize {
        match self {
            Work::Prompt { n_tokens } => n_tokens,
            Work::Decode { n_steps, depth, .. } => depth + n_steps,
        }
    }

    pub(in crate::commands) fn n_sequences(self) -> usize {
        match self {
            Work::Prompt { .. } => 1,
            Work::Decode { n_sequences, .. } => n_sequences,
        }
    }

    pub(in crate::commands) fn depth(self) -> usize {
        match self {
            Work::Prompt { .. } => 0,
            Work::Decode { depth, .. } => depth,
        }
    }
}

impl Plan {
    /// What the arguments ask for: every prompt, then every decode at every depth with every number of sequences.
    /// A length of 0 is none.
    pub(in crate::commands) fn new(args: &cli::Bench, context_len: usize) -> Result<Plan> {
        let prompts = args.prompt.iter().map(|&n_tokens| Work::Prompt { n_tokens });
        let mut works: Vec<Work> = prompts.collect();
        for &n_steps in &args.decode {
            for &depth in &args.depth {
                for &n_sequences in &args.sequences {
                    ensure!(n_sequences > 0, "a step of 0 sequences has nothing to measure");
                    works.push(Work::Decode { n_steps, depth, n_sequences });
                }
            }
        }
        works.retain(|work| work.n_tokens() > 0);
        ensure!(!works.is_empty(), "there is nothing to measure: no prompt and no decode has a length");
        for (i, work) in works.iter().enumerate() {
            if works[..i].contains(work) {
                bail!("`{}` is asked for twice", work.name());
            }
            ensure!(
                work.n_positions() <= context_len,
                "`{}` takes {} positions, and the model's context is {context_len}",
                work.name(),
                work.n_positions()
            );
        }
        Ok(Plan::of(&works))
    }

    pub(in crate::commands) fn of(works: &[Work]) -> Plan {
        let pages_each = |work: Work| work.n_positions().div_ceil(PAGE_LEN);
        let n_pages = |work: Work| pages_each(work) * work.n_sequences();
        // pages:  [ shared by all that start at 0 ) [ of one with a depth ) [ of the next ) ...
        let shared = |number: &dyn Fn(Work) -> usize| {
            works.iter().filter(|w| w.depth() == 0).map(|&w| number(w)).max().unwrap_or(0)
        };
        let (mut end, mut states_end) = (shared(&n_pages), shared(&Work::n_sequences));
        let items = works.iter().map(|&work| {
            let (first, first_state) = if work.depth() == 0 { (0, 0) } else { (end, states_end) };
            end = end.max(first + n_pages(work));
            states_end = states_end.max(first_state + work.n_sequences());
            let each = pages_each(work);
            let pages = |range: Range<usize>| range.map(|p| PageId(p as u32)).collect::<Vec<PageId>>();
            let table = |s: usize| pages(first + s * each..first + (s + 1) * each);
            let states = pages(first_state..first_state + work.n_sequences());
            Item { work, tables: (0..work.n_sequences()).map(table).collect(), states }
        });
        Plan { items: items.collect(), n_pages: end, n_states: states_end }
    }

    /// Pages of every cache group, at least `least`.
    pub(in crate::commands) fn n_pages(&self, arch: &Architecture, least: usize) -> Vec<usize> {
        let of = |group: &CacheGroup| match group.kind {
            CacheKind::Pages { .. } | CacheKind::Latent { .. } => self.n_pages,
            CacheKind::State { .. } => self.n_states,
        };
        arch.cache_groups.iter().map(|group| of(group).max(least)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_starts_at_zero_shares_pages() {
        let decode = |depth, n_sequences| Work::Decode { n_steps: 10, depth, n_sequences };
        let plan = Plan::of(&[Work::Prompt { n_tokens: 33 }, decode(0, 3), decode(30, 2), decode(1, 1)]);
        let tables: Vec<Vec<Vec<u32>>> = plan
            .items
            .iter()
            .map(|i| i.tables.iter().map(|t| t.iter().map(|p| p.0).collect()).collect())
            .collect();
        assert_eq!(
            tables,
            [vec![vec![0, 1]], vec![vec![0], vec![1], vec![2]], vec![vec![3, 4], vec![5, 6]], vec![vec![7]]]
        );
        let states: Vec<Vec<u32>> =
            plan.items.iter().map(|item| item.states.iter().map(|page| page.0).collect()).collect();
        assert_eq!(states, [vec![0], vec![0, 1, 2], vec![3, 4], vec![5]]);
        assert_eq!((plan.n_pages, plan.n_states), (8, 6));
        let names: Vec<String> = plan.items.iter().map(|i| i.work.name()).collect();
        assert_eq!(names, ["prompt 33", "decode 10 × 3", "decode 10 at 30 × 2", "decode 10 at 1"]);
    }
}
