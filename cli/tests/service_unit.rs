//! The systemd unit: systemd itself reads it, and facectl takes what it starts.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn systemd_finds_nothing_to_complain_about() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/gst-face@.service");
    let text = fs::read_to_string(unit).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/facectl run "), "{text}");
    // Of what is started it wants to see that it is there.
    let text = text.replace("/usr/bin/facectl", env!("CARGO_BIN_EXE_facectl"));
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("gst-face@test.service");
    fs::write(&unit, text).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&unit).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.trim().is_empty(), "{said}");
        }
        Err(error) => eprintln!("skipped: systemd-analyze: {error}"),
    }
}
