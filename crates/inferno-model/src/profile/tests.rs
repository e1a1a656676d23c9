use inferno_format::DType;

use super::*;
use crate::backend::Source;
use crate::conformance::{Precision, Promise, check};
use crate::reference::Reference;

#[test]
fn a_profiled_backend_computes_what_the_other_does() {
    let profile = Profile::default();
    let bits = Promise { operations: Precision::Bits, attention: Precision::Bits };
    check(|| Profiled::new(Reference::default(), profile.clone()), bits, &[]);
    assert!(profile.take().iter().any(|t| t.op.name == "attend"));
}

#[test]
fn times_are_kept_by_operation_and_shape_until_they_are_taken() {
    let profile = Profile::default();
    let mut b = Profiled::new(Reference::default(), profile.clone());
    let (mut x, mut y, mut z) = (b.buffer(4).unwrap(), b.buffer(8).unwrap(), b.buffer(8).unwrap());
    let table: Vec<u8> = [1.0f32; 32].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = |rows, cols| HostTensor {
        name: "t".into(),
        dtype: DType::F32,
        n_experts: 1,
        rows,
        cols,
        source: Source::Memory(&table),
    };
    let (wide, narrow) = (b.upload(&tensor(8, 4)).unwrap(), b.upload(&tensor(4, 8)).unwrap());
    b.embed(&mut x, &wide, &[1, 2, 3], 1.0);
    b.matmul(&mut [&mut y], &[&wide], &x);
    b.matmul(&mut [&mut y, &mut z], &[&wide, &wide], &x);
    b.matmul(&mut [&mut y], &[&wide], &x);
    b.matmul(&mut [&mut x], &[&narrow], &y);
    let mut found: Vec<_> =
        profile.take().into_iter().map(|t| (t.op.name, t.op.shape, t.n_calls, t.flop)).collect();
    found.sort_by_key(|t| (t.0, t.1));
    assert_eq!(
        found,
        [
            ("embed", None, 1, 0.0),
            ("matmul", Some((4, 8)), 2, 384.0),
            ("matmul", Some((4, 16)), 1, 384.0),
            ("matmul", Some((8, 4)), 1, 192.0),
        ]
    );
    assert!(profile.take().is_empty());
}
