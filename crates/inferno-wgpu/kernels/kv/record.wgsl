// A position's keys, or values, of a head in the pool: a record of RECORD vectors.
// [slot][key, value][head][record]
fn record(slot: u32, is_value: u32, head: u32) -> u32 {
    return ((slot * 2u + is_value) * p.n_kv_heads + head) * RECORD;
}
