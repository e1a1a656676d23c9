//! The tokenizer of a file, of whichever kind it is.

use inferno_format::Metadata;

use crate::bounds::{Bounds, Meter, Reach, Stopped, reserve};
use crate::bpe::Bpe;
use crate::error::{TokenizerError, printable};
use crate::special::{Part, Special, SpecialTokens};
use crate::split::{self, GEMMA4};
use crate::spm::Spm;
use crate::vocab::{FillTokens, Spelling, TokenKind, Vocab};

/// Turns text into token ids and back, as the model's file says. Cheap to share; nothing about it changes.
#[derive(Debug)]
pub struct Tokenizer {
    pub(crate) vocab: Vocab,
    pub(crate) special: SpecialTokens,
    pub(crate) reach: Reach,
    model: Model,
    add_bos: bool,
    add_eos: bool,
    pre_is_missing: bool,
}

#[derive(Debug)]
enum Model {
    Bpe(Box<Bpe>),
    Spm(Box<Spm>),
}

impl Tokenizer {
    /// Reads the `tokenizer.ggml` keys of a file.
    pub fn from_metadata(m: &Metadata) -> Result<Tokenizer, TokenizerError> {
        let name = m.str("tokenizer.ggml.model")?;
        let mut always_bos = false;
        let (vocab, model, default_add_bos) = match name {
            "gpt2" | GEMMA4 => {
                let pre = split::of_file(m, name)?;
                let mut vocab = Vocab::from_metadata(m, pre.spelling)?;
                let bpe = Bpe::from_metadata(m, pre, &mut vocab)?;
                always_bos = pre.always_bos;
                (vocab, Model::Bpe(Box::new(bpe)), pre.add_bos)
            }
            "llama" => {
                let mut vocab = Vocab::from_metadata(m, Spelling::Spaces)?;
                vocab.default_to_sentencepiece();
                let spm = Spm::from_metadata(m, &mut vocab)?;
                (vocab, Model::Spm(Box::new(spm)), true)
            }
            other => return Err(TokenizerError::UnsupportedModel { found: printable(other) }),
        };
        let special = SpecialTokens::new(&vocab, right_strip(m, &vocab))?;
        let reach = reach(&vocab, &model, &special);
        Ok(Tokenizer {
            special,
            reach,
            add_bos: (m.opt_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(default_add_bos) || always_bos)
                && vocab.bos.is_some(),
            add_eos: m.opt_bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false) && vocab.eos.is_some(),
            pre_is_missing: name == "gpt2" && m.get("tokenizer.ggml.pre").is_none(),
            vocab,
            model,
        })
    }

    /// The tokens of `text`. Nothing is added in front or behind, and nothing trimmed.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let parts = self.special.partition(text, special);
        let mut meter = Meter::new(Bounds::NONE);
        self.encode_parts(&parts, true, &mut meter, &mut ids);
        ids
    }

    /// The tokens of `text` behind a token of text: no space is put in front of it, as it is at the start of a text where
    /// [`adds_space_prefix`](Self::adds_space_prefix).
    pub fn encode_continuation(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let parts = self.special.partition(text, special);
        let mut meter = Meter::new(Bounds::NONE);
        self.encode_parts(&parts, false, &mut meter, &mut ids);
        ids
    }

    /// The tokens of a stranger's `text`, as [`encode`](Self::encode) has them, within `bounds`.
    ///
    /// # Errors
    /// The text has more tokens or a longer word than `bounds` allows, which is often known before any of it is encoded;
    /// or the encoding was cancelled, or has no memory.
    pub fn encode_within(
        &self,
        text: &str,
        special: Special,
        bounds: Bounds<'_>,
    ) -> Result<Vec<u32>, Stopped> {
        let mut meter = Meter::new(bounds);
        let mut ids = Vec::new();
        if self.begin(text.len(), || self.reach.least(text), &mut meter, &mut ids) {
            let parts = self.special.partition_within(text, special, &mut meter);
            self.encode_parts(&parts, true, &mut meter, &mut ids);
            meter.goes_on(ids.len());
        }
        meter.finish().map(|()| ids)
    }

    /// Checks what can be known of a text of `n_bytes` with `least` tokens, and makes room for those it may have.
    pub(crate) fn begin(
        &self,
        n_bytes: usize,
        least: impl FnOnce() -> usize,
        meter: &mut Meter<'_>,
        ids: &mut Vec<u32>,
    ) -> bool {
        let most = meter.left(0);
        if n_bytes > most {
            let at_least = least();
            if at_least > most {
                return meter.stop(Stopped::TooMany { at_least });
            }
        }
        // Most texts have three bytes a token or more.
        reserve(ids, (n_bytes / 3).min(most.saturating_add(1)), meter) && meter.goes_on(0)
    }

    /// Appends the tokens of `parts`, or as many as `meter` lets through. `is_start`: they are at the start of a text.
    pub(crate) fn encode_parts(
        &self,
        parts: &[Part<'_>],
        mut is_start: bool,
        meter: &mut Meter<'_>,
        ids: &mut Vec<u32>,
    ) {
        let vocab = (&self.vocab, &self.reach);
        for part in parts {
            if !meter.goes_on(ids.len()) {
                return;
            }
            match *part {
                Part::Token(id) => ids.push(id),
                Part::Text(text) => match &self.model {
                    Model::Bpe(bpe) => bpe.encode(vocab, text, meter, ids),
                    Model::Spm(spm) => spm.encode(vocab, (text, is_start), meter, ids),
                },
            }
            is_start = matches!(part, Part::Token(_));
        }
    }

    /// The bytes that `ids` stand for as a text of their own: the space that encoding puts in front of such a text is
    /// taken away again. Control tokens stand for what they are called.
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>, TokenizerError> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        let mut is_start = true;
        for &id in ids {
            let piece =
                self.piece(id).ok_or(TokenizerError::UnknownId { id, vocab_size: self.vocab_size() })?;
            bytes.extend_from_slice(self.without_prefix(piece, is_start));
            is_start = self.is_special(id);
        }
        Ok(bytes)
    }

    /// The bytes a token stands for. It need not be UTF-8: a character may be spread over several tokens.
    pub fn piece(&self, id: u32) -> Option<&[u8]> {
        self.vocab.pieces.get(id)
    }

    /// The token as the file spells it.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.vocab.texts.get(id).and_then(|text| std::str::from_utf8(text).ok())
    }

    /// What a token is; `None` if there is no such token.
    pub fn token_kind(&self, id: u32) -> Option<TokenKind> {
        self.vocab.kind(id)
    }

    /// How many tokens there are. Ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// The token that starts a text.
    pub fn bos(&self) -> Option<u32> {
        self.vocab.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.vocab.eos
    }

    /// The token that ends a turn, where the file names one.
    pub fn eot(&self) -> Option<u32> {
        self.vocab.eot
    }

    /// The token that ends a message within a turn, where the file names one.
    pub fn eom(&self) -> Option<u32> {
        self.vocab.eom
    }

    /// The token that stands for what the vocabulary cannot say.
    pub fn unknown(&self) -> Option<u32> {
        self.vocab.unknown
    }

    /// Whether the model wants [`bos`](Self::bos) in front of a prompt. If so, there is one.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether the model wants [`eos`](Self::eos) behind a text. If so, there is one.
    pub fn add_eos(&self) -> bool {
        self.add_eos
    }

    /// All tokens at which generation is over, ascending: the end of a text, a turn or a call.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.vocab.ends
    }

    /// Tokens for completion between a prefix and a suffix.
    pub fn fill_tokens(&self) -> FillTokens {
        self.vocab.fill
    }

    /// Tokens that the file says are never to be generated, in its order.
    pub fn suppressed(&self) -> &[u32] {
        &self.vocab.suppressed
    }

    /// True if the file does not say how text is cut into words (`tokenizer.ggml.pre`), so that a default had to
    /// do: the model's answers may be worse than they could be.
    pub fn pre_tokenizer_is_missing(&self) -> bool {
        self.pre_is_missing
    }

    /// Whether it is SentencePiece's, with a score for every token, and not merges of bytes.
    pub fn is_sentencepiece(&self) -> bool {
        matches!(self.model, Model::Spm(_))
    }

    /// Whether encoding puts a space in front of a text.
    pub fn adds_space_prefix(&self) -> bool {
        matches!(&self.model, Model::Spm(spm) if spm.add_space_prefix)
    }

    /// Whether encoding text after this token puts a space in front of it, as at the start of a text.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        use TokenKind::{Control, Unknown, UserDefined};
        matches!(self.vocab.kind(id), Some(Control | Unknown | UserDefined))
    }

    /// A piece less the space that was put in front of it, if it was.
    pub(crate) fn without_prefix<'p>(&self, piece: &'p [u8], is_start: bool) -> &'p [u8] {
        let prefixed = is_start && self.adds_space_prefix();
        piece.strip_prefix(b" ").filter(|_| prefixed).unwrap_or(piece)
    }
}

/// Fewest tokens that can cover a text.
fn reach(vocab: &Vocab, model: &Model, special: &SpecialTokens) -> Reach {
    // Special tokens cover their names, others what they stand for.
    let texts = vocab.ids().flat_map(|id| [vocab.pieces.get(id), vocab.texts.get(id)]).flatten();
    let mut reach = Reach::new(texts);
    match model {
        Model::Bpe(bpe) => bpe.limit(&mut reach),
        Model::Spm(spm) => spm.limit(vocab, &mut reach),
    }
    if special.strips_any() {
        reach.blind();
    }
    reach
}

/// Phi-3 drops white space after its special tokens, which only its name tells.
fn right_strip(m: &Metadata, vocab: &Vocab) -> impl Fn(u32) -> bool {
    let name = m.opt_str("general.name").ok().flatten().unwrap_or_default().to_ascii_lowercase();
    let is_phi3 = name.contains("phi-3") || name.contains("phi3");
    move |id| is_phi3 && !matches!(vocab.texts.get(id), Some(b"<unk>" | b"<s>" | b"<|endoftext|>"))
}
