// An activation, and the numbers of xIELU.
struct Activation {
    kind: u32,
    alpha_p: f32,
    alpha_n: f32,
    beta: f32,
    eps: f32,
}
