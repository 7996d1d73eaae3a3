//! What NVIDIA's driver says of itself and of its GPUs, read from its files: no library is loaded.

use std::fs;
use std::path::Path;

/// The driver that runs, and its GPUs in the order of their bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvidiaDriver {
    pub version: String,
    pub gpus: Vec<String>,
}

/// NVIDIA's driver, if one runs.
pub fn nvidia_driver() -> Option<NvidiaDriver> {
    read(Path::new("/proc/driver/nvidia"))
}

fn read(folder: &Path) -> Option<NvidiaDriver> {
    let text = fs::read_to_string(folder.join("version")).ok()?;
    // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 …"
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|c| c == '.' || c.is_ascii_digit());
    let version = text.split_whitespace().find(is_version)?.to_owned();
    let entries = fs::read_dir(folder.join("gpus")).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).collect();
    folders.sort();
    let gpu = |folder: &Path| {
        let text = fs::read_to_string(folder.join("information")).ok()?;
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
        Some(model.trim().to_owned())
    };
    let gpus = folders.iter().filter_map(|folder| gpu(folder)).collect();
    Some(NvidiaDriver { version, gpus })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_gpus_are_read_from_the_drivers_files() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        let version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release \
                       Build\nGCC version:  gcc version 12.2.0\n";
        fs::write(folder.path().join("version"), version).unwrap();
        for (bus, model) in [("0000:81:00.0", "NVIDIA L4"), ("0000:18:00.0", "NVIDIA H200")] {
            let gpu = folder.path().join("gpus").join(bus);
            fs::create_dir_all(&gpu).unwrap();
            let text = format!("Model: \t\t {model}\nIRQ:   \t\t 18\n");
            fs::write(gpu.join("information"), text).unwrap();
        }
        let driver = read(folder.path()).unwrap();
        assert_eq!(driver.version, "580.65.06");
        assert_eq!(driver.gpus, ["NVIDIA H200", "NVIDIA L4"]);
    }
}
