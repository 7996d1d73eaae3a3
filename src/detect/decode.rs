//! From the outputs of a detector to faces, whatever the family.

use super::output::{DecodeError, Output};
use super::{Detection, centerface, retinaface, scrfd, ultralight, yunet};
use crate::model::Decoder;

/// Most outputs of a family.
pub(super) const MOST_OUTPUTS: usize = yunet::OUTPUTS.len();

/// Reads the outputs of one picture, for an input of `size` (width, height) pixels. Appends every
/// face with a score of at least `threshold` to `faces`, in pixels of the input, not yet
/// [suppressed](crate::geometry::nms). Returns how many were left out because a number was not
/// finite. Outputs of YuNet go by their names, those of the other families by their shapes; what
/// comes behind the outputs of the family is not looked at. Allocates nothing but room in `faces`.
///
/// # Errors
/// [`DecodeError`] if an output is missing or has another length. An embedder finds no faces, as if
/// all its outputs were missing.
pub fn decode(
    decoder: Decoder,
    outputs: &[Output<'_>],
    size: (usize, usize),
    threshold: f32,
    faces: &mut Vec<Detection>,
) -> Result<usize, DecodeError> {
    match decoder {
        Decoder::Yunet => {
            let named = yunet::OUTPUTS.map(|name| {
                outputs.iter().find(|output| output.name == name).map_or(&[][..], |o| o.values)
            });
            yunet::decode(&named, size.0, size.1, threshold, faces)
        }
        Decoder::Scrfd => scrfd::decode(first(outputs)?, size, threshold, faces),
        Decoder::Retinaface => retinaface::decode(first(outputs)?, size, threshold, faces),
        Decoder::Centerface => centerface::decode(first(outputs)?, size, threshold, faces),
        Decoder::Ultralight => ultralight::decode(first(outputs)?, size, threshold, faces),
        Decoder::Embedding => Err(DecodeError::Count { wanted: 0, got: outputs.len() }),
    }
}

/// The first N outputs.
fn first<'a, 'b, const N: usize>(
    outputs: &'b [Output<'a>],
) -> Result<&'b [Output<'a>; N], DecodeError> {
    outputs.first_chunk().ok_or(DecodeError::Count { wanted: N, got: outputs.len() })
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::Blank;
    use super::*;

    fn run(decoder: Decoder, blanks: &[Blank]) -> Result<usize, DecodeError> {
        let outputs: Vec<_> = blanks.iter().map(Blank::output).collect();
        decode(decoder, &outputs, (320, 240), 0.5, &mut Vec::new())
    }

    #[test]
    fn missing_outputs_are_told_and_further_ones_are_not_looked_at() {
        let mut blanks = [("scores", 2), ("boxes", 4)]
            .map(|(name, per)| Blank::new(name, &[1, 4420, per]))
            .to_vec();
        assert_eq!(run(Decoder::Ultralight, &blanks), Ok(0));
        blanks.push(Blank::new("more", &[1, 7, 2]));
        assert_eq!(run(Decoder::Ultralight, &blanks), Ok(0));
        let error = run(Decoder::Ultralight, &blanks[..1]).unwrap_err();
        assert_eq!(error, DecodeError::Count { wanted: 2, got: 1 });
        assert_eq!(error.to_string(), "it has 1 outputs, 2 are expected");
        assert!(run(Decoder::Yunet, &blanks).is_err());
        assert!(run(Decoder::Embedding, &blanks).is_err());
    }
}
