//! Families of detectors: telling a file's family by its inputs and outputs, and what follows for
//! its description.

use std::path::Path;

use super::spec::{picture_misfit, stem};
use super::{Decoder, FreeDim, ModelError, ModelFile, ModelSpec, registry, unknown};
use crate::detect::{scrfd, ultralight};
use crate::onnx::{self, OnnxError, Signature, TensorInfo};

/// The families, and what a recognised one is called. YuNet goes by its names and comes first.
const FAMILIES: [(Decoder, &str); 5] = [
    (Decoder::Yunet, "YuNet"),
    (Decoder::Scrfd, "SCRFD with key points"),
    (Decoder::Retinaface, "RetinaFace"),
    (Decoder::Centerface, "CenterFace"),
    (Decoder::Ultralight, "UltraLight"),
];

/// The family of a file, if it is one of a detector.
pub(super) fn of(signature: &Signature) -> Option<Decoder> {
    FAMILIES.map(|(decoder, _)| decoder).into_iter().find(|d| misfit(*d, signature).is_none())
}

/// The description of a file that is of the family `decoder`: that of the family's first model in
/// the registry, with the size of this one, which is freed where the graph allows it.
///
/// # Errors
/// [`ModelError::Graph`] if the file takes several pictures at once, and no other number of them.
pub(super) fn spec(
    decoder: Decoder,
    file: &[u8],
    signature: &Signature,
    path: &Path,
) -> Result<ModelSpec, ModelError> {
    let entry = registry().iter().find(|spec| spec.decoder == decoder);
    let mut spec =
        entry.expect("the registry has a model of every family, as a test checks").clone();
    let name = FAMILIES.iter().find(|(d, _)| *d == decoder).map_or("", |(_, name)| name);
    spec.id = stem(path);
    spec.family = None;
    (spec.licence, spec.commercial, spec.training_data) = (unknown(), false, unknown());
    spec.description = format!("recognised as {name} by its outputs");
    spec.file = ModelFile::default();
    let input = signature.inputs.first();
    let fixed = |index| input.and_then(|i| i.fixed(index));
    spec.free.clear();
    if fixed(0).is_some_and(|batch| batch != 1) {
        spec.free.push(FreeDim::Batch);
    }
    let fixed_size = input.and_then(size_of);
    if spec.size.is_some() {
        // A family of one size: that of the file, as `misfit` has seen to.
        spec.size = fixed_size;
    } else if fixed(2).or(fixed(3)).is_some() {
        spec.free.push(FreeDim::Size);
    }
    let checked = match (onnx::free_dims(file, &spec.free), fixed_size) {
        (Err(OnnxError::CannotFree { what: "size", .. }), Some(size)) => {
            spec.free.retain(|dim| *dim != FreeDim::Size);
            (spec.size, spec.size_multiple) = (Some(size), None);
            onnx::free_dims(file, &spec.free).map(drop)
        }
        (freed, _) => freed.map(drop),
    };
    checked.map_err(|source| ModelError::graph(path, source))?;
    Ok(spec)
}

/// Width and height of an input of one size.
fn size_of(input: &TensorInfo) -> Option<[u32; 2]> {
    Some([u32::try_from(input.fixed(3)?).ok()?, u32::try_from(input.fixed(2)?).ok()?])
}

/// Why a file is not of the family `decoder`.
pub(super) fn misfit(decoder: Decoder, signature: &Signature) -> Option<String> {
    let [input] = signature.inputs.as_slice() else {
        return Some(format!("it has {} inputs, not one", signature.inputs.len()));
    };
    if let Some(why) = picture_misfit(input) {
        return Some(why);
    }
    let wanted = decoder.outputs();
    if decoder != Decoder::Yunet && signature.outputs.len() != wanted {
        return Some(format!("it has {} outputs, not {wanted}", signature.outputs.len()));
    }
    match decoder {
        Decoder::Yunet => yunet_misfit(signature),
        Decoder::Scrfd => kinds_misfit(signature, last, &[(1, 3), (4, 3), (10, 3)])
            .or_else(|| anchors_misfit(signature, input)),
        Decoder::Retinaface => kinds_misfit(signature, last, &[(4, 1), (2, 1), (10, 1)]),
        Decoder::Centerface => kinds_misfit(signature, planes, &[(1, 1), (2, 2), (10, 1)]),
        Decoder::Ultralight => kinds_misfit(signature, last, &[(2, 1), (4, 1)])
            .or_else(|| priors_misfit(signature, input)),
        Decoder::Embedding => Some("it is not a detector".to_owned()),
    }
}

/// Strides of YuNet, each with four outputs.
const YUNET_STRIDES: [u32; 3] = [8, 16, 32];
/// Kinds of YuNet outputs with the values per cell.
const YUNET_KINDS: [(&str, i64); 4] = [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)];

fn yunet_misfit(signature: &Signature) -> Option<String> {
    for stride in YUNET_STRIDES {
        for (kind, values) in YUNET_KINDS {
            let name = format!("{kind}_{stride}");
            let Some(output) = signature.output(&name) else {
                return Some(format!("it has no output '{name}'"));
            };
            if output.fixed(2).is_some_and(|length| length != values) {
                return Some(format!("output '{name}' does not have {values} values per cell"));
            }
        }
    }
    None
}

/// The values per anchor, the last dimension of tables.
fn last(output: &TensorInfo) -> Option<i64> {
    output.fixed(output.rank()?.checked_sub(1)?)
}

/// The number of maps.
fn planes(output: &TensorInfo) -> Option<i64> {
    output.fixed(1).filter(|_| output.rank() == Some(4))
}

/// Checks that so many outputs have so many values.
fn kinds_misfit(
    signature: &Signature,
    kind: impl Fn(&TensorInfo) -> Option<i64>,
    wanted: &[(i64, usize)],
) -> Option<String> {
    wanted.iter().find_map(|(values, count)| {
        let got = signature.outputs.iter().filter(|o| kind(o) == Some(*values)).count();
        (got != *count).then(|| format!("{got} of its outputs, not {count}, have {values} values"))
    })
}

/// Rows of the output with `values` per row, if the file tells.
fn rows(signature: &Signature, values: i64) -> impl Iterator<Item = i64> {
    let outputs = signature.outputs.iter().filter(move |o| last(o) == Some(values));
    outputs.filter_map(|o| o.fixed(o.rank()?.checked_sub(2)?))
}

/// Checks the number of anchors of a SCRFD of one size: nine outputs of 1, 4 and 10 values may be
/// another network, with one anchor per cell.
fn anchors_misfit(signature: &Signature, input: &TensorInfo) -> Option<String> {
    let [width, height] = size_of(input)?.map(|side| side as usize);
    let total: i64 = rows(signature, 1).try_fold(0_i64, i64::checked_add).unwrap_or(-1);
    let all_known = rows(signature, 1).count() == 3;
    let wanted = scrfd::anchors(width, height);
    (all_known && usize::try_from(total) != Ok(wanted))
        .then(|| format!("it has {total} anchors, not {wanted}"))
}

/// Checks size and number of anchors of an UltraLight, whose priors are part of the file.
fn priors_misfit(signature: &Signature, input: &TensorInfo) -> Option<String> {
    let Some([width, height]) = size_of(input).map(|size| size.map(|side| side as usize)) else {
        return Some("its input has no fixed size".to_owned());
    };
    let wanted = ultralight::anchors(width, height);
    rows(signature, 4)
        .chain(rows(signature, 2))
        .find(|got| usize::try_from(*got) != Ok(wanted))
        .map(|got| format!("it has {got} anchors, not {wanted}"))
}

/// Checks that the detector described by `spec` can be given the pictures that the description
/// promises.
pub(super) fn size_misfit(spec: &ModelSpec, signature: &Signature) -> Option<String> {
    let input = signature.inputs.first()?;
    if !spec.free.contains(&FreeDim::Batch)
        && let Some(batch) = input.fixed(0).filter(|batch| *batch != 1)
    {
        return Some(format!("its input takes {batch} pictures at a time: free needs \"batch\""));
    }
    if spec.free.contains(&FreeDim::Size) {
        return None;
    }
    let (height, width) = (input.fixed(2), input.fixed(3));
    let other = |fixed: Option<i64>, side: u32| fixed.is_some_and(|f| f != i64::from(side));
    match spec.size {
        Some([w, h]) if other(width, w) || other(height, h) => Some(format!(
            "its input has the size {} x {}, not {w} x {h}",
            width.map_or_else(|| "?".to_owned(), |w| w.to_string()),
            height.map_or_else(|| "?".to_owned(), |h| h.to_string()),
        )),
        None if width.or(height).is_some() => Some(
            "the size of its input is fixed: free needs \"size\", or give it as size".to_owned(),
        ),
        _ => None,
    }
}
