//! Is the face of a new track that of one that was lost?

/// The lost track must be nearer than any other track by this much in cosine similarity. Between
/// pictures of one person (.48 and more) and those of two (.31 and less, docs/recognition.md) there
/// is more.
const CLEARLY: f32 = 0.1;

/// A track of the stream, compared with the face of a new one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) track_id: u64,
    /// Cosine similarity of the faces.
    pub(super) similarity: f32,
    /// Can it be the same one: lost before the new one began, and not known to be somebody else?
    /// Tracks that cannot are rivals nevertheless: who looks like them, too, is not told apart.
    pub(super) possible: bool,
}

/// The track that came back: nearest of all, from `threshold` on, and clearly so.
pub(super) fn came_back(
    candidates: impl Iterator<Item = Candidate> + Clone,
    threshold: f32,
) -> Option<u64> {
    // Of equal ones the older track, so that the result does not depend on their order.
    let nearest = candidates
        .clone()
        .max_by(|a, b| a.similarity.total_cmp(&b.similarity).then(b.track_id.cmp(&a.track_id)))?;
    let clearly = |c: Candidate| {
        c.track_id == nearest.track_id || nearest.similarity - c.similarity >= CLEARLY
    };
    let found = nearest.possible && nearest.similarity >= threshold;
    (found && candidates.clone().all(clearly)).then_some(nearest.track_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(candidates: &[(u64, f32, bool)]) -> Option<u64> {
        let candidate = |&(track_id, similarity, possible): &(u64, f32, bool)| Candidate {
            track_id,
            similarity,
            possible,
        };
        came_back(candidates.iter().map(candidate), 0.4)
    }

    #[test]
    fn lost_track_comes_back_only_when_it_is_near_and_clearly_the_nearest() {
        assert_eq!(among(&[]), None);
        assert_eq!(among(&[(3, 0.39, true)]), None);
        assert_eq!(among(&[(3, 0.4, true)]), Some(3));
        assert_eq!(among(&[(3, 0.7, true), (4, 0.59, true), (5, -0.1, false)]), Some(3));
        assert_eq!(among(&[(3, 0.7, true), (4, 0.65, true)]), None);
        assert_eq!(among(&[(3, 0.7, true), (4, 0.65, false)]), None, "one who is there is as near");
        assert_eq!(among(&[(3, 0.7, true), (4, 0.9, false)]), None);
    }
}
