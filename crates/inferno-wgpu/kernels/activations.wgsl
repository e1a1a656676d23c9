// Activations as `inferno_model::numerics` has them, by `p.activation`.

fn silu(x: f32) -> f32 {
    return x / (1.0 + exp_(-x));
}

// In its tanh form (https://arxiv.org/abs/1606.08415).
fn gelu(x: f32) -> f32 {
    let inner = 0.7978846 * fma(0.044715 * x * x, x, x);
    return 0.5 * x * (1.0 + tanh_(inner));
}

fn clamped_swiglu(gate: f32, up: f32) -> f32 {
    let g = select(gate, 7.0, 7.0 < gate);
    let above = select(up, 7.0, 7.0 < up);
    let u = select(above, -7.0, above < -7.0);
    return g / (1.0 + exp_(-1.702 * g)) * (u + 1.0);
}

// https://arxiv.org/abs/2411.13010
fn xielu(x: f32) -> f32 {
    if 0.0 < x {
        return x * fma(p.activation.alpha_p, x, p.activation.beta);
    }
    let t = tanh_(0.5 * select(x, p.activation.eps, p.activation.eps < x));
    return fma(2.0 * t / (1.0 - t) - x, p.activation.alpha_n, p.activation.beta * x);
}

fn activated_one(gate: f32, up: f32) -> f32 {
    switch p.activation.kind {
        case 1u: {
            return gelu(gate) * up;
        }
        case 2u: {
            let x = select(gate, 0.0, gate < 0.0);
            return x * x * up;
        }
        case 3u: {
            return clamped_swiglu(gate, up);
        }
        case 4u: {
            return xielu(gate) * up;
        }
        case 5u: {
            return gate * up;
        }
        default: {
            return silu(gate) * up;
        }
    }
}

fn activated(gate: vec4<f32>, up: vec4<f32>) -> vec4<f32> {
    return vec4(
        activated_one(gate.x, up.x),
        activated_one(gate.y, up.y),
        activated_one(gate.z, up.z),
        activated_one(gate.w, up.w),
    );
}
