// Products of cooperative matrices and nothing else. The PARTS of a workgroup are shared by its subgroups, whatever their size;
// a part is two rows of squares by four columns, whose eight sums do not wait for each other. Constants before this: SIZE,
// THREADS, PARTS, ROUNDS.

@group(0) @binding(0) var<storage, read> inputs: array<f16>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

const SQUARE = SIZE * SIZE;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) n_subgroups: u32,
) {
    for (var part = subgroup; part < PARTS; part += n_subgroups) {
        let at = (group.x * PARTS + part) * 8u * SQUARE;
        let top = coopLoad<Inputs>(&inputs[0], SIZE);
        let low = coopLoad<Inputs>(&inputs[SQUARE], SIZE);
        let w0 = coopLoad<Weights>(&inputs[2u * SQUARE], SIZE);
        let w1 = coopLoad<Weights>(&inputs[3u * SQUARE], SIZE);
        let w2 = coopLoad<Weights>(&inputs[4u * SQUARE], SIZE);
        let w3 = coopLoad<Weights>(&inputs[5u * SQUARE], SIZE);
        var a = coopLoad<Sums>(&out[at], SIZE);
        var b = coopLoad<Sums>(&out[at + SQUARE], SIZE);
        var c = coopLoad<Sums>(&out[at + 2u * SQUARE], SIZE);
        var d = coopLoad<Sums>(&out[at + 3u * SQUARE], SIZE);
        var e = coopLoad<Sums>(&out[at + 4u * SQUARE], SIZE);
        var f = coopLoad<Sums>(&out[at + 5u * SQUARE], SIZE);
        var g = coopLoad<Sums>(&out[at + 6u * SQUARE], SIZE);
        var h = coopLoad<Sums>(&out[at + 7u * SQUARE], SIZE);
        for (var i = 0u; i < ROUNDS; i++) {
            a = coopMultiplyAdd(top, w0, a);
            b = coopMultiplyAdd(top, w1, b);
            c = coopMultiplyAdd(top, w2, c);
            d = coopMultiplyAdd(top, w3, d);
            e = coopMultiplyAdd(low, w0, e);
            f = coopMultiplyAdd(low, w1, f);
            g = coopMultiplyAdd(low, w2, g);
            h = coopMultiplyAdd(low, w3, h);
        }
        coopStore(a, &out[at], SIZE);
        coopStore(b, &out[at + SQUARE], SIZE);
        coopStore(c, &out[at + 2u * SQUARE], SIZE);
        coopStore(d, &out[at + 3u * SQUARE], SIZE);
        coopStore(e, &out[at + 4u * SQUARE], SIZE);
        coopStore(f, &out[at + 5u * SQUARE], SIZE);
        coopStore(g, &out[at + 6u * SQUARE], SIZE);
        coopStore(h, &out[at + 7u * SQUARE], SIZE);
    }
}
