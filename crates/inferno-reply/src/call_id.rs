//! Ids of tool calls, where the model's format has none.

use inferno_text::CallIds;

/// Seed of the ids of one answer's calls: the same seed gives the same ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSeed(pub u64);

impl CallSeed {
    /// The seed of choice `choice_idx` of the answer.
    pub fn of_choice(self, choice_idx: u64) -> CallSeed {
        CallSeed(mix(self.0 ^ mix(choice_idx)))
    }

    /// The id of call `index`: `call_` and 24 letters or digits, or nine of them alone where the template demands it.
    pub(crate) fn id(self, index: u32, form: CallIds) -> String {
        let (mut id, n) = match form {
            CallIds::Any => ("call_".to_owned(), 24),
            CallIds::NineAlphanumeric => (String::new(), 9),
        };
        let first = mix(self.0 ^ mix(u64::from(index) << 32));
        id.extend((0..n).map(|i| {
            const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
            LETTERS[(mix(first.wrapping_add(i)) % 62) as usize] as char
        }));
        id
    }
}

/// A step of SplitMix64.
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_that_templates_demand_and_differ() {
        let seed = CallSeed(7);
        let all: Vec<String> = (0..4)
            .flat_map(|choice| (0..4).map(move |call| seed.of_choice(choice).id(call, CallIds::Any)))
            .collect();
        for id in &all {
            let rest = id.strip_prefix("call_").unwrap();
            assert!(rest.len() == 24 && rest.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
            assert_eq!(all.iter().filter(|other| *other == id).count(), 1, "{id}");
        }
        let short = seed.id(0, CallIds::NineAlphanumeric);
        assert!(short.len() == 9 && short.bytes().all(|b| b.is_ascii_alphanumeric()), "{short}");
        assert_eq!(seed.id(3, CallIds::Any), CallSeed(7).id(3, CallIds::Any));
    }
}
