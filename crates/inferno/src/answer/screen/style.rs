//! Attributes of characters on a terminal.

use std::ops::BitOr;

/// Attributes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Style(u8);

impl Style {
    pub(crate) const BOLD: Style = Style(1);
    pub(crate) const DIM: Style = Style(2);
    pub(crate) const CODE: Style = Style(4);
    /// Of Markdown's own characters.
    pub(crate) const MARK: Style = Style::DIM;

    /// Sets exactly this style, whatever was set before.
    pub(crate) fn sequence(self) -> String {
        let mut sequence = "\x1b[0".to_owned();
        for (style, code) in [(Style::BOLD, ";1"), (Style::DIM, ";2"), (Style::CODE, ";36")] {
            if self.0 & style.0 != 0 {
                sequence += code;
            }
        }
        sequence + "m"
    }
}

impl BitOr for Style {
    type Output = Style;

    fn bitor(self, other: Style) -> Style {
        Style(self.0 | other.0)
    }
}
