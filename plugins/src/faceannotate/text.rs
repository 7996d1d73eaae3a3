//! What a label says. Names come from a gallery, that is, from outside: they are cleaned here.

use face_core::identity::Status;
use face_core::text::one_line;

use crate::meta::Face;

/// Characters of a name that are drawn at most; what a line can hold is far less. Bounds the work
/// of the text shaper.
const MAX_CHARS: usize = 96;

/// The two parts of a label: the name is shortened when there is no room, the detail never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct LabelText {
    pub(super) name: String,
    pub(super) detail: String,
}

/// What a label shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LabelParts {
    pub(super) name: bool,
    pub(super) similarity: Option<SimilarityFormat>,
    pub(super) track_id: bool,
}

/// How a similarity is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[repr(u32)]
#[enum_type(name = "GstOnnxFaceAnnotateSimilarity")]
pub enum SimilarityFormat {
    /// As in the metadata and like the thresholds, with two digits.
    #[default]
    #[enum_value(name = "Cosine similarity with two digits: 0.62", nick = "decimal")]
    Decimal = 0,
    #[enum_value(name = "Cosine similarity in percent: 62 %", nick = "percent")]
    Percent = 1,
}

impl LabelText {
    /// The label of `face`, or `None` if there is nothing to say.
    pub(super) fn of(face: &Face, parts: LabelParts) -> Option<LabelText> {
        let name = if parts.name { name_or_status(face) } else { String::new() };
        let mut detail = Vec::new();
        if let Some(format) = parts.similarity
            && person(face).is_some()
            && let Some(similarity) = face.similarity.filter(|s| s.is_finite())
        {
            detail.push(format.text(similarity));
        }
        if parts.track_id && face.track_id != 0 {
            detail.push(format!("#{}", face.track_id));
        }
        let text = LabelText { name, detail: detail.join("  ") };
        (text != LabelText::default()).then_some(text)
    }
}

impl SimilarityFormat {
    fn text(self, similarity: f32) -> String {
        let similarity = similarity.clamp(-1.0, 1.0);
        match self {
            SimilarityFormat::Decimal => format!("{similarity:.2}"),
            SimilarityFormat::Percent => format!("{:.0} %", similarity * 100.0),
        }
    }
}

/// The name to show, if the face has one: an unknown face has none, even if the nearest person
/// is in the metadata.
fn person(face: &Face) -> Option<String> {
    use Status::{Confirming, Filtered, Known, Uncertain};
    if !matches!(face.status, Known | Confirming | Uncertain | Filtered) {
        return None;
    }
    let candidates = [&face.name, &face.person_id].into_iter().flatten();
    candidates.map(|text| cleaned(text)).find(|text| !text.is_empty())
}

/// A name that is not certain carries a question mark; a face without a name shows its status.
fn name_or_status(face: &Face) -> String {
    if let Some(name) = person(face) {
        // A face that is filtered on this frame is who its track is.
        let filtered = face.status == Status::Filtered && face.confirmed;
        let certain = filtered || face.status == Status::Known;
        return if certain { name } else { format!("{name} ?") };
    }
    match face.status {
        Status::Untracked => String::new(),
        Status::Identifying | Status::Confirming => format!("{}…", face.status.as_str()),
        Status::Filtered => {
            let reason = cleaned(&face.filter);
            if reason.is_empty() { face.status.as_str().to_owned() } else { reason }
        }
        Status::Known | Status::Unknown | Status::Uncertain | Status::Error => {
            face.status.as_str().to_owned()
        }
    }
}

/// What of a text is drawn.
fn cleaned(text: &str) -> String {
    one_line(text, MAX_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: LabelParts =
        LabelParts { name: true, similarity: Some(SimilarityFormat::Decimal), track_id: false };

    fn face(status: Status, name: &str) -> Face {
        let name = Some(name.to_owned()).filter(|n| !n.is_empty());
        Face { status, name, similarity: Some(0.618), track_id: 12, ..Face::default() }
    }

    fn label(face: &Face, parts: LabelParts) -> (String, String) {
        let text = LabelText::of(face, parts).unwrap_or_default();
        (text.name, text.detail)
    }

    fn pair(a: &str, b: &str) -> (String, String) {
        (a.to_owned(), b.to_owned())
    }

    #[test]
    fn t7_label_says_the_name_or_the_status() {
        assert_eq!(label(&face(Status::Known, "Ada"), ALL), pair("Ada", "0.62"));
        assert_eq!(label(&face(Status::Confirming, "Ada"), ALL), pair("Ada ?", "0.62"));
        assert_eq!(label(&face(Status::Uncertain, ""), ALL), pair("uncertain", ""));
        assert_eq!(label(&face(Status::Identifying, ""), ALL), pair("identifying…", ""));
        // The nearest person of an unknown face is not its name.
        assert_eq!(label(&face(Status::Unknown, "Ada"), ALL), pair("unknown", ""));
        assert_eq!(label(&face(Status::Error, ""), ALL), pair("error", ""));
        assert_eq!(LabelText::of(&face(Status::Untracked, ""), ALL), None);
        let filtered = Face { filter: "too-small".into(), ..face(Status::Filtered, "") };
        assert_eq!(label(&filtered, ALL), pair("too-small", ""));
        let passing = Face { name: Some("Ada".into()), ..filtered };
        assert_eq!(label(&passing, ALL), pair("Ada ?", "0.62"));
        assert_eq!(label(&Face { confirmed: true, ..passing }, ALL), pair("Ada", "0.62"));
        let by_id = Face { person_id: Some("p7".into()), ..face(Status::Known, "\u{202E}") };
        assert_eq!(label(&by_id, ALL), pair("p7", "0.62"));
    }

    #[test]
    fn parts_are_shown_as_asked() {
        let ada = face(Status::Known, "Ada");
        let percent =
            LabelParts { similarity: Some(SimilarityFormat::Percent), track_id: true, ..ALL };
        assert_eq!(label(&ada, percent), pair("Ada", "62 %  #12"));
        let nothing = LabelParts { name: false, similarity: None, track_id: false };
        assert_eq!(LabelText::of(&ada, nothing), None);
        let odd = Face { similarity: Some(f32::NAN), ..ada };
        assert_eq!(label(&odd, ALL), pair("Ada", ""));
    }
}
