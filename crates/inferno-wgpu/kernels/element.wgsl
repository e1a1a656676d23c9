// Numbers one after the other: which of them is mine. A grid has at most 65,535 workgroups in a row.

const GROUP = 256u;

fn element(group: vec3<u32>, local: u32) -> u32 {
    return (group.y * 65535u + group.x) * GROUP + local;
}
