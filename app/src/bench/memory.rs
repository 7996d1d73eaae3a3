//! Resident memory of the process, as Linux tells it.

/// MiB that are resident now; `None` on a system without /proc.
pub(super) fn resident_mib() -> Option<f64> {
    status("VmRSS:")
}

/// The most that ever were.
pub(super) fn peak_mib() -> Option<f64> {
    status("VmHWM:")
}

fn status(field: &str) -> Option<f64> {
    field_mib(&std::fs::read_to_string("/proc/self/status").ok()?, field)
}

/// A line such as `VmRSS:     1234 kB` (proc_pid_status(5)).
fn field_mib(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_mib() {
        let text = "Name:\tx\nVmHWM:\t    3072 kB\nVmRSS:\t     512 kB\nVmX:\t1\n";
        assert_eq!(field_mib(text, "VmHWM:"), Some(3.0));
        assert_eq!(field_mib(text, "VmRSS:"), Some(0.5));
        assert_eq!(field_mib(text, "VmX:"), None);
        assert_eq!(field_mib(text, "VmData:"), None);
    }
}
