//! Guessing from the text itself: the last few tokens often stood together earlier, and what followed them then may follow
//! now ("prompt lookup", as in <https://github.com/apoorvumang/prompt-lookup-decoding>).

/// Tokens that must match, and the most that are compared.
const MIN_MATCH: usize = 2;
const MAX_MATCH: usize = 8;
/// Tokens back in which a match is looked for.
const WINDOW: usize = 16 << 10;

/// Appends up to `max` drafts of what follows `tokens` to `out`. They cost next to nothing.
pub(super) fn draft(tokens: &[u32], max: usize, out: &mut Vec<u32>) {
    if let Some(start) = continuation(tokens) {
        out.extend_from_slice(&tokens[start..tokens.len().min(start + max)]);
    }
}

/// Where what followed the longest earlier occurrence of the last tokens begins; of equally long ones the latest.
fn continuation(tokens: &[u32]) -> Option<usize> {
    let n = tokens.len();
    let (&last, before) = tokens.split_last()?;
    let mut best = (MIN_MATCH - 1, None);
    for end in (n.saturating_sub(WINDOW)..n - 1).rev() {
        if tokens[end] != last {
            continue;
        }
        let earlier = tokens[..end].iter().rev();
        let length =
            1 + earlier.zip(before.iter().rev()).take(MAX_MATCH - 1).take_while(|(a, b)| a == b).count();
        if length > best.0 {
            best = (length, Some(end + 1));
            if length == MAX_MATCH {
                break;
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_longest_match_is_guessed() {
        assert_eq!(continuation(&[1, 2, 3, 9, 2, 3, 8, 1, 2, 3]), Some(3));
        assert_eq!(continuation(&[1, 2, 3, 7, 2, 3, 8, 4, 2, 3]), Some(6));
        assert_eq!(continuation(&[1, 2, 3, 4]), None);
        assert_eq!(continuation(&[5, 5, 5]), Some(2));
        assert_eq!(continuation(&[5]), None);
        assert_eq!(continuation(&[]), None);
    }
}
