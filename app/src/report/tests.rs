use super::*;
use crate::schema::SampleRecord;
use crate::testing::{analysis, group, person, track};

/// Elements without an end.
const VOID: [&str; 4] = ["meta", "link", "img", "input"];

/// A tag with its attributes.
#[derive(Debug)]
struct Tag<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
}

impl Tag<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }
}

/// The tags of a page: every element is closed where it should be, every value is quoted, and there is
/// no `<` or `>` elsewhere. Stricter than HTML.
fn tags(page: &str) -> Vec<Tag<'_>> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").expect("a document type");
    let (mut tags, mut open) = (Vec::new(), Vec::new());
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "{}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("an end of the tag");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        assert!(!tag.contains('<'), "<{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}>");
            continue;
        }
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "<{tag}>");
        tags.push(Tag { name, attributes: attributes_of(attributes) });
        if name == "style" || name == "script" {
            let end = rest.find("</").expect("an end of the text");
            assert!(rest[end + 2..].starts_with(name), "{}", &rest[end..end + 20]);
            rest = &rest[end + 3 + name.len()..];
        } else if !closed && !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    tags
}

fn attributes_of(mut text: &str) -> Vec<(&str, &str)> {
    let mut attributes = Vec::new();
    while !text.is_empty() {
        let end = text.find(['=', ' ']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b"-BoxV".contains(&b) || b.is_ascii_digit()),
            "{text}"
        );
        let value = match rest.strip_prefix("=\"") {
            Some(rest) => {
                let (value, rest) = rest.split_once('"').expect("an end of the value");
                text = rest;
                value
            }
            None => {
                assert!(!rest.starts_with('='), "{text}");
                text = rest;
                ""
            }
        };
        attributes.push((name, value));
        if let Some(rest) = text.strip_prefix(' ') {
            text = rest;
        } else {
            assert!(text.is_empty(), "{text}");
        }
    }
    attributes
}

fn png() -> String {
    let crop = face_core::align::AlignedCrop::from_rgb(vec![90; 112 * 112 * 3]).unwrap();
    STANDARD.encode(crop.to_png().unwrap())
}

/// Two people, a group, somebody alone; names as they should not be.
fn odd() -> Analysis {
    let long = "ß".repeat(200);
    let names = [
        "<script>alert(1)</script>",
        "\" onerror=\"alert(1)",
        "' onload='x' &amp; \u{202e}gnp.\u{0}exe",
        long.as_str(),
        "שרה عبد الله",
    ];
    let mut tracks: Vec<_> =
        (0..).zip(names).map(|(i, name)| track(i, Some(name), i, i + 1)).collect();
    tracks.push(track(7, None, 2, 4));
    tracks.push(track(8, None, 5, 6));
    tracks.push(track(9, None, 5, 9));
    tracks[0].best_shot = Some(png());
    tracks[1].best_shot = Some("\"><script>alert(1)</script>".to_owned());
    tracks[2].samples = vec![SampleRecord {
        pts_ns: None,
        observations: 1,
        bbox: [0.0; 4],
        score: 0.9,
        landmarks: [[0.0; 2]; 5],
        crop: png(),
        embedding: Vec::new(),
    }];
    tracks[7].status = "<b>\"'".to_owned();
    tracks[6].similarity = Some(f32::NAN);
    let mut analysis = analysis(tracks);
    analysis.people =
        names.iter().zip(0..).map(|(name, i)| person(name, &[i], &[[i, i + 1]])).collect();
    analysis.groups = vec![group(1, &[7, 8], &[[2, 4], [5, 6]])];
    analysis.source = "a/<b>\"'&.mp4".to_owned();
    analysis.warnings = vec!["<i>cut off</i>".to_owned()];
    analysis.models.detector = "</dd><script>".to_owned();
    analysis.schema = "<>".to_owned();
    analysis
}

#[test]
fn page_is_well_formed_and_names_stay_text() {
    let page = report(&odd());
    let tags = tags(&page);
    let count = |name| tags.iter().filter(|tag| tag.name == name).count();
    assert_eq!([count("script"), count("style"), count("i"), count("b")], [1, 1, 0, 0]);
    assert_eq!(count("tr"), 1 + 8);
    for tag in &tags {
        for (name, value) in &tag.attributes {
            assert!(!name.starts_with("on") && !name.starts_with("style"), "{tag:?}");
            assert!(tag.name == "meta" || !value.contains('\''), "{tag:?}");
        }
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("&quot; onerror=&quot;alert(1)"));
    assert!(page.contains("&#39; onload=&#39;x&#39; &amp;amp; gnp. exe"));
    assert!(page.contains(&"ß".repeat(200)));
    assert!(page.contains("<bdi>שרה عبد الله</bdi>"));
    let control = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!page.contains(control));
}

#[test]
fn nothing_is_asked_of_any_network() {
    let page = report(&odd());
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("url("));
    let page_tags = tags(&page);
    for tag in &page_tags {
        if let Some(source) = tag.get("src") {
            assert!(source.starts_with("data:image/") && tag.name == "img", "{tag:?}");
        }
        if let Some(target) = tag.get("href") {
            assert!(target.starts_with('#') || target == "data:,", "{tag:?}");
        }
    }
    let policy = page_tags.iter().find(|tag| tag.get("http-equiv").is_some()).unwrap();
    let policy = policy.get("content").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; img-src data:; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    // The hashes are those of what stands in the page.
    for (name, start, end) in
        [("style", "<style>", "</style>"), ("script", "<script>", "</script>")]
    {
        let text = page.split_once(start).unwrap().1.split_once(end).unwrap().0;
        assert!(policy.contains(&format!("{name}-src '{}'", hash(text))), "{policy}");
    }
}

#[test]
fn every_picture_says_what_it_is() {
    let page = report(&odd());
    let tags = tags(&page);
    let pictures: Vec<_> = tags.iter().filter(|tag| tag.name == "img").collect();
    // Best shot and crop, in the table and on the cards.
    assert_eq!(pictures.len(), 4);
    assert_eq!(pictures[0].get("alt"), Some("&lt;script&gt;alert(1)&lt;/script&gt; at 0:00.0"));
    assert!(pictures.iter().all(|picture| !picture.get("alt").unwrap().is_empty()));
    for drawing in tags.iter().filter(|tag| tag.name == "svg") {
        assert!(drawing.get("aria-label").is_some() || drawing.get("height") == Some("20"));
    }
    assert!(
        page.contains("aria-label=\"no picture of unknown 1\"><text x=\"48\" y=\"60\">?</text>")
    );
    assert!(page.contains(">שا</text>"));
}

#[test]
fn stretches_lead_to_rows_of_the_table() {
    let page = report(&odd());
    let tags = tags(&page);
    let ids: Vec<&str> = tags.iter().filter_map(|tag| tag.get("id")).collect();
    let links: Vec<&Tag<'_>> = tags.iter().filter(|tag| tag.name == "a").collect();
    assert!(links.len() > 8, "{links:?}");
    for link in &links {
        assert!(ids.contains(&&link.get("href").unwrap()[1..]), "{link:?}");
    }
    // Half of ten seconds, and one more.
    assert!(page.contains("aria-label=\"unknown 1, 0:05.0–0:06.0, track 8\">"));
    assert!(page.contains("<rect x=\"50.000%\" width=\"10.000%\""));
    assert!(page.contains(":root{--step:20.0000%}"));
}

#[test]
fn empty_analysis_is_a_page() {
    let mut empty = analysis(Vec::new());
    for (frames, duration_ns) in [(250, Some(10)), (0, None)] {
        empty.frames = frames;
        empty.duration_ns = duration_ns;
        let page = report(&empty);
        assert!(page.contains("No face was found.") && page.contains("Nobody was recognised."));
        assert!(!tags(&page).iter().any(|tag| tag.name == "table"));
    }
}

#[test]
fn video_without_times_has_a_table_but_no_timeline() {
    let mut analysis = analysis(vec![track(1, None, 0, 1), track(1, None, 1, 2)]);
    for track in &mut analysis.tracks {
        track.first_pts_ns = None;
        track.last_pts_ns = None;
    }
    let page = report(&analysis);
    assert!(page.contains("The video has no times."), "{page}");
    // Even if a number is there twice, it is the name of one row.
    assert_eq!(tags(&page).iter().filter(|tag| tag.get("id") == Some("track-1")).count(), 1);
}

#[test]
fn axis_has_few_marks_whatever_the_length() {
    for end_ns in [1, 90_000_000, 1_000_000_000, 3_700_000_000_000, 1 << 55, u64::MAX] {
        let mut analysis = analysis(vec![track(1, None, 0, 0)]);
        analysis.duration_ns = Some(end_ns);
        let rows = rows::rows(&analysis);
        let mut page = Html::default();
        Timeline::new(&analysis, &rows).unwrap().write(&mut page, &rows);
        let marks = page.into_string().matches("y=\"14\"").count();
        assert!((1..=7).contains(&marks), "{end_ns}: {marks}");
    }
}
