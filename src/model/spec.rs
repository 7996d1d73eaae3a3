//! Descriptions of models: reading a user's own, recognising a file by its signature, and checking
//! that the two fit.

use std::path::Path;

use super::{Decoder, FreeDim, ModelError, ModelSpec, TEMPLATES, Task, family};
use crate::onnx::{Signature, TensorInfo};

/// Longest side of a picture or longest vector a description may ask for.
const MAX_LENGTH: u32 = 65_536;
/// Longest side of an input of one size: it is filled to the last pixel for every picture.
const MAX_SIDE: u32 = 4096;

/// Reads the description `text` of the model file at `model`; `path` is where the text comes from.
pub(super) fn parse(text: &str, path: &Path, model: &Path) -> Result<ModelSpec, ModelError> {
    let invalid = |message: String| ModelError::Description { path: path.to_owned(), message };
    let mut spec: ModelSpec =
        toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
    if spec.id.is_empty() {
        spec.id = stem(model);
    }
    validate(&spec).map_err(|(key, why)| invalid(format!("key '{key}' {why}")))?;
    Ok(spec)
}

pub(super) fn stem(model: &Path) -> String {
    model.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The first key with a value that cannot work, and why.
pub(super) fn validate(spec: &ModelSpec) -> Result<(), (&'static str, String)> {
    let fail = |key, why: &str| Err((key, why.to_owned()));
    if spec.decoder.task() != spec.task {
        return fail("decoder", "does not belong to this task");
    }
    if !spec.mean.iter().all(|v| v.is_finite()) {
        return fail("mean", "has a value that is not finite");
    }
    if !spec.std.iter().all(|v| v.is_finite() && *v > 0.0) {
        return fail("std", "has a value that is not above 0");
    }
    if !(-1.0..=1.0).contains(&spec.threshold) {
        return fail("threshold", "is not in -1..=1");
    }
    if spec.free.iter().filter(|dim| **dim == FreeDim::Batch).count() > 1
        || spec.free.iter().filter(|dim| **dim == FreeDim::Size).count() > 1
    {
        return fail("free", "names a dimension twice");
    }
    match spec.task {
        Task::Detector => {
            validate_size(spec)?;
            if !spec.nms.is_some_and(|nms| (0.0..=1.0).contains(&nms)) {
                return fail("nms", "is missing or not in 0..=1");
            }
        }
        Task::Embedder => {
            if !spec.dim.is_some_and(|dim| (1..=MAX_LENGTH as usize).contains(&dim)) {
                return fail("dim", "is missing or not in 1..=65536");
            }
            if !spec.template.as_deref().is_some_and(|name| TEMPLATES.contains(&name)) {
                let why = format!("is missing or none of {}", TEMPLATES.join(", "));
                return Err(("template", why));
            }
        }
    }
    Ok(())
}

fn validate_size(spec: &ModelSpec) -> Result<(), (&'static str, String)> {
    let fail = |key, why: &str| Err((key, why.to_owned()));
    match (spec.size, spec.size_multiple) {
        (Some(_), Some(_)) => fail("size", "cannot be there beside size-multiple"),
        (Some(_), None) if spec.free.contains(&FreeDim::Size) => {
            fail("size", "cannot be there if the size is freed: size-multiple is")
        }
        (Some(size), None) if !size.iter().all(|side| (1..=MAX_SIDE).contains(side)) => {
            fail("size", "has a side that is not in 1..=4096")
        }
        (None, _) if spec.decoder == Decoder::Ultralight => {
            fail("size", "is missing: the anchors of an UltraLight belong to one size")
        }
        (None, multiple) if !multiple.is_some_and(|m| (1..=MAX_LENGTH).contains(&m)) => {
            fail("size-multiple", "is missing or not in 1..=65536")
        }
        _ => Ok(()),
    }
}

/// The description of a model that can be told from its file alone.
pub(super) fn recognise(
    file: &[u8],
    signature: &Signature,
    path: &Path,
) -> Result<ModelSpec, ModelError> {
    if let Some(decoder) = family::of(signature) {
        return family::spec(decoder, file, signature, path);
    }
    if is_embedder(signature) {
        return Err(ModelError::NeedsDescription { path: path.to_owned() });
    }
    let mut outputs: Vec<&str> = signature.outputs.iter().map(|o| o.name.as_str()).collect();
    let more = outputs.len().saturating_sub(6);
    outputs.truncate(6);
    let mut outputs = outputs.join(", ");
    if more > 0 {
        outputs.push_str(&format!(" and {more} more"));
    }
    Err(ModelError::Unrecognised { path: path.to_owned(), outputs })
}

/// Is there one picture of 112 × 112 going in and one vector coming out?
pub(super) fn is_embedder(signature: &Signature) -> bool {
    let ([input], [output]) = (signature.inputs.as_slice(), signature.outputs.as_slice()) else {
        return false;
    };
    picture_misfit(input).is_none()
        && (input.fixed(2), input.fixed(3)) == (Some(112), Some(112))
        && output.rank() == Some(2)
        && output.fixed(1).is_some_and(|dim| dim > 1)
}

/// Checks that a file can be what `spec` says; the reason if not.
pub(super) fn misfit(spec: &ModelSpec, signature: &Signature) -> Option<String> {
    match spec.task {
        Task::Detector => {
            family::misfit(spec.decoder, signature).or_else(|| family::size_misfit(spec, signature))
        }
        Task::Embedder => embedding_misfit(spec, signature),
    }
}

fn embedding_misfit(spec: &ModelSpec, signature: &Signature) -> Option<String> {
    let ([input], [output]) = (signature.inputs.as_slice(), signature.outputs.as_slice()) else {
        let (inputs, outputs) = (signature.inputs.len(), signature.outputs.len());
        return Some(format!("it has {inputs} inputs and {outputs} outputs, not one of each"));
    };
    if let Some(why) = picture_misfit(input) {
        return Some(why);
    }
    let (dim, actual) = (spec.dim?, output.fixed(output.rank()?.checked_sub(1)?)?);
    (usize::try_from(actual) != Ok(dim))
        .then(|| format!("its output has {actual} dimensions, not {dim}"))
}

/// Why `input` cannot take a picture of three planes of 32-bit floats.
pub(super) fn picture_misfit(input: &TensorInfo) -> Option<String> {
    let name = &input.name;
    if input.data_type != 1 {
        return Some(format!("input '{name}' does not take 32-bit floats"));
    }
    if input.rank() != Some(4) || input.fixed(1).is_some_and(|planes| planes != 3) {
        return Some(format!("input '{name}' does not take pictures of three planes"));
    }
    None
}
