//! The tables of docs/metadata.md are those of the code.
//!
//! `GST_FACE_UPDATE_DOCS=1 cargo nextest run -p gst-plugin-face --test meta_docs` rewrites them.

use std::path::Path;

use gstface::meta::{Level, markdown_table};

fn with_tables(document: &str) -> String {
    let mut document = document.to_owned();
    for level in Level::ALL {
        let name = level.structure_name();
        let (begin, end) = (format!("<!-- table {name} -->\n"), format!("<!-- end {name} -->"));
        let from = document.find(&begin).unwrap_or_else(|| panic!("no {begin}")) + begin.len();
        let to = document.find(&end).unwrap_or_else(|| panic!("no {end}"));
        document.replace_range(from..to, &markdown_table(level));
    }
    document
}

#[test]
fn documentation_has_the_tables_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metadata.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let expected = with_tables(&document);
    if std::env::var_os("GST_FACE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    assert!(
        document == expected,
        "docs/metadata.md is not of this code: run with GST_FACE_UPDATE_DOCS=1"
    );
}
