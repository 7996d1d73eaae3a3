//! `facectl completions` and `facectl man`.

use std::process::{Command, Output, Stdio};

fn facectl(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_facectl")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

#[test]
fn completions_are_scripts_of_their_shells() {
    for (shell, check) in [("bash", Some("bash")), ("zsh", None), ("fish", None)] {
        let script = facectl(&["completions", shell]).stdout;
        let text = String::from_utf8(script.clone()).unwrap();
        assert!(text.contains("facectl") && text.contains("enroll"), "{text}");
        let Some(shell) = check else { continue };
        let mut shell = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut shell.stdin.take().unwrap(), &script).unwrap();
        assert!(shell.wait().unwrap().success());
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let man = folder.path().join("man1");
    facectl(&["man", man.to_str().unwrap()]);
    for page in ["facectl.1", "facectl-enroll.1", "facectl-gallery-search.1"] {
        let text = std::fs::read_to_string(man.join(page)).expect(page);
        assert!(text.contains(".SH NAME") && text.contains(".SH OPTIONS"), "{text}");
    }
    // Of what is not meant for users there is none.
    assert!(!man.join("facectl-man.1").exists());
}
