//! One step's work, in ids and numbers only: which tokens at which positions, where their keys and values
//! go, and what is wanted of each row.

use std::ops::Range;

use crate::sample::SampleSpec;

/// Positions per page of the KV pool.
pub const PAGE_LEN: usize = 32;

/// A page of the KV pool, within one cache group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageId(pub u32);

/// A place for one position's keys and values: page × [`PAGE_LEN`] + offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u32);

/// A sequence's pages in one cache group: consecutive ones, the last of which holds the sequence's last position. Pages
/// behind the group's window may be missing at the front, as no row reads them any more.
///
/// In a group of recurrent layers a page holds the state after the last position that was computed in it. Of a span's pages only
/// [two](Batch::states) are used, and a sequence whose earlier states are not needed may have one page under several numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageTable<'a> {
    /// `pages[0]` holds positions `first_page * PAGE_LEN ..`.
    pub first_page: usize,
    /// Page ids in ascending order of their positions.
    pub pages: &'a [PageId],
}

impl<'a> PageTable<'a> {
    /// The pages that hold positions `range.start * PAGE_LEN .. range.end * PAGE_LEN`.
    ///
    /// # Panics
    /// A page of the range is missing.
    pub fn range(&self, range: Range<usize>) -> &'a [PageId] {
        &self.pages[range.start - self.first_page..range.end - self.first_page]
    }

    /// The page after the last one, counted from position 0.
    pub fn end_page(&self) -> usize {
        self.first_page + self.pages.len()
    }
}

/// A table of all pages from position 0 on.
impl<'a, P: AsRef<[PageId]> + ?Sized> From<&'a P> for PageTable<'a> {
    fn from(pages: &'a P) -> PageTable<'a> {
        PageTable { first_page: 0, pages: pages.as_ref() }
    }
}

/// What a row is computed for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Want {
    /// Only its keys and values.
    Nothing,
    /// All logits.
    Logits,
    /// One token.
    Sample(SampleSpec),
}

/// The rows of one sequence: consecutive positions, starting anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its rows in the batch.
    pub rows: Range<usize>,
    /// Position of its first row.
    pub start: usize,
    /// Its page table of cache group 0 is this one of the batch's; those of the other groups follow.
    first_table: usize,
}

/// Rows of many sequences laid end to end: prompt chunks, decode rows and drafts alike.
///
/// ```text
/// tokens     a0 a1 a2 a3 | b9 | c4 c5        one row each
/// positions   0  1  2  3 |  9 |  4  5
/// spans      [----a-----)[-b-)[--c--)        one sequence each
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    wants: Vec<Want>,
    spans: Vec<Span>,
    /// Page tables of all spans end to end, and where each lies.
    pages: Vec<PageId>,
    tables: Vec<Table>,
}

/// A page table within [`Batch::pages`].
#[derive(Debug, Clone, PartialEq)]
struct Table {
    first_page: usize,
    pages: Range<usize>,
    /// The page that gets the state after the rows, where it is none of the table.
    state_after: Option<PageId>,
}

impl Batch {
    /// Removes everything; the memory stays.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.wants.clear();
        self.spans.clear();
        self.pages.clear();
        self.tables.clear();
    }

    /// Adds one sequence's rows: `tokens` at `start..`, of which the last one wants `want` and the others
    /// nothing. `tables` has a [`PageTable`] per cache group, or just its pages where none is missing. It covers all
    /// positions that the rows see in layers of the group, their own included.
    pub fn push<'a>(
        &mut self,
        tokens: &[u32],
        start: usize,
        tables: &[impl Into<PageTable<'a>> + Copy],
        want: Want,
    ) {
        self.push_span(tokens, start, tables);
        self.wants.resize(self.tokens.len() - 1, Want::Nothing);
        self.wants.push(want);
    }

    /// Adds one sequence's rows, each with a want of its own; otherwise as [`Batch::push`].
    pub fn push_each<'a>(
        &mut self,
        tokens: &[u32],
        start: usize,
        tables: &[impl Into<PageTable<'a>> + Copy],
        wants: &[Want],
    ) {
        assert_eq!(tokens.len(), wants.len(), "one want per row");
        self.push_span(tokens, start, tables);
        self.wants.extend_from_slice(wants);
    }

    /// Has `page` get the state after the rows of the sequence that was added last, in cache group `group`. The state before them stays
    /// as it is: if some of the rows turn out wrong, the sequence goes on from there.
    ///
    /// # Panics
    /// The batch is empty.
    pub fn set_state_after(&mut self, group: usize, page: PageId) {
        let span = self.spans.last().expect("a sequence was added");
        self.tables[span.first_table + group].state_after = Some(page);
    }

    /// Removes the sequences whose last row wants no sample.
    pub(crate) fn keep_sampled(&mut self) {
        let Batch { tokens, positions, wants, spans, .. } = self;
        let mut n = 0;
        spans.retain_mut(|span| {
            let rows = span.rows.clone();
            let is_kept = matches!(wants[rows.end - 1], Want::Sample(_));
            if is_kept {
                tokens.copy_within(rows.clone(), n);
                positions.copy_within(rows.clone(), n);
                wants.copy_within(rows.clone(), n);
                span.rows = n..n + rows.len();
                n += rows.len();
            }
            is_kept
        });
        tokens.truncate(n);
        positions.truncate(n);
        wants.truncate(n);
    }

    /// Makes every sequence's only row the one after it. Its token is not known yet.
    pub(crate) fn advance(&mut self) {
        for span in &mut self.spans {
            assert_eq!(span.rows.len(), 1, "sequences in a chain have a row each");
            span.start += 1;
        }
        self.positions.iter_mut().for_each(|position| *position += 1);
    }

    fn push_span<'a>(&mut self, tokens: &[u32], start: usize, tables: &[impl Into<PageTable<'a>> + Copy]) {
        assert!(!tokens.is_empty(), "a span has rows");
        let end = start + tokens.len();
        let first_row = self.tokens.len();
        let rows = first_row..first_row + tokens.len();
        self.spans.push(Span { rows, start, first_table: self.tables.len() });
        for &table in tables {
            let table: PageTable = table.into();
            let covers = table.first_page * PAGE_LEN..table.end_page() * PAGE_LEN;
            assert!(covers.start <= start && covers.end >= end, "the page table covers every row's position");
            self.tables.push(Table {
                first_page: table.first_page,
                pages: self.pages.len()..self.pages.len() + table.pages.len(),
                state_after: None,
            });
            self.pages.extend_from_slice(table.pages);
        }
        self.tokens.extend_from_slice(tokens);
        self.positions.extend((start..end).map(|p| u32::try_from(p).expect("positions fit u32")));
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.tokens.len()
    }

    /// (n_rows,)
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// (n_rows,)
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// (n_rows,)
    pub fn wants(&self) -> &[Want] {
        &self.wants
    }

    /// One per sequence, in row order.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The pages of `span` in cache group `group`.
    pub fn page_table(&self, span: &Span, group: usize) -> PageTable<'_> {
        let Table { first_page, pages, .. } = &self.tables[span.first_table + group];
        PageTable { first_page: *first_page, pages: &self.pages[pages.clone()] }
    }

    /// The page with the state before the first row of `span` in cache group `group`, `None` at the start of a sequence, and the
    /// page that gets the state after its last row.
    pub fn states(&self, span: &Span, group: usize) -> (Option<PageId>, PageId) {
        let table = self.page_table(span, group);
        let page = |position: usize| table.pages[position / PAGE_LEN - table.first_page];
        let after = self.tables[span.first_table + group].state_after;
        let after = after.unwrap_or_else(|| page(span.start + span.rows.len() - 1));
        (span.start.checked_sub(1).map(page), after)
    }

    /// Where position `position` of `span` lives in cache group `group`.
    pub fn slot(&self, span: &Span, group: usize, position: usize) -> Slot {
        let table = self.page_table(span, group);
        let page = table.pages[position / PAGE_LEN - table.first_page];
        Slot(page.0 * PAGE_LEN as u32 + (position % PAGE_LEN) as u32)
    }
}
