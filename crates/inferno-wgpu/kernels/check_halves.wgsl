// out[i] = what the device makes of the number `i` in half precision.

@group(0) @binding(NEXT) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    if i < 65536u {
        out[i] = bitcast<u32>(from_f16(i));
    }
}
