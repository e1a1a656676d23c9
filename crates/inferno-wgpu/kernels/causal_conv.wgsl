// A causal convolution over the positions of sequences, channel by channel. A thread has a channel of a span and goes through its
// rows; the taps' inputs before the row's own stay with it.

struct Params {
    n_spans: u32,
    channels: u32,
    // Numbers from a row to the next.
    stride: u32,
    // Where the spans are in `uploads`: first row, number of rows, page of the state before and page of the one after.
    spans: u32,
    // Where the tail begins in a state, and numbers from a page to the next.
    at: u32,
    page_len: u32,
    activation: Activation,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> states: array<f32>;
@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;
@group(0) @binding(NEXT) var<storage, read> x: array<f32>;
// (KERNEL, channels)
@group(0) @binding(NEXT) var<storage, read> weight: array<f32>;
@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;

const NO_PAGE = 0xffffffffu;
const NO_ACTIVATION = 5u;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    let span = i / p.stride;
    if span >= p.n_spans {
        return;
    }
    let channel = i % p.stride;
    let first = uploads[p.spans + 4u * span];
    let end = first + uploads[p.spans + 4u * span + 1u];
    if channel >= p.channels {
        // What fills up a row is zero.
        for (var row = first; row < end; row++) {
            out[row * p.stride + channel] = 0.0;
        }
        return;
    }
    let before = uploads[p.spans + 4u * span + 2u];
    let after = uploads[p.spans + 4u * span + 3u];
    // The inputs of a row, the oldest first, and the weights.
    var inputs: array<f32, KERNEL>;
    var taps: array<f32, KERNEL>;
    for (var tap = 0u; tap < KERNEL; tap++) {
        taps[tap] = weight[tap * p.channels + channel];
        if tap > 0u && before != NO_PAGE {
            inputs[tap] = states[before * p.page_len + p.at + (tap - 1u) * p.channels + channel];
        }
    }
    let start = bias_of(channel);
    for (var row = first; row < end; row++) {
        for (var tap = 1u; tap < KERNEL; tap++) {
            inputs[tap - 1u] = inputs[tap];
        }
        inputs[KERNEL - 1u] = x[row * p.stride + channel];
        var sum = start;
        for (var tap = 0u; tap < KERNEL; tap++) {
            sum = fma(taps[tap], inputs[tap], sum);
        }
        if p.activation.kind != NO_ACTIVATION {
            sum = activated_one(sum, select(1.0, 0.0, p.activation.kind == 3u));
        }
        out[row * p.stride + channel] = sum;
    }
    for (var tap = 1u; tap < KERNEL; tap++) {
        states[after * p.page_len + p.at + (tap - 1u) * p.channels + channel] = inputs[tap];
    }
}
