//! The shell examples of Markdown files and of the elements' doc comments.

use std::path::Path;

/// A fenced block of shell commands.
#[derive(Debug, PartialEq)]
pub(crate) struct Example {
    /// Line of its first command in the file, from 1.
    pub(crate) line: usize,
    pub(crate) commands: String,
    /// Why it cannot run in a test, from a comment `<!-- not run: … -->` before the block.
    pub(crate) not_run: Option<String>,
}

/// The examples of a Markdown text.
///
/// # Errors
/// What is wrong, with its line: a comment that marks no example, no reason, commands in a block
/// that is not marked as shell.
pub(crate) fn of_markdown(text: &str) -> Result<Vec<Example>, String> {
    let mut examples = Vec::new();
    let mut not_run: Option<String> = None;
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim();
        if let Some(reason) = line.strip_prefix("<!-- not run:") {
            let reason = reason.trim_end_matches("-->").trim();
            if reason.len() < 10 {
                return Err(format!("line {}: say why it is not run", index + 1));
            }
            not_run = Some(reason.to_owned());
            continue;
        }
        let Some(language) = line.strip_prefix("```") else {
            if !line.is_empty() && not_run.is_some() {
                return Err(format!("line {}: 'not run' stands before no example", index + 1));
            }
            continue;
        };
        let block: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
        let commands = block.join("\n");
        match language {
            "bash" | "sh" => {
                let not_run = not_run.take();
                examples.push(Example { line: index + 2, commands, not_run });
            }
            _ if commands.contains("gst-launch-1.0 ") || not_run.is_some() => {
                return Err(format!("line {}: commands stand in a block of ```bash", index + 1));
            }
            _ => {}
        }
    }
    match not_run {
        Some(reason) => Err(format!("'not run: {reason}' stands before no example")),
        None => Ok(examples),
    }
}

/// The examples of the doc comments of Rust source. A block of plain text with a pipeline is one.
///
/// # Errors
/// As [`of_markdown`].
pub(crate) fn of_rust(source: &str) -> Result<Vec<Example>, String> {
    // Line numbers stay: what is no doc comment becomes an empty line.
    let comment = |line: &str| {
        let line = line.trim_start();
        let doc = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"));
        doc.map(|text| text.strip_prefix(' ').unwrap_or(text).to_owned()).unwrap_or_default()
    };
    let text: Vec<String> = source.lines().map(comment).collect();
    of_markdown(&text.join("\n").replace("```text\ngst-launch-1.0", "```bash\ngst-launch-1.0"))
}

/// The commands with everything live replaced: the screen by fakesink, the webcam by a test
/// picture, the network camera by `camera`, whose end is the end; and scripts by those of `root`.
pub(crate) fn headless(commands: &str, root: &Path, camera: &str) -> String {
    let mut text = commands
        .replace("autovideosink", "fakesink")
        .replace("v4l2src device=/dev/video0", "videotestsrc is-live=true num-buffers=15")
        .replace("/dev/video0", "clip.mp4")
        .replace("facecamerasrc ", "facecamerasrc max-retries=0 ");
    if text.contains("rtsp://") {
        text = text.replace("facectl watch ", "facectl watch --set source.max-retries=0 ");
    }
    for folder in ["pipelines/", "scripts/", "examples/"] {
        text = text.replace(folder, &format!("{}/{folder}", root.display()));
    }
    let mut rest = text.as_str();
    let mut result = String::new();
    while let Some(start) = rest.find("rtsp://") {
        let length = rest[start..]
            .find(|c: char| c.is_whitespace() || c == '"' || c == '\'')
            .unwrap_or(rest.len() - start);
        result.push_str(&rest[..start]);
        result.push_str(camera);
        rest = &rest[start + length..];
    }
    result + rest
}

#[test]
fn examples_are_found_with_their_reasons() {
    let text = "# A\n\n```bash\nls\nls -l\n```\n\n<!-- not run: takes an hour -->\n\n```sh\nmake\n```\n\n```json\n{}\n```\n";
    let example = |line, commands: &str, not_run: Option<&str>| Example {
        line,
        commands: commands.to_owned(),
        not_run: not_run.map(str::to_owned),
    };
    let expected = vec![example(4, "ls\nls -l", None), example(11, "make", Some("takes an hour"))];
    assert_eq!(of_markdown(text), Ok(expected));
    let rust = "//! Text.\n//! ```text\n//! gst-launch-1.0 a\n//! ```\nfn main() {}\n    /// ```\n    /// code()\n    /// ```\n";
    assert_eq!(of_rust(rust), Ok(vec![example(3, "gst-launch-1.0 a", None)]));
}

#[test]
fn examples_without_a_reason_or_a_block_are_refused() {
    for (text, word) in [
        ("<!-- not run: no -->\n```bash\nls\n```\n", "say why"),
        ("<!-- not run: takes an hour -->\nText.\n```bash\nls\n```\n", "before no example"),
        ("<!-- not run: takes an hour -->\n", "before no example"),
        ("```\ngst-launch-1.0 a ! b\n```\n", "```bash"),
        ("<!-- not run: takes an hour -->\n```json\n{}\n```\n", "```bash"),
    ] {
        let error = of_markdown(text).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn live_parts_are_replaced() {
    let text = "v4l2src device=/dev/video0 ! autovideosink\npipelines/a.sh rtsp://cam/1 'rtsp://x/y' /dev/video0";
    assert_eq!(
        headless(text, Path::new("/r"), "rtsp://local"),
        "videotestsrc is-live=true num-buffers=15 ! fakesink\n/r/pipelines/a.sh rtsp://local 'rtsp://local' clip.mp4"
    );
}
