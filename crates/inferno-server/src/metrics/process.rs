//! Numbers of this process under the names that every Prometheus client has for them. From `/proc`: elsewhere there are none.

use std::fs;

use crate::exposition::Page;

/// Ticks of a second in `/proc`: the same on every Linux that this program is built for.
const TICKS: f64 = 100.0;

pub(super) fn add(page: &mut Page) {
    let Some(numbers) = read() else { return };
    let gauge = |name: &str, help: &str, value: Option<f64>, page: &mut Page| {
        if let Some(value) = value {
            page.one(name, "gauge", help, &[], value);
        }
    };
    let help = "User and system processor time of the process, in seconds.";
    page.one("process_cpu_seconds_total", "counter", help, &[], numbers.cpu_seconds);
    gauge(
        "process_resident_memory_bytes",
        "Resident memory of the process, in bytes.",
        numbers.resident,
        page,
    );
    gauge("process_virtual_memory_bytes", "Virtual memory of the process, in bytes.", numbers.virt, page);
    gauge("process_threads", "Threads of the process.", numbers.threads, page);
    gauge("process_open_fds", "Open file descriptors of the process.", numbers.open_fds, page);
    gauge("process_max_fds", "File descriptors that the process may open.", numbers.max_fds, page);
    let help = "Start of the process, in seconds since the Unix epoch.";
    gauge("process_start_time_seconds", help, numbers.start_time, page);
}

struct Numbers {
    cpu_seconds: f64,
    resident: Option<f64>,
    virt: Option<f64>,
    threads: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    start_time: Option<f64>,
}

fn read() -> Option<Numbers> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Numbered from the third one on, see proc(5).
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot_time = word(&boot, "btime");
    Some(Numbers {
        cpu_seconds: (field(14)? + field(15)?) / TICKS,
        resident: word(&status, "VmRSS:").map(|kib| kib * 1024.0),
        virt: word(&status, "VmSize:").map(|kib| kib * 1024.0),
        threads: word(&status, "Threads:"),
        open_fds: fs::read_dir("/proc/self/fd").ok().map(|folder| folder.count() as f64),
        max_fds: word(&limits, "Max open files"),
        start_time: boot_time.zip(field(22)).map(|(boot, ticks)| boot + ticks / TICKS),
    })
}

/// The word behind `name`, as a number.
fn word(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
