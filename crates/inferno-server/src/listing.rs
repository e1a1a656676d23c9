//! Answers of `/tokenize` and `/detokenize`, written while they are sent: however long, they take the memory of a few
//! pieces beside their tokens.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use inferno_text::{ControlTokens, Detokenizer, Tokenizer};
use serde::Serialize;

use crate::room::Share;

/// Bytes of a piece, about.
const PIECE: usize = 16 << 10;

/// One part of an answer.
pub(crate) enum Part {
    /// JSON as it is.
    Fixed(String),
    /// The tokens, with commas between them.
    Tokens(Shape),
    /// The text of the tokens, inside of a JSON string.
    Text,
}

/// A token in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Its id.
    Id,
    /// llama.cpp's object of id and text.
    Piece,
    /// Its text, as vLLM has it.
    String,
}

/// An answer about tokens.
pub(crate) struct Listing {
    tokenizer: Arc<Tokenizer>,
    tokens: Vec<u32>,
    /// In reverse.
    parts: Vec<Part>,
    /// Tokens of the part that are written.
    n_done: usize,
    detokenizer: Detokenizer<Arc<Tokenizer>>,
    _share: Share,
}

impl Listing {
    /// An answer of `parts` about `tokens`, whose ids are of the vocabulary. `share` counts the tokens.
    pub(crate) fn response(
        tokenizer: &Arc<Tokenizer>,
        tokens: Vec<u32>,
        mut parts: Vec<Part>,
        share: Share,
    ) -> Response {
        parts.reverse();
        let detokenizer = Detokenizer::new(Arc::clone(tokenizer), ControlTokens::Shown);
        let tokenizer = Arc::clone(tokenizer);
        let mut listing = Listing { tokenizer, tokens, parts, n_done: 0, detokenizer, _share: share };
        // A short answer has a length.
        let first = listing.next_piece().unwrap_or_default();
        let mut response = match listing.parts.is_empty() {
            true => Response::new(Body::from(first)),
            false => Response::new(Body::new(Pieces { first: Some(first), has_yielded: true, listing })),
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// The next piece; `None` at the end.
    fn next_piece(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(PIECE + 1024);
        while out.len() < PIECE
            && let Some(part) = self.parts.pop()
        {
            let is_done = match &part {
                Part::Fixed(text) => {
                    out.extend_from_slice(text.as_bytes());
                    true
                }
                &Part::Tokens(shape) => self.write_tokens(shape, &mut out),
                Part::Text => self.write_text(&mut out),
            };
            if is_done {
                self.n_done = 0;
            } else {
                self.parts.push(part);
            }
        }
        (!out.is_empty()).then(|| out.into())
    }

    /// Writes tokens; true at the end of them.
    fn write_tokens(&mut self, shape: Shape, out: &mut Vec<u8>) -> bool {
        while let Some(&id) = self.tokens.get(self.n_done) {
            if out.len() >= PIECE {
                return false;
            }
            if self.n_done > 0 {
                out.push(b',');
            }
            self.n_done += 1;
            let bytes = self.tokenizer.piece(id).unwrap_or_default();
            match shape {
                Shape::Id => write(out, &id),
                Shape::Piece => {
                    let piece = std::str::from_utf8(bytes).map_or(PieceText::Bytes(bytes), PieceText::Text);
                    write(out, &Piece { id, piece });
                }
                Shape::String => write(out, &String::from_utf8_lossy(bytes)),
            }
        }
        true
    }

    /// Writes text; true at the end of it.
    fn write_text(&mut self, out: &mut Vec<u8>) -> bool {
        let mut text = String::new();
        while let Some(&id) = self.tokens.get(self.n_done) {
            if out.len() + text.len() >= PIECE {
                write_inside(out, &text);
                return false;
            }
            self.n_done += 1;
            self.detokenizer.push_to(id, &mut text).expect("the tokens are of the vocabulary");
        }
        let fresh = Detokenizer::new(Arc::clone(&self.tokenizer), ControlTokens::Shown);
        text.push_str(&std::mem::replace(&mut self.detokenizer, fresh).finish());
        write_inside(out, &text);
        true
    }
}

fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("it is JSON");
}

/// Writes `text` as a JSON string without its quotes.
fn write_inside(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    write(out, &text);
    out.pop();
    out.remove(start);
}

#[derive(Serialize)]
struct Piece<'a> {
    id: u32,
    piece: PieceText<'a>,
}

/// A token's text, or its bytes if they are no text.
#[derive(Serialize)]
#[serde(untagged)]
enum PieceText<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// The body of a long answer. Between two pieces it lets others go first.
struct Pieces {
    first: Option<Bytes>,
    has_yielded: bool,
    listing: Listing,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !std::mem::replace(&mut self.has_yielded, false) {
            self.has_yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.first.take().or_else(|| self.listing.next_piece());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}
