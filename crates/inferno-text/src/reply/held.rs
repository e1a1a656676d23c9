//! The part of an answer that is held back, and the places at which pieces end.

use super::{Piece, PieceKind};

/// The answer's text that no piece has yet, and where pieces end.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Text from `base` on.
    pub(super) text: String,
    /// Bytes of the answer before `text`.
    base: usize,
    /// End of the last piece, in bytes of the answer.
    told: usize,
    /// Pieces that were there before this push: they are not added to.
    n_pieces: usize,
}

impl Held {
    pub(super) fn begin(&mut self, text: &str, pieces: &[Piece]) {
        self.text.push_str(text);
        self.n_pieces = pieces.len();
    }

    /// Appends a piece that ends at byte `end` of `self.text`, or adds to the last one.
    pub(super) fn tell(&mut self, kind: PieceKind, text: &str, end: usize, pieces: &mut Vec<Piece>) {
        let end = self.base + end;
        if text.is_empty() && end == self.told {
            return;
        }
        let is_new = pieces.len() > self.n_pieces;
        match pieces.last_mut().filter(|piece| is_new && piece.kind == kind) {
            Some(piece) => {
                piece.text.push_str(text);
                piece.source.end = end;
            }
            None => pieces.push(Piece { kind, text: text.to_owned(), source: self.told..end }),
        }
        self.told = end;
    }

    /// Appends a piece of the text from byte `start` to `end`.
    pub(super) fn tell_text(&mut self, kind: PieceKind, start: usize, end: usize, pieces: &mut Vec<Piece>) {
        let text = self.text[start..end].to_owned();
        self.tell(kind, &text, end, pieces);
    }

    /// Forgets the first `n` bytes.
    pub(super) fn forget(&mut self, n: usize) {
        self.text.drain(..n);
        self.base += n;
    }
}
