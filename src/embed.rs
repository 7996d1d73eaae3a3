//! Face embeddings: unit vectors that are near for pictures of one person.

/// A finite vector of unit length.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(Box<[f32]>);

/// Why numbers cannot be an embedding.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum EmbeddingError {
    #[error("embedding is empty")]
    Empty,
    #[error("embedding has a value that is not finite")]
    NotFinite,
    #[error("embedding has length zero")]
    Zero,
    #[error("embedding bytes are not a whole number of 32-bit floats")]
    Bytes,
}

impl Embedding {
    /// Scales `values` to unit length.
    ///
    /// # Errors
    /// [`EmbeddingError`] if there are no values, one is NaN or infinite, or all are 0.
    pub fn new(values: &[f32]) -> Result<Self, EmbeddingError> {
        if values.is_empty() {
            return Err(EmbeddingError::Empty);
        }
        let norm = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(EmbeddingError::NotFinite);
        }
        if norm <= f64::from(f32::MIN_POSITIVE) {
            return Err(EmbeddingError::Zero);
        }
        Ok(Self(values.iter().map(|v| (f64::from(*v) / norm) as f32).collect()))
    }

    /// Reads little-endian 32-bit floats, as [`Embedding::to_bytes`] writes them.
    ///
    /// # Errors
    /// As [`Embedding::new`], or [`EmbeddingError::Bytes`] for a wrong length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EmbeddingError> {
        let (chunks, []) = bytes.as_chunks::<4>() else {
            return Err(EmbeddingError::Bytes);
        };
        Self::new(&chunks.iter().map(|c| f32::from_le_bytes(*c)).collect::<Vec<_>>())
    }

    /// Little-endian 32-bit floats.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// Number of dimensions.
    pub fn dim(&self) -> usize {
        self.0.len()
    }

    /// Cosine similarity, -1..=1; `None` if the dimensions differ.
    pub fn cosine(&self, other: &Embedding) -> Option<f32> {
        (self.dim() == other.dim())
            .then(|| self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum::<f32>().clamp(-1.0, 1.0))
    }
}

/// What makes embeddings comparable: the same network, alignment and dimension. `probe` is the
/// embedding of a fixed generated picture, computed with the network in use: two files (or two
/// providers) whose probes have a cosine of at least [`Fingerprint::SAME_SPACE`] embed into the
/// same space.
#[derive(Clone, Debug, PartialEq)]
pub struct Fingerprint {
    /// Registry id of the model family, e.g. `mobilefacenet`.
    pub model: String,
    /// Name of the alignment template, e.g. `arcface-112`.
    pub alignment: String,
    pub probe: Embedding,
}

impl Fingerprint {
    /// Least cosine of two probes of one embedding space.
    pub const SAME_SPACE: f32 = 0.999;

    pub fn dim(&self) -> usize {
        self.probe.dim()
    }

    /// Do both describe the same embedding space?
    pub fn same_space(&self, other: &Fingerprint) -> bool {
        self.alignment == other.alignment
            && self.probe.cosine(&other.probe).is_some_and(|c| c >= Self::SAME_SPACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedding_is_scaled_to_unit_length() {
        let e = Embedding::new(&[3.0, 4.0]).unwrap();
        assert_eq!(e.as_slice(), [0.6, 0.8]);
        assert_eq!(Embedding::from_bytes(&e.to_bytes()).unwrap(), e);
    }

    #[test]
    fn embedding_refuses_what_is_no_direction() {
        assert_eq!(Embedding::new(&[]), Err(EmbeddingError::Empty));
        assert_eq!(Embedding::new(&[0.0, 0.0]), Err(EmbeddingError::Zero));
        assert_eq!(Embedding::new(&[1.0, f32::NAN]), Err(EmbeddingError::NotFinite));
        assert_eq!(Embedding::new(&[f32::INFINITY, 1.0]), Err(EmbeddingError::NotFinite));
        assert_eq!(Embedding::from_bytes(&[0; 5]), Err(EmbeddingError::Bytes));
    }
}
