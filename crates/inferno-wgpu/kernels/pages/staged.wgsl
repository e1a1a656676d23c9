// A page of keys and values is copied to the workgroup's memory at once: all of its bytes are on their way together, where scores
// and sums would ask for them a few at a time. Few queries leave room for it.

// Vectors of a position in the pool, and of a key and a value here: odd numbers of them, so that neighbouring threads read different banks.
const RECORDS = KEY_RECORD + VALUE_RECORD;
const KEY_PLACE = KEY_RECORD | 1u;
const VALUE_PLACE = VALUE_RECORD | 1u;
const STAGE_STEPS = (PAGE_LEN * RECORDS + THREADS - 1u) / THREADS;

var<workgroup> tile: array<vec4<u32>, PAGE_LEN * (KEY_PLACE + VALUE_PLACE)>;

fn bring_page(slot: u32, kv_head: u32, thread: u32) {
    var vectors: array<vec4<u32>, STAGE_STEPS>;
    for (var i = 0u; i < STAGE_STEPS; i++) {
        let at = min(thread + THREADS * i, PAGE_LEN * RECORDS - 1u);
        let key = slot + at / RECORDS;
        let vector = at % RECORDS;
        let in_value = value_record(key, kv_head) + vector - KEY_RECORD;
        vectors[i] = pool[select(in_value, key_record(key, kv_head) + vector, vector < KEY_RECORD)];
    }
    // The page before has been read.
    workgroupBarrier();
    for (var i = 0u; i < STAGE_STEPS; i++) {
        let at = thread + THREADS * i;
        if at < PAGE_LEN * RECORDS {
            let key = at / RECORDS;
            let vector = at % RECORDS;
            let in_value = value_place(0u, key, 0u) + vector - KEY_RECORD;
            tile[select(in_value, key_place(0u, key, 0u) + vector, vector < KEY_RECORD)] = vectors[i];
        }
    }
    workgroupBarrier();
}

fn key_place(slot: u32, key: u32, kv_head: u32) -> u32 {
    return key * KEY_PLACE;
}

fn value_place(slot: u32, key: u32, kv_head: u32) -> u32 {
    return PAGE_LEN * KEY_PLACE + key * VALUE_PLACE;
}

fn kv_at(at: u32) -> vec4<u32> {
    return tile[at];
}
