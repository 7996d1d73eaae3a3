//! scripts/carry.sh: what is split is joined again, and nothing is made of damaged parts.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn carry(arguments: &[&Path]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/carry.sh");
    Command::new("bash").arg(script).args(arguments).output().unwrap()
}

#[test]
fn folder_comes_back_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("from")).unwrap();
    fs::write(at("from/libx.so.1"), b"library").unwrap();
    std::os::unix::fs::symlink("libx.so.1", at("from/libx.so")).unwrap();
    let split = carry(&["split".as_ref(), &at("from"), &at("parts")]);
    assert!(split.status.success(), "{split:?}");
    let join = carry(&["join".as_ref(), &at("parts"), &at("to")]);
    assert!(join.status.success(), "{join:?}");
    assert_eq!(fs::read(at("to/libx.so.1")).unwrap(), b"library");
    assert_eq!(fs::read_link(at("to/libx.so")).unwrap(), Path::new("libx.so.1"));

    // What is there is not replaced.
    assert!(!carry(&["join".as_ref(), &at("parts"), &at("to")]).status.success());

    fs::write(at("parts/part.000"), b"damaged").unwrap();
    let join = carry(&["join".as_ref(), &at("parts"), &at("other")]);
    let error = String::from_utf8_lossy(&join.stderr).into_owned();
    assert!(!join.status.success() && error.contains("damaged"), "{error}");
    assert!(!at("other").exists() && !at("other.joining").exists());
}
