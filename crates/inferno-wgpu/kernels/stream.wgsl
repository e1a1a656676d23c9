// Reads four buffers from one end to the other: neighbouring threads read neighbouring vectors.

struct Params {
    // Vectors of a buffer: whole workgroups.
    n: u32,
    // What is in no word of the buffers; the host knows it, the compiler does not.
    absent: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> a: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> c: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> d: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> found: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first = (group.y * 65535u + group.x) * GROUP * VECTORS + local;
    if first >= p.n {
        return;
    }
    var bits = vec4(0u);
    switch group.z {
        case 0u: {
            for (var i = 0u; i < VECTORS; i++) {
                bits |= a[first + i * GROUP];
            }
        }
        case 1u: {
            for (var i = 0u; i < VECTORS; i++) {
                bits |= b[first + i * GROUP];
            }
        }
        case 2u: {
            for (var i = 0u; i < VECTORS; i++) {
                bits |= c[first + i * GROUP];
            }
        }
        default: {
            for (var i = 0u; i < VECTORS; i++) {
                bits |= d[first + i * GROUP];
            }
        }
    }
    if any(bits == vec4(p.absent)) {
        found[0] = 1u;
    }
}
