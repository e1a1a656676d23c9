//! The allocator's memory, in a process of its own.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn freed_memory_goes_back_to_the_system() {
    inferno_cpu::keep_little_memory();
    // Large blocks go by themselves, again and again.
    for _ in 0..3 {
        let blocks: Vec<Vec<u8>> = (0..8).map(|_| vec![1; 8 << 20]).collect();
        let pin = vec![1u8; 100];
        let full = resident();
        drop(blocks);
        let left = resident();
        assert!(left + (60 << 20) < full, "{left} of {full} bytes");
        drop(pin);
    }
    // Small blocks, and one behind them that keeps the heap from shrinking.
    let mut blocks: Vec<Vec<u8>> = (0..256).map(|_| vec![1; 256 << 10]).collect();
    let pin = vec![1u8; 100];
    let full = resident();
    blocks.clear();
    inferno_cpu::return_freed_memory();
    let left = resident();
    assert!(left + (60 << 20) < full, "{left} of {full} bytes");
    drop(pin);
}
