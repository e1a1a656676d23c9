use super::*;

/// How many slots in a row are taken, at most: what a search may have to look at.
fn longest_run(map: &TextMap) -> usize {
    map.slots.split(|&(_, taken)| taken == FREE).map(<[_]>::len).max().unwrap_or(0)
}

/// Now and then a key is an unlucky one; what collides without a key does so under all of them.
const N_KEYS: usize = 4;

fn map_of(all: impl Iterator<Item = Vec<u8>>) -> (Texts, TextMap) {
    let mut texts = Texts::default();
    all.for_each(|text| texts.push(&text));
    let map = TextMap::new(&texts, 0..texts.len() as u32);
    (texts, map)
}

#[test]
fn strings_made_to_collide_do_not() {
    const N: u64 = 50_000;
    // Each of these collides under some fast hash without a key: strings that start with a constant of pi, long ones
    // of which a chunk ends with another, ones whose two ends are the same, and ones that differ in high bits alone.
    let (first, third) = (0x243f_6a88_85a3_08d3_u64.to_le_bytes(), 0xa409_3822_299f_31d0_u64.to_le_bytes());
    let crafted: [&dyn Fn(u64) -> Vec<u8>; 4] = [
        &|i| [first, i.to_le_bytes()].concat(),
        &|i| [i.to_le_bytes(), third, [7; 8], [9; 8]].concat(),
        &|i| [i.to_le_bytes(), i.to_le_bytes()].concat(),
        &|i| (i << 40).to_le_bytes().to_vec(),
    ];
    for (which, make) in crafted.iter().enumerate() {
        let run = |_| {
            let (texts, map) = map_of((0..N).map(make));
            assert!((0..N).all(|i| map.get(&texts, &make(i)) == Some(i as u32)));
            longest_run(&map)
        };
        assert!((0..N_KEYS).map(run).any(|run| run < 200), "{which}");
    }
}

#[test]
fn strings_of_every_length_are_found() {
    let make = |i: usize| (0..i / 3).map(|at| (at * 7 + i) as u8).collect::<Vec<u8>>();
    let (texts, map) = map_of((0..300).map(make));
    for i in 0..300 {
        let id = map.get(&texts, &make(i)).unwrap();
        assert_eq!(make(id as usize), make(i));
    }
    assert_eq!(map.get(&texts, b"none of them"), None);
}

#[test]
fn pairs_of_ids_made_to_collide_do_not() {
    // What any fixed odd factor maps to the same bucket: multiples of its inverse times a small number.
    const FACTOR: u64 = 0xf135_7aea_2e62_a9c5;
    let mut inverse = FACTOR;
    for _ in 0..6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(FACTOR.wrapping_mul(inverse)));
    }
    let crafted: [&dyn Fn(u64) -> u64; 3] = [&|i| i << 32, &|i| i << 32 | i, &|i| i.wrapping_mul(inverse)];
    for make in crafted {
        let fullest = |_| {
            let key = RandomState::default();
            let mut buckets = vec![0; 1 << 14];
            (0..1 << 14).for_each(|i| buckets[(key.hash_one(make(i)) & 0x3fff) as usize] += 1);
            buckets.into_iter().max().unwrap()
        };
        assert!((0..N_KEYS).map(fullest).any(|n: usize| n < 40));
    }
}
