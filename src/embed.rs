//! Face embeddings: unit vectors that are near for pictures of one person, and the embedder.

use std::sync::Arc;
use std::time::Instant;

use ndarray::Array4;

use crate::align::{AlignedCrop, CROP_SIDE};
use crate::cpu::{self, Spent};
use crate::inference::{
    Canceller, Handle, HandleStats, InferenceError, LONGEST_LINE, Pool, PoolOptions, Request,
};
use crate::model::{Decoder, ModelSpec, ResolvedModel};
use crate::preprocess::Normalization;

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

/// Turns aligned faces into embeddings.
#[derive(Debug)]
pub struct Embedder {
    pool: Arc<Pool>,
    handle: Handle,
    normalization: Normalization,
    fingerprint: Arc<Fingerprint>,
    requests: Vec<Request>,
    spent: Spent,
}

impl Embedder {
    /// Loads the model and computes the fingerprint's probe.
    ///
    /// # Errors
    /// [`InferenceError`] when the model cannot be loaded or its probe is no embedding.
    pub fn load(model: &ResolvedModel, options: &PoolOptions) -> Result<Self, InferenceError> {
        let wrong = |reason: String| InferenceError::ModelKind {
            path: model.path.clone(),
            id: model.spec.id.clone(),
            reason,
        };
        let (Decoder::Embedding, Some(alignment)) = (model.spec.decoder, &model.spec.template)
        else {
            return Err(wrong("it is not a face embedder".to_owned()));
        };
        if alignment != crate::align::ARCFACE_112 {
            return Err(wrong(format!("its alignment template '{alignment}' is not known")));
        }
        let pool = Pool::shared(model, options)?;
        let mut handle = pool.handle();
        let normalization = Normalization::from(&model.spec);
        let mut requests = Vec::new();
        let mut spent = Spent::default();
        let crop = probe_picture();
        let probe =
            embed(&mut handle, &normalization, (&mut requests, &mut spent), &[&crop], None)?
                .pop()
                .ok_or_else(|| wrong("it has no output".to_owned()))?
                .map_err(|e| wrong(format!("its {e}")))?;
        let family = model.spec.family.as_ref().unwrap_or(&model.spec.id);
        let fingerprint =
            Fingerprint { model: family.clone(), alignment: alignment.clone(), probe };
        // What the probe has cost is not the stream's.
        let (handle, spent) = (pool.handle(), Spent::default());
        let fingerprint = Arc::new(fingerprint);
        Ok(Self { pool, handle, normalization, fingerprint, requests, spent })
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub fn spec(&self) -> &ModelSpec {
        &self.pool.model().spec
    }

    /// What became of the crops so far.
    pub fn stats(&self) -> HandleStats {
        self.handle.stats()
    }

    /// Processor time of the calling thread around the model.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// Ends the waiting of [`Embedder::embed`] from another thread.
    pub fn canceller(&self) -> Canceller {
        self.handle.canceller()
    }

    /// What the embeddings of this model can be compared with.
    pub fn fingerprint(&self) -> &Arc<Fingerprint> {
        &self.fingerprint
    }

    /// Embeds the crops, spread over all workers; one result per crop, in order. Waits until
    /// `deadline` at most.
    ///
    /// # Errors
    /// [`InferenceError`] if the model fails or misses the deadline; [`EmbeddingError`] for a crop
    /// whose output is no direction.
    pub fn embed(
        &mut self,
        crops: &[&AlignedCrop],
        deadline: Option<Instant>,
    ) -> Result<Vec<Result<Embedding, EmbeddingError>>, InferenceError> {
        let memory = (&mut self.requests, &mut self.spent);
        embed(&mut self.handle, &self.normalization, memory, crops, deadline)
    }
}

fn embed(
    handle: &mut Handle,
    normalization: &Normalization,
    (requests, spent): (&mut Vec<Request>, &mut Spent),
    crops: &[&AlignedCrop],
    deadline: Option<Instant>,
) -> Result<Vec<Result<Embedding, EmbeddingError>>, InferenceError> {
    let mut embeddings = Vec::with_capacity(crops.len());
    // In portions, so that many crops do not become as many tensors.
    for crops in crops.chunks(LONGEST_LINE) {
        requests.resize_with(requests.len().max(crops.len()), Request::default);
        let requests = &mut requests[..crops.len()];
        cpu::timed(&mut spent.preprocess, || {
            for (crop, request) in crops.iter().zip(requests.iter_mut()) {
                let mut data = request.take_input();
                data.clear();
                crop.append_to(normalization, &mut data);
                request.input = Array4::from_shape_vec((1, 3, CROP_SIDE, CROP_SIDE), data)
                    .expect("a crop has as many values");
            }
        });
        handle.run(requests, deadline)?;
        cpu::timed(&mut spent.decode, || {
            embeddings.extend(requests.iter().map(|request| Embedding::new(request.output(0))));
        });
    }
    Ok(embeddings)
}

/// The fixed picture of the fingerprint: a linear congruential generator's upper bytes
/// (Numerical Recipes' constants, seed 12345).
fn probe_picture() -> AlignedCrop {
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels = std::iter::repeat_with(&mut next).take(CROP_SIDE * CROP_SIDE * 3).collect();
    AlignedCrop::from_rgb(pixels).expect("as many bytes as a crop has")
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
