//! Freed memory that the C library's allocator keeps. A server whose requests are megabytes large would otherwise keep
//! the memory of its busiest second.

/// Allocations of at least as many bytes are mappings of their own, which are given back when they are freed. Without it
/// the limit rises to that of the largest block that was ever freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED: libc::c_int = 2 << 20;

/// Heaps that threads share. Each takes 64 MiB of address space, and what is freed in one is of no use to another.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: libc::c_int = 4;

/// Makes the allocator give large blocks back as they are freed. To be called before other threads start.
pub fn keep_little_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function takes any values, and reports those that it does not know.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// Gives pages of freed memory back to the system, which takes some milliseconds.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it locks each heap and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
