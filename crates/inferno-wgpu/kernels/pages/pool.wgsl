// Keys and values are read where they are stored.

fn bring_page(slot: u32, kv_head: u32, thread: u32) {
    workgroupBarrier();
}

fn key_place(slot: u32, key: u32, kv_head: u32) -> u32 {
    return key_record(slot + key, kv_head);
}

fn value_place(slot: u32, key: u32, kv_head: u32) -> u32 {
    return value_record(slot + key, kv_head);
}

fn kv_at(at: u32) -> vec4<u32> {
    return pool[at];
}
