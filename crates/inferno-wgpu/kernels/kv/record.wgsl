// A position's key, or value, of a head in the pool: a record of KEY_RECORD vectors, or of VALUE_RECORD.
// [slot][keys of all heads, values of all heads]

fn key_record(slot: u32, head: u32) -> u32 {
    return slot * p.n_kv_heads * (KEY_RECORD + VALUE_RECORD) + head * KEY_RECORD;
}

fn value_record(slot: u32, head: u32) -> u32 {
    return (slot * (KEY_RECORD + VALUE_RECORD) + KEY_RECORD) * p.n_kv_heads + head * VALUE_RECORD;
}
