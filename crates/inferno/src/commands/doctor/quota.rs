//! CPU time that control groups leave to this process.

use std::path::Path;

/// Cores' worth of CPU time; `None` where no control group limits it.
pub(super) fn cpu_quota() -> Option<f64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    read(Path::new("/proc/self/cgroup")).and_then(|groups| quota(&groups, &read))
}

/// The tightest quota of the groups of `/proc/self/cgroup` and of those above them: `cpu.max` of version 2, `cpu.cfs_quota_us` of
/// version 1.
fn quota(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|&n| n > 0.0);
    let version_2 = |group: &Path| {
        let text = read(&Path::new("/sys/fs/cgroup").join(group).join("cpu.max"))?;
        let (quota, period) = text.trim().split_once(' ')?;
        Some(number(quota)? / number(period)?)
    };
    let version_1 = |group: &Path| {
        let file = |name: &str| number(&read(&Path::new("/sys/fs/cgroup/cpu").join(group).join(name))?);
        // Without a limit it is -1.
        Some(file("cpu.cfs_quota_us")? / file("cpu.cfs_period_us")?)
    };
    let of_line = |line: &str| {
        let (kinds, path) = line.split_once(':')?.1.split_once(':')?;
        let above = Path::new(path.trim_start_matches('/')).ancestors();
        match kinds {
            "" => above.filter_map(version_2).reduce(f64::min),
            kinds if kinds.split(',').any(|kind| kind == "cpu") => {
                above.filter_map(version_1).reduce(f64::min)
            }
            _ => None,
        }
    };
    groups.lines().filter_map(of_line).reduce(f64::min)
}

/// The number of cores in words: how many of those of the machine, and what keeps this process from the others.
pub(super) fn cores(n: usize, all: Option<usize>, quota: Option<f64>) -> String {
    let unit = if n == 1 { "core" } else { "cores" };
    let Some(all) = all.filter(|&all| all > n) else { return format!("{n} {unit}") };
    match quota {
        // Threads are whole, and at least one.
        Some(quota) if quota.floor().max(1.0) as usize <= n => {
            let exactly =
                if quota.fract() == 0.0 { String::new() } else { format!(", which allows {quota:.2}") };
            format!("{n} of {all} cores by cgroup{exactly}")
        }
        _ => format!("{n} of {all} cores by affinity"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_quota_of_both_versions_counts() {
        let read = |path: &Path| {
            let text = match path.to_str()? {
                "/sys/fs/cgroup/a/b/cpu.max" => "max 100000\n",
                "/sys/fs/cgroup/a/cpu.max" => "250000 100000\n",
                "/sys/fs/cgroup/c/cpu.max" => "50000 100000\n",
                "/sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us" => "-1\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us" => "200000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us" => "100000\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        assert_eq!(quota("0::/a/b\n", &read), Some(2.5));
        assert_eq!(quota("0::/c\n", &read), Some(0.5));
        assert_eq!(quota("4:memory:/x\n3:cpuacct,cpu:/docker/x\n0::/\n", &read), Some(2.0));
        assert_eq!(quota("2:cpuset:/\n0::/\n", &read), None);
    }

    #[test]
    fn cores_are_said_with_what_limits_them() {
        assert_eq!(cores(2, Some(16), Some(2.0)), "2 of 16 cores by cgroup");
        assert_eq!(cores(1, Some(16), Some(0.5)), "1 of 16 cores by cgroup, which allows 0.50");
        assert_eq!(cores(2, Some(16), Some(8.0)), "2 of 16 cores by affinity");
        assert_eq!(cores(2, Some(16), None), "2 of 16 cores by affinity");
        assert_eq!((cores(2, Some(2), None).as_str(), cores(1, None, None).as_str()), ("2 cores", "1 core"));
    }
}
