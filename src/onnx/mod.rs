//! ONNX files without a runtime: what goes in and out of a network, and freeing dimensions that
//! are fixed in the file. Reads hostile files: every length is checked, nothing is trusted.

mod resize;
mod rewrite;
mod wire;

pub use rewrite::free_dims;

use std::collections::HashSet;
use std::fmt;

use wire::{Field, fields};

/// Why bytes are not an ONNX file that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    #[error("the file ends in the middle of a field")]
    Truncated,
    #[error("a number is longer than 64 bits")]
    Varint,
    #[error("a field has wire type {0}, which ONNX does not use")]
    WireType(u64),
    #[error("a field has the number 0")]
    FieldZero,
    #[error("{0} has a value of another type")]
    FieldType(&'static str),
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    #[error("it has no graph")]
    NoGraph,
    #[error("it has more than one {0}")]
    Twice(&'static str),
    #[error("its graph has no {0}")]
    Without(&'static str),
    #[error("its {what} cannot be made variable: {why}")]
    CannotFree { what: &'static str, why: String },
}

/// One dimension of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// A length. Comes from the file: may be zero or negative.
    Fixed(i64),
    /// A named length that is decided at run time.
    Symbol(String),
    /// Nothing is said.
    Unknown,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Symbol(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// An input or output of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    /// ONNX data type (1 is 32-bit float); 0 if it is not a tensor or nothing is said.
    pub data_type: i64,
    /// `None` if the file tells no shape.
    pub dims: Option<Vec<Dim>>,
}

impl TensorInfo {
    /// The length of dimension `index` if the file fixes it.
    pub fn fixed(&self, index: usize) -> Option<i64> {
        match self.dims.as_ref()?.get(index)? {
            Dim::Fixed(length) => Some(*length),
            _ => None,
        }
    }

    /// Number of dimensions, if the file tells a shape.
    pub fn rank(&self) -> Option<usize> {
        self.dims.as_ref().map(Vec::len)
    }
}

/// What goes in and out of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Without the weights that old files list among the inputs.
    pub inputs: Vec<TensorInfo>,
    pub outputs: Vec<TensorInfo>,
}

impl Signature {
    pub fn output(&self, name: &str) -> Option<&TensorInfo> {
        self.outputs.iter().find(|o| o.name == name)
    }
}

/// Reads the inputs and outputs of the network in `file`.
///
/// # Errors
/// [`OnnxError`] if the bytes are no ONNX file, or are cut short.
pub fn signature(file: &[u8]) -> Result<Signature, OnnxError> {
    let graph = Graph::parse(graph_bytes(file)?)?;
    let inputs = graph.real_inputs().cloned().collect();
    Ok(Signature { inputs, outputs: graph.outputs })
}

// Field numbers of the messages of onnx.proto.
mod number {
    pub(super) const MODEL_GRAPH: u64 = 7;

    pub(super) const GRAPH_NODE: u64 = 1;
    pub(super) const GRAPH_INITIALIZER: u64 = 5;
    pub(super) const GRAPH_INPUT: u64 = 11;
    pub(super) const GRAPH_OUTPUT: u64 = 12;
    pub(super) const GRAPH_VALUE_INFO: u64 = 13;

    pub(super) const VALUE_NAME: u64 = 1;
    pub(super) const VALUE_TYPE: u64 = 2;
    pub(super) const TYPE_TENSOR: u64 = 1;
    pub(super) const TENSOR_TYPE_ELEM: u64 = 1;
    pub(super) const TENSOR_TYPE_SHAPE: u64 = 2;
    pub(super) const SHAPE_DIM: u64 = 1;
    pub(super) const DIM_VALUE: u64 = 1;
    pub(super) const DIM_PARAM: u64 = 2;

    pub(super) const NODE_INPUT: u64 = 1;
    pub(super) const NODE_OUTPUT: u64 = 2;
    pub(super) const NODE_OP_TYPE: u64 = 4;
    pub(super) const NODE_ATTRIBUTE: u64 = 5;

    pub(super) const ATTRIBUTE_NAME: u64 = 1;
    pub(super) const ATTRIBUTE_TENSOR: u64 = 5;
    pub(super) const ATTRIBUTE_INTS: u64 = 8;

    pub(super) const TENSOR_DIMS: u64 = 1;
    pub(super) const TENSOR_DATA_TYPE: u64 = 2;
    pub(super) const TENSOR_INT64_DATA: u64 = 7;
    pub(super) const TENSOR_NAME: u64 = 8;
    pub(super) const TENSOR_RAW_DATA: u64 = 9;
}

/// The parts of a graph this module looks at.
#[derive(Debug, Default)]
struct Graph<'a> {
    nodes: Vec<&'a [u8]>,
    /// Name and bytes of the constant tensors.
    initializers: Vec<(&'a str, &'a [u8])>,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    /// Bytes of what is said of the values in between.
    values: Vec<&'a [u8]>,
}

impl<'a> Graph<'a> {
    fn parse(graph: &'a [u8]) -> Result<Self, OnnxError> {
        let mut parsed = Self::default();
        for field in fields(graph) {
            let field = field?;
            match field.number {
                number::GRAPH_NODE => parsed.nodes.push(field.bytes("a node")?),
                number::GRAPH_INITIALIZER => {
                    let tensor = field.bytes("an initializer")?;
                    parsed.initializers.push((tensor_name(tensor)?, tensor));
                }
                number::GRAPH_INPUT => {
                    parsed.inputs.push(value_info(field.bytes("an input")?)?);
                }
                number::GRAPH_OUTPUT => {
                    parsed.outputs.push(value_info(field.bytes("an output")?)?);
                }
                number::GRAPH_VALUE_INFO => parsed.values.push(field.bytes("a value")?),
                _ => {}
            }
        }
        if parsed.outputs.is_empty() {
            return Err(OnnxError::Without("output"));
        }
        Ok(parsed)
    }

    /// The inputs that are not weights: files of ONNX before IR version 4 list both.
    fn real_inputs(&self) -> impl Iterator<Item = &TensorInfo> {
        let weights: HashSet<&str> = self.initializers.iter().map(|(name, _)| *name).collect();
        self.inputs.iter().filter(move |input| !weights.contains(input.name.as_str()))
    }
}

fn graph_bytes(file: &[u8]) -> Result<&[u8], OnnxError> {
    only(file, number::MODEL_GRAPH, "graph")?.ok_or(OnnxError::NoGraph)
}

/// The nested message `wanted`, which may occur once. (Protobuf would merge two: no writer of
/// ONNX files makes them, and a merge is where readers disagree.)
fn only<'a>(
    message: &'a [u8],
    wanted: u64,
    what: &'static str,
) -> Result<Option<&'a [u8]>, OnnxError> {
    let mut found = None;
    for field in fields(message) {
        let field = field?;
        if field.number == wanted && found.replace(field.bytes(what)?).is_some() {
            return Err(OnnxError::Twice(what));
        }
    }
    Ok(found)
}

fn tensor_name(tensor: &[u8]) -> Result<&str, OnnxError> {
    let mut name = "";
    for field in fields(tensor) {
        let field = field?;
        if field.number == number::TENSOR_NAME {
            name = field.text("the name of an initializer")?;
        }
    }
    Ok(name)
}

fn value_info(value: &[u8]) -> Result<TensorInfo, OnnxError> {
    let mut info = TensorInfo { name: String::new(), data_type: 0, dims: None };
    for field in fields(value) {
        let field = field?;
        if field.number == number::VALUE_NAME {
            info.name = field.text("the name of an input or output")?.to_owned();
        }
    }
    let Some(kind) = only(value, number::VALUE_TYPE, "type of a value")? else { return Ok(info) };
    let Some(tensor) = only(kind, number::TYPE_TENSOR, "tensor type of a value")? else {
        return Ok(info);
    };
    for field in fields(tensor) {
        let field = field?;
        if field.number == number::TENSOR_TYPE_ELEM {
            info.data_type = field.int("the data type of a value")?;
        }
    }
    if let Some(shape) = only(tensor, number::TENSOR_TYPE_SHAPE, "shape of a value")? {
        info.dims = Some(dims(shape)?);
    }
    Ok(info)
}

fn dims(shape: &[u8]) -> Result<Vec<Dim>, OnnxError> {
    let mut dims = Vec::new();
    for field in fields(shape) {
        let field = field?;
        if field.number == number::SHAPE_DIM {
            dims.push(dim(&field)?);
        }
    }
    Ok(dims)
}

fn dim(field: &Field<'_>) -> Result<Dim, OnnxError> {
    let mut dim = Dim::Unknown;
    for part in fields(field.bytes("a dimension")?) {
        let part = part?;
        match part.number {
            number::DIM_VALUE => dim = Dim::Fixed(part.int("the length of a dimension")?),
            number::DIM_PARAM => {
                dim = Dim::Symbol(part.text("the name of a dimension")?.to_owned());
            }
            _ => {}
        }
    }
    Ok(dim)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
