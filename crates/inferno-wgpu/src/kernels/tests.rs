//! Every kernel is valid WGSL and can be had in the languages of Metal and Vulkan.

use std::collections::HashSet;

use inferno_format::DType;
use inferno_model::backend::KvType;
use naga::back::{msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::params::{Member, Type};
use super::source::Source;
use super::*;
use crate::device::{GROUP_BYTES, IMMEDIATE_BYTES, MATRIX_BYTES};
use crate::recorder::MOST_BUFFERS;

/// Compares a struct of a module with ours: names, order, offsets and types; its bytes.
fn check_members(
    module: &naga::Module,
    of: naga::Handle<naga::Type>,
    members: &[Member],
    kernel: &str,
) -> u32 {
    let naga::TypeInner::Struct { members: found, span } = &module.types[of].inner else {
        panic!("{kernel}: parameters are a struct")
    };
    let places = |m: &naga::StructMember| (m.name.clone().unwrap(), m.offset as usize);
    let expected: Vec<_> = members.iter().map(|m| (m.name.to_owned(), m.offset)).collect();
    assert_eq!(found.iter().map(places).collect::<Vec<_>>(), expected, "{kernel}");
    let mut end = 0;
    for (found, member) in found.iter().zip(members) {
        end = found.offset
            + match (&module.types[found.ty].inner, member.of) {
                (naga::TypeInner::Scalar(naga::Scalar::U32), Type::U32) => 4,
                (naga::TypeInner::Scalar(naga::Scalar::F32), Type::F32) => 4,
                (naga::TypeInner::Struct { .. }, Type::Struct(members)) => {
                    check_members(module, found.ty, members, kernel)
                }
                (other, expected) => panic!("{kernel}: `{}` is {other:?}, not {expected:?}", member.name),
            };
    }
    assert_eq!(end, *span, "{kernel}: bytes of parameters");
    end
}

fn all() -> Vec<Kernel> {
    let mut all = vec![
        Kernel::RmsNorm,
        Kernel::Quantize,
        Kernel::Add(false),
        Kernel::Add(true),
        Kernel::AddBias,
        Kernel::HeadNorm,
        Kernel::Rope,
        Kernel::JoinHeads,
        Kernel::AttendMerge(80, false),
        Kernel::AttendMerge(80, true),
        Kernel::AttendMerge(128, false),
        Kernel::AttendMerge(128, true),
        Kernel::Glu(Glu::Gated),
        Kernel::Glu(Glu::Alone),
        Kernel::Glu(Glu::Biased),
        Kernel::SigmoidGate,
        Kernel::Route(false, false),
        Kernel::Route(false, true),
        Kernel::Route(true, false),
        Kernel::Route(true, true),
        Kernel::Combine(false),
        Kernel::Combine(true),
        Kernel::TakeRows,
        Kernel::Scale,
        Kernel::ScaleRows,
        Kernel::TakeColumns,
        Kernel::Softcap,
        Kernel::CausalConv(1, false),
        Kernel::CausalConv(4, true),
        Kernel::CausalConv(16, false),
        Kernel::DeltaPrepare,
        Kernel::DeltaRule(7),
        Kernel::DeltaRule(128),
        Kernel::DeltaRule(512),
        Kernel::SsmSteps,
        Kernel::SsmScan(128, 64),
        Kernel::SsmScan(1, 16),
        Kernel::SsmScan(1023, 32),
        Kernel::CheckHalves,
        Kernel::Choose,
        Kernel::ChooseFromAll,
        Kernel::Group(1),
        Kernel::Group(8),
    ];
    for layout in DType::ALL.iter().filter_map(|&dtype| Layout::of(dtype)) {
        all.extend([Kernel::Embed(layout), Kernel::EmbedChosen(layout)]);
        for dot in [Dot::Packed, Dot::Floats] {
            let few = |threads| Few { threads, in_flight: threads / 64 + 1, dot };
            all.extend([1, 8].map(|rows| Kernel::MatmulChosen(layout, rows, few(64))));
            all.extend([1, 8].map(|rows| Kernel::MatmulHeads(layout, rows, few(64))));
            all.extend([1, 2, 4, 8, 16].map(|rows| Kernel::MatmulFew(layout, rows, few(16 * rows), 1)));
            for prepared in [Prepared::Gates(Glu::Gated), Prepared::Gates(Glu::Alone), Prepared::Row] {
                all.push(Kernel::MatmulPrepared(layout, few(128), 1, prepared, 7));
            }
            for n in [1, 2, 3] {
                all.push(Kernel::MatmulPrepared(layout, few(256), n, Prepared::Norm, 100));
                all.push(Kernel::MatmulFew(layout, 1, few(256), n));
                let tiles = [Tile::Large, Tile::Small];
                all.extend(tiles.map(|tile| Kernel::MatmulMany(layout, Many::Dots(dot, tile), n)));
            }
        }
        if let Layout::Integers(_) = layout {
            all.extend([8, 16].map(|size| Kernel::MatmulMany(layout, Many::Matrices(size), 1)));
            all.push(Kernel::MatmulMany(layout, Many::Matrices(16), 3));
        }
    }
    for kv_type in KvType::ALL {
        let same = [7, 64, 128, 256, 512].map(|width| [width; 2]);
        for [key_width, value_width] in same.into_iter().chain([[24, 16], [192, 128], [7, 40], [576, 512]]) {
            let kv = KvLayout { kv_type, key_width, value_width, is_latent: false };
            all.push(Kernel::StoreKv(kv));
            all.extend([false, true].map(|is_normed| Kernel::Heads(kv, is_normed)));
            for n in queries(kv) {
                let wholes = [false, true].map(|has_sinks| Sums::Whole { has_sinks });
                for sums in wholes.into_iter().chain([Sums::Parts]) {
                    let own = [false, true].map(|is_normed| Heads::Own { is_normed });
                    let heads = own.into_iter().chain([Heads::Stored]);
                    for heads in heads {
                        all.push(Kernel::Attend(kv, n, heads, sums));
                        if attends_by_matrices(kv) && n == queries(kv)[0] {
                            all.extend([8, 16].map(|size| Kernel::AttendMatrices(kv, size, heads, sums)));
                        }
                    }
                }
            }
        }
        for [key_width, value_width] in [[8, 16], [6, 18], [64, 512]] {
            let kv = KvLayout { kv_type, key_width, value_width, is_latent: true };
            for n in queries(kv) {
                let sums = [Sums::Whole { has_sinks: false }, Sums::Parts];
                all.extend(sums.map(|sums| Kernel::Attend(kv, n, Heads::Stored, sums)));
            }
        }
    }
    // Types share layouts, and tiles of wide heads are of one size.
    let mut seen = HashSet::new();
    all.retain(|kernel| seen.insert(*kernel));
    all
}

#[test]
fn every_type_that_can_be_computed_with_has_a_layout() {
    for &dtype in DType::ALL {
        assert_eq!(Layout::of(dtype).is_some(), dtype.can_dequantize(), "{dtype}");
    }
}

#[test]
fn every_kernel_is_valid_and_translates() {
    let by_device = all().into_iter().map(|kernel| (kernel, Halves::ByDevice));
    // One kernel stands for all: two functions differ.
    for (kernel, halves) in by_device.chain([(Kernel::CheckHalves, Halves::ByBits)]) {
        let Source { wgsl, bindings, members, .. } = kernel.source(halves);
        let module = naga::front::wgsl::parse_str(&wgsl)
            .unwrap_or_else(|e| panic!("{kernel:?}:\n{}", e.emit_to_string(&wgsl)));
        let mut capabilities = Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        let has_matrices =
            matches!(kernel, Kernel::MatmulMany(_, Many::Matrices(_), _) | Kernel::AttendMatrices(..));
        if has_matrices {
            capabilities |=
                Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP;
            // Arithmetic across a subgroup beside matrices crashes a driver: `subgroupAdd` and the like.
            let mut words = wgsl.split("subgroup").skip(1);
            assert!(words.all(|rest| !rest.starts_with(char::is_uppercase)), "{kernel:?}");
        }
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        let info = validator
            .validate(&module)
            .unwrap_or_else(|e| panic!("{kernel:?}:\n{}", e.emit_to_string(&wgsl)));

        // The buffers are those that dispatches bind.
        let mut bound = 0;
        for (_, variable) in module.global_variables.iter() {
            if let naga::AddressSpace::Storage { access } = variable.space {
                let binding = variable.binding.expect("a buffer is bound").binding;
                bound += 1;
                assert!(binding < u32::from(bindings.n), "{kernel:?}");
                let is_written = access.contains(naga::StorageAccess::STORE);
                assert_eq!(bindings.is_written(binding as usize), is_written, "{kernel:?}: buffer {binding}");
            }
        }
        assert_eq!(bound, bindings.n, "{kernel:?}");
        assert!(usize::from(bound) <= MOST_BUFFERS, "{kernel:?}: {bound} buffers");
        let shared = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
        let n_bytes: u32 = shared.map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx())).sum();
        let most = if has_matrices { MATRIX_BYTES } else { GROUP_BYTES };
        assert!(n_bytes <= most, "{kernel:?}: {n_bytes} bytes in a workgroup");

        // The parameters are those that dispatches give.
        let immediates = module.global_variables.iter().map(|(_, variable)| variable);
        match immediates.filter(|v| v.space == naga::AddressSpace::Immediate).collect::<Vec<_>>()[..] {
            [] => assert!(members.is_empty(), "{kernel:?} has no parameters"),
            [params] => {
                let size = check_members(&module, params.ty, members, &format!("{kernel:?}"));
                assert!(size <= IMMEDIATE_BYTES, "{kernel:?}: {size} bytes of parameters");
            }
            ref more => panic!("{kernel:?}: {more:?}"),
        }

        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        spv::write_vec(&module, &info, &options, None).unwrap_or_else(|e| panic!("{kernel:?}: SPIR-V: {e}"));

        let resources = (0..bindings.n)
            .map(|binding| {
                let target = msl::BindTarget { buffer: Some(binding), mutable: true, ..Default::default() };
                (naga::ResourceBinding { group: 0, binding: binding.into() }, target)
            })
            .collect();
        let entry = msl::EntryPointResources {
            resources,
            immediates_buffer: Some(bindings.n),
            sizes_buffer: Some(bindings.n + 1),
        };
        let options = msl::Options {
            lang_version: (2, 4),
            per_entry_point_map: [("main".to_owned(), entry)].into(),
            ..Default::default()
        };
        let text = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
            .unwrap_or_else(|e| panic!("{kernel:?}: MSL: {e}"));
        assert!(text.0.contains("kernel void"), "{kernel:?}");
    }
}
