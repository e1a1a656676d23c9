//! Parameters of kernels: the struct `Params` of each one's WGSL, member by member. What they mean is said there.

use inferno_model::architecture::{self, Xielu};

/// A member of a kernel's parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    /// Bytes before it.
    pub(crate) offset: usize,
    pub(crate) of: Type,
}

/// The type of a member.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Type {
    U32,
    F32,
    Struct(&'static [Member]),
}

/// A type that a member may have.
pub(crate) trait Typed {
    const TYPE: Type;
}

impl Typed for u32 {
    const TYPE: Type = Type::U32;
}

impl Typed for f32 {
    const TYPE: Type = Type::F32;
}

/// Parameters of a kernel.
pub(crate) trait Params: bytemuck::NoUninit {
    const MEMBERS: &'static [Member];
}

macro_rules! structs {
    ($($(#[$doc:meta])* $name:ident { $($member:ident: $of:ty),* })*) => { $(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default, bytemuck::NoUninit)]
        pub(crate) struct $name {
            $(pub(crate) $member: $of,)*
        }

        impl Params for $name {
            const MEMBERS: &'static [Member] = &[$(Member {
                name: stringify!($member),
                offset: std::mem::offset_of!($name, $member),
                of: <$of as Typed>::TYPE,
            }),*];
        }

        impl Typed for $name {
            const TYPE: Type = Type::Struct(<$name as Params>::MEMBERS);
        }
    )* };
}

structs! {
    /// Of a kernel without any.
    Nothing {}
    /// `activations.wgsl`
    Activation { kind: u32, alpha_p: f32, alpha_n: f32, beta: f32, eps: f32 }
    /// `embed.wgsl`
    Embed {
        n_rows: u32, n_blocks: u32, panel_len: u32, first_panel: u32, first: u32, n_here: u32, tokens: u32, scale: f32
    }
    /// `choosing/picks.wgsl`
    Choose { n_picks: u32, vocab_size: u32, stride: u32, picks: u32, out_stride: u32 }
    /// `rms_norm.wgsl`
    RmsNorm { n_rows: u32, width: u32, stride: u32, eps: f32 }
    /// `quantize.wgsl`
    Quantize { n: u32 }
    /// `products/params.wgsl`
    Product {
        n_blocks: u32, slice_blocks: u32, panel_len: u32, first_panel: u32, n_panels: u32, n_rows: u32,
        first_group: u32, input_stride: u32, n_outputs: u32, first_output: u32, out_stride: u32, adds: u32,
        first_expert: u32, n_experts: u32, n_chosen: u32, second_panel: u32, n_second_outputs: u32,
        second_stride: u32, third_panel: u32, n_third_outputs: u32, third_stride: u32,
        panels_each: u32, width: u32, eps: f32, activation: Activation
    }
    /// `join_heads.wgsl`
    JoinHeads {
        n_rows: u32, n_heads: u32, width: u32, first_width: u32, out_row: u32, out_head: u32, first_row: u32,
        first_head: u32, second_row: u32
    }
    /// `group.wgsl`
    Group { n: u32, n_experts: u32, n_groups: u32 }
    /// `add.wgsl` and `add_bias.wgsl`
    Add { n: u32, stride: u32 }
    /// `head_norm.wgsl`
    HeadNorm { n_rows: u32, n_heads: u32, head_dim: u32, stride: u32, n_weights: u32, eps: f32 }
    /// `rope.wgsl`
    Rope {
        n_rows: u32, n_heads: u32, head_dim: u32, n_pairs: u32, stride: u32, cos: u32, sin: u32, is_adjacent: u32
    }
    /// `store_kv.wgsl`
    StoreKv { n_rows: u32, n_kv_heads: u32, k_stride: u32, v_stride: u32, slots: u32 }
    /// `heads.wgsl`
    Heads {
        n_rows: u32, n_heads: u32, n_kv_heads: u32, q_stride: u32, k_stride: u32, v_stride: u32, n_pairs: u32,
        cos: u32, sin: u32, is_adjacent: u32, slots: u32, eps: f32
    }
    /// `attend.wgsl`
    Attend {
        tiles: u32, n_kv_heads: u32, n_heads_each: u32, n_heads_here: u32, q_stride: u32, out_stride: u32,
        scale: f32, softcap: f32, window: u32, n_parts: u32, k_stride: u32, v_stride: u32, n_pairs: u32, cos: u32,
        sin: u32, is_adjacent: u32, slots: u32, eps: f32
    }
    /// `attend_merge.wgsl`
    AttendMerge { n_rows: u32, n_heads: u32, stride: u32, window: u32, n_parts: u32, positions: u32 }
    /// `glu.wgsl`
    Glu { n: u32, width: u32, stride: u32, activation: Activation }
    /// `sigmoid_gate.wgsl`
    SigmoidGate { n: u32, width: u32, stride: u32, n_together: u32, gate_stride: u32 }
    /// `route.wgsl`
    Route {
        n_rows: u32, n_experts: u32, stride: u32, n_chosen: u32, is_renormalized: u32, scale: f32, gating: u32,
        n_groups: u32, n_groups_used: u32, n_best: u32
    }
    /// `combine.wgsl`
    Combine { n: u32, stride: u32, n_chosen: u32, adds: u32, width: u32 }
    /// `take_rows.wgsl`
    TakeRows { n: u32, stride: u32, rows: u32 }
    /// `scale.wgsl`
    Scale { n: u32, factor: f32 }
    /// `scale_rows.wgsl`
    ScaleRows { n: u32, stride: u32, factors: u32 }
    /// `take_columns.wgsl`
    TakeColumns { n: u32, stride: u32, width: u32, x_stride: u32, first: u32 }
    /// `softcap.wgsl`
    Softcap { n: u32, cap: f32 }
    /// `causal_conv.wgsl`
    CausalConv {
        n_spans: u32, channels: u32, stride: u32, spans: u32, at: u32, page_len: u32, activation: Activation
    }
    /// `delta_prepare.wgsl`
    DeltaPrepare {
        n_rows: u32, n_key_heads: u32, n_value_heads: u32, width: u32, n_decays: u32, stride: u32, q_stride: u32,
        q_first: u32, k_stride: u32, k_first: u32, beta_stride: u32, alpha_stride: u32, of_query: f32, eps: f32
    }
    /// `delta_rule.wgsl`
    DeltaRule {
        n_key_heads: u32, n_value_heads: u32, is_grouped: u32, n_decays: u32, spans: u32, at: u32, page_len: u32,
        out_stride: u32, v_stride: u32, v_first: u32, prepared_stride: u32
    }
    /// `ssm_steps.wgsl`
    SsmSteps { n_rows: u32, n_heads: u32, dt_stride: u32, stride: u32 }
    /// `ssm_scan.wgsl`
    SsmScan {
        n_spans: u32, n_heads: u32, head_width: u32, heads_per_group: u32, first_c: u32, xbc_stride: u32,
        steps_stride: u32, out_stride: u32, spans: u32, at: u32, page_len: u32
    }
}

impl From<Option<architecture::Activation>> for Activation {
    /// `None` leaves numbers as they are.
    fn from(activation: Option<architecture::Activation>) -> Activation {
        use architecture::Activation as A;
        let plain = |kind| Activation { kind, ..Activation::default() };
        match activation {
            Some(A::Silu) => plain(0),
            Some(A::GeluTanh) => plain(1),
            Some(A::ReluSquared) => plain(2),
            Some(A::ClampedSwiglu) => plain(3),
            Some(A::Xielu(Xielu { alpha_p, alpha_n, beta, eps })) => {
                Activation { kind: 4, alpha_p, alpha_n, beta, eps }
            }
            Some(A::Identity) | None => plain(5),
        }
    }
}

/// A size as kernels take it.
pub(crate) fn word(size: usize) -> u32 {
    u32::try_from(size).expect("sizes on a device fit 32 bits")
}
