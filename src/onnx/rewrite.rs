//! Makes fixed dimensions of a network variable, by editing the file's bytes.

use std::collections::{HashMap, HashSet};

use super::resize::{self, Scales};
use super::wire::{fields, put_bytes, rewrite};
use super::{Dim, Graph, OnnxError, TensorInfo, graph_bytes, number};
use crate::model::FreeDim;

/// ONNX data type of 64-bit integers.
const INT64: i64 = 7;

/// The file with the dimensions `free` of its one input made variable.
///
/// - [`FreeDim::Size`]: height and width of the input; the lengths of all dimensions of the outputs
///   and the shapes of the values in between are forgotten, so that the runtime infers them anew.
///   A `Resize` to a constant size becomes one by a factor, if its input's size is known.
/// - [`FreeDim::Batch`]: dimension 0 of the input and of every output, which must be the same
///   length n. A constant `[n, …]` that a `Reshape` takes as its shape becomes `[-1, …]`; a `-1`
///   further on is filled in from the shape of the output it makes.
///
/// A dimension that is variable already stays as it is; without `free` the bytes are unchanged.
///
/// # Errors
/// [`OnnxError`] if the bytes are no ONNX file, or the graph ties the dimension down in a way not
/// named above.
pub fn free_dims(file: &[u8], free: &[FreeDim]) -> Result<Vec<u8>, OnnxError> {
    if free.is_empty() {
        return Ok(file.to_vec());
    }
    let graph = Graph::parse(graph_bytes(file)?)?;
    let edits = Edits::plan(&graph, free)?;
    rewrite(file, |field, out| {
        let is_graph = field.number == number::MODEL_GRAPH;
        if is_graph {
            put_bytes(out, field.number, &edits.graph(field.bytes("the graph")?)?);
        }
        Ok(is_graph)
    })
}

/// What is to be changed in a graph.
#[derive(Debug, Default)]
struct Edits<'a> {
    size: bool,
    batch: bool,
    /// The batch in the file.
    batch_size: i64,
    /// Name of the input.
    input: String,
    /// New values of constant tensors, by name.
    initializers: HashMap<&'a str, Vec<i64>>,
    /// New values of `Constant` nodes, by place in the list of nodes.
    nodes: HashMap<usize, Vec<i64>>,
    /// Factors of `Resize` nodes, by place in the list of nodes.
    resizes: HashMap<usize, Scales>,
}

impl<'a> Edits<'a> {
    fn plan(graph: &Graph<'a>, free: &[FreeDim]) -> Result<Self, OnnxError> {
        let mut inputs = graph.real_inputs();
        let input = inputs.next().ok_or(OnnxError::Without("input"))?;
        if inputs.next().is_some() {
            return Err(OnnxError::Twice("input"));
        }
        let mut edits = Self {
            input: input.name.clone(),
            size: free.contains(&FreeDim::Size),
            batch: free.contains(&FreeDim::Batch),
            ..Self::default()
        };
        let constants = Constants::collect(graph)?;
        if edits.size {
            edits.plan_size(graph, &constants, input)?;
        }
        if edits.batch {
            edits.plan_batch(graph, &constants, input)?;
        }
        Ok(edits)
    }

    fn plan_size(
        &mut self,
        graph: &Graph<'a>,
        constants: &Constants<'a>,
        input: &TensorInfo,
    ) -> Result<(), OnnxError> {
        let fail = |why| Err(OnnxError::CannotFree { what: "size", why });
        if input.rank() != Some(4) {
            return fail(format!("input '{}' does not have four dimensions", input.name));
        }
        let shapes = resize::shapes(graph)?;
        let weights: HashSet<&str> = graph.initializers.iter().map(|(name, _)| *name).collect();
        for (index, node) in constants.nodes.iter().enumerate() {
            let (data, shape) = match (node.op_type, node.inputs.as_slice()) {
                ("Reshape", [data, shape, ..]) | ("Resize", [data, _, _, shape, ..]) => {
                    (*data, constants.values.get(shape))
                }
                _ => continue,
            };
            // A shape that is computed follows the size by itself.
            let Some((_, shape)) = shape else { continue };
            let made = node.outputs.first().copied().unwrap_or_default();
            if node.op_type == "Reshape" {
                if !weights.contains(data) && fixes_size(shape) {
                    return fail(format!(
                        "the Reshape that makes '{made}' has the shape {shape:?}"
                    ));
                }
                continue;
            }
            let Some(scales) = Scales::of(shape, shapes.get(data), made) else {
                return fail(format!("the Resize that makes '{made}' has the size {shape:?}"));
            };
            self.resizes.insert(index, scales);
        }
        Ok(())
    }

    fn plan_batch(
        &mut self,
        graph: &Graph<'a>,
        constants: &Constants<'a>,
        input: &TensorInfo,
    ) -> Result<(), OnnxError> {
        self.batch_size = input.fixed(0).filter(|length| *length > 0).unwrap_or(1);
        for value in std::iter::once(input).chain(&graph.outputs) {
            let is_input = std::ptr::eq(value, input);
            let why = match value.dims.as_ref().map(|dims| dims.first()) {
                None if is_input => "has no shape",
                Some(None) => "has no dimensions",
                Some(Some(Dim::Fixed(length))) if *length != self.batch_size => {
                    "has a first dimension that is not the batch"
                }
                _ => continue,
            };
            return Err(cannot_batch(format!("'{}' {why}", value.name)));
        }
        for node in &constants.nodes {
            if node.op_type == "Reshape" {
                self.plan_reshape(graph, constants, node)?;
            }
        }
        for node in constants.nodes.iter().filter(|node| node.op_type != "Reshape") {
            if let Some(name) = node.inputs.iter().find(|name| self.changes(constants, name)) {
                let why = format!("the constant '{name}' is used by a {} too", node.op_type);
                return Err(cannot_batch(why));
            }
        }
        Ok(())
    }

    fn changes(&self, constants: &Constants<'a>, name: &str) -> bool {
        match constants.values.get(name) {
            Some((Place::Initializer(name), _)) => self.initializers.contains_key(name),
            Some((Place::Node(index), _)) => self.nodes.contains_key(index),
            None => false,
        }
    }

    fn plan_reshape(
        &mut self,
        graph: &Graph<'a>,
        constants: &Constants<'a>,
        node: &Node<'a>,
    ) -> Result<(), OnnxError> {
        // A shape that is computed follows the batch by itself.
        let Some((place, shape)) = node.inputs.get(1).and_then(|name| constants.values.get(name))
        else {
            return Ok(());
        };
        let name = node.outputs.first().copied().unwrap_or_default();
        let fixed = match shape.split_first() {
            // 0 copies the dimension, -1 takes what is left: both follow the batch.
            Some((0 | -1, _)) | None => return Ok(()),
            Some((first, rest)) if *first == self.batch_size && !rest.contains(&-1) => {
                Some(rest.to_vec())
            }
            // The lengths of the outputs are those of the old size.
            Some((first, rest)) if *first == self.batch_size && !self.size => {
                output_dims(graph, name, rest.len())
            }
            Some(_) => None,
        };
        let fixed = fixed.ok_or_else(|| {
            cannot_batch(format!("the Reshape that makes '{name}' has the shape {shape:?}"))
        })?;
        let new: Vec<i64> = std::iter::once(-1).chain(fixed).collect();
        let old = match place {
            Place::Initializer(name) => self.initializers.insert(name, new.clone()),
            Place::Node(index) => self.nodes.insert(*index, new.clone()),
        };
        if old.is_some_and(|old| old != new) {
            let why = format!("the shape of the Reshape that makes '{name}' is shared");
            return Err(cannot_batch(why));
        }
        Ok(())
    }

    /// The graph with the edits made.
    fn graph(&self, graph: &[u8]) -> Result<Vec<u8>, OnnxError> {
        let mut node = 0;
        let mut new = rewrite(graph, |field, out| {
            let new = match field.number {
                // They hold the old shapes, and the runtime can do without.
                number::GRAPH_VALUE_INFO => return Ok(true),
                number::GRAPH_NODE => {
                    node += 1;
                    match (self.nodes.get(&(node - 1)), self.resizes.get(&(node - 1))) {
                        (Some(values), _) => constant_node(field.bytes("a node")?, values)?,
                        (_, Some(scales)) => scales.node(field.bytes("a node")?)?,
                        _ => return Ok(false),
                    }
                }
                number::GRAPH_INITIALIZER => {
                    let tensor = field.bytes("an initializer")?;
                    let Some(values) = self.initializers.get(super::tensor_name(tensor)?) else {
                        return Ok(false);
                    };
                    constant_tensor(tensor, values)?
                }
                number::GRAPH_INPUT => {
                    let value = field.bytes("an input")?;
                    if super::value_info(value)?.name != self.input {
                        return Ok(false);
                    }
                    edit_shape(value, |shape| self.input_shape(shape))?
                }
                number::GRAPH_OUTPUT => {
                    edit_shape(field.bytes("an output")?, |shape| self.output_shape(shape))?
                }
                _ => return Ok(false),
            };
            put_bytes(out, field.number, &new);
            Ok(true)
        })?;
        let mut resizes: Vec<_> = self.resizes.iter().collect();
        resizes.sort_unstable_by_key(|(index, _)| **index);
        for (_, scales) in resizes {
            put_bytes(&mut new, number::GRAPH_INITIALIZER, &scales.tensor());
        }
        Ok(new)
    }

    fn input_shape(&self, shape: &[u8]) -> Result<Vec<u8>, OnnxError> {
        let mut symbols = [None; 4];
        if self.batch {
            symbols[0] = Some("batch");
        }
        if self.size {
            symbols[2] = Some("height");
            symbols[3] = Some("width");
        }
        with_symbols(shape, &symbols)
    }

    fn output_shape(&self, shape: &[u8]) -> Result<Vec<u8>, OnnxError> {
        if !self.size {
            return with_symbols(shape, &[Some("batch")]);
        }
        // Which lengths follow from the size cannot be told here. Their number stays: the ONNX
        // checker wants every output to have a shape.
        rewrite(shape, |field, out| {
            let is_dim = field.number == number::SHAPE_DIM;
            if is_dim {
                put_bytes(out, field.number, &[]);
            }
            Ok(is_dim)
        })
    }
}

/// Does the constant shape of a `Reshape` hold lengths that come from the picture's size? `[n, c]`
/// and `[n, c, 1, 1]` are vectors of channels, and a `-1` is filled in by the runtime.
fn fixes_size(shape: &[i64]) -> bool {
    match shape {
        _ if shape.contains(&-1) => false,
        [_, _, _] => true,
        [_, _, rest @ ..] => rest.iter().any(|length| *length > 1),
        _ => false,
    }
}

fn cannot_batch(why: String) -> OnnxError {
    OnnxError::CannotFree { what: "batch", why }
}

/// Dimensions 1 and up of the output `name`, if there are `count` and all are fixed.
fn output_dims(graph: &Graph<'_>, name: &str, count: usize) -> Option<Vec<i64>> {
    let output = graph.outputs.iter().find(|output| output.name == name)?;
    let dims: Vec<i64> = (1..output.rank()?).map(|i| output.fixed(i)).collect::<Option<_>>()?;
    (dims.len() == count && dims.iter().all(|length| *length > 0)).then_some(dims)
}

/// Where a constant lies.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Initializer(&'a str),
    Node(usize),
}

#[derive(Debug, Default)]
struct Node<'a> {
    op_type: &'a str,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
}

/// The nodes of a graph, and its constants of 64-bit integers that a `Reshape` takes as a shape or
/// a `Resize` as a size.
#[derive(Debug, Default)]
struct Constants<'a> {
    nodes: Vec<Node<'a>>,
    values: HashMap<&'a str, (Place<'a>, Vec<i64>)>,
}

impl<'a> Constants<'a> {
    fn collect(graph: &Graph<'a>) -> Result<Self, OnnxError> {
        let mut constants = Self::default();
        for bytes in &graph.nodes {
            constants.nodes.push(node(bytes)?);
        }
        let shapes: HashSet<&str> = constants
            .nodes
            .iter()
            .filter_map(|node| match node.op_type {
                "Reshape" => node.inputs.get(1).copied(),
                "Resize" => node.inputs.get(3).copied(),
                _ => None,
            })
            .collect();
        for (name, tensor) in graph.initializers.iter().filter(|(name, _)| shapes.contains(name)) {
            if let Some(values) = tensor_ints(tensor)? {
                constants.values.insert(name, (Place::Initializer(name), values));
            }
        }
        for (index, (node, bytes)) in constants.nodes.iter().zip(&graph.nodes).enumerate() {
            let Some(name) = node.outputs.first().filter(|name| shapes.contains(**name)) else {
                continue;
            };
            if node.op_type == "Constant"
                && let Some(values) = constant_ints(bytes)?
            {
                constants.values.insert(name, (Place::Node(index), values));
            }
        }
        Ok(constants)
    }
}

fn node(bytes: &[u8]) -> Result<Node<'_>, OnnxError> {
    let mut node = Node::default();
    for field in fields(bytes) {
        let field = field?;
        match field.number {
            number::NODE_INPUT => node.inputs.push(field.text("the input of a node")?),
            number::NODE_OUTPUT => node.outputs.push(field.text("the output of a node")?),
            number::NODE_OP_TYPE => node.op_type = field.text("the operator of a node")?,
            _ => {}
        }
    }
    Ok(node)
}

/// The value of a `Constant` node, if it is made of 64-bit integers.
fn constant_ints(node: &[u8]) -> Result<Option<Vec<i64>>, OnnxError> {
    for field in fields(node) {
        let field = field?;
        if field.number != number::NODE_ATTRIBUTE {
            continue;
        }
        let attribute = field.bytes("an attribute")?;
        let mut ints = Vec::new();
        let mut tensor = None;
        let mut name = "";
        for part in fields(attribute) {
            let part = part?;
            match part.number {
                number::ATTRIBUTE_NAME => name = part.text("the name of an attribute")?,
                number::ATTRIBUTE_TENSOR => tensor = Some(part.bytes("a constant tensor")?),
                number::ATTRIBUTE_INTS => part.ints("a list of integers", &mut ints)?,
                _ => {}
            }
        }
        match (name, tensor) {
            ("value", Some(tensor)) => return tensor_ints(tensor),
            ("value_ints", _) => return Ok(Some(ints)),
            _ => {}
        }
    }
    Ok(None)
}

/// The values of a tensor of 64-bit integers; `None` if it has another type or no values here.
fn tensor_ints(tensor: &[u8]) -> Result<Option<Vec<i64>>, OnnxError> {
    let mut data_type = 0;
    let mut ints = Vec::new();
    let mut raw: Option<&[u8]> = None;
    for field in fields(tensor) {
        let field = field?;
        match field.number {
            number::TENSOR_DATA_TYPE => data_type = field.int("the data type of a tensor")?,
            number::TENSOR_INT64_DATA => field.ints("the values of a tensor", &mut ints)?,
            number::TENSOR_RAW_DATA => raw = Some(field.bytes("the values of a tensor")?),
            _ => {}
        }
    }
    if data_type != INT64 {
        return Ok(None);
    }
    if let Some(raw) = raw {
        let (values, []) = raw.as_chunks::<8>() else { return Err(OnnxError::Truncated) };
        ints = values.iter().map(|value| i64::from_le_bytes(*value)).collect();
    }
    Ok((!ints.is_empty()).then_some(ints))
}

/// `tensor` with other values, as many as before.
fn constant_tensor(tensor: &[u8], values: &[i64]) -> Result<Vec<u8>, OnnxError> {
    let mut out = rewrite(tensor, |field, _| {
        Ok(matches!(field.number, number::TENSOR_INT64_DATA | number::TENSOR_RAW_DATA))
    })?;
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    put_bytes(&mut out, number::TENSOR_RAW_DATA, &raw);
    Ok(out)
}

/// A `Constant` node with other values, as many as before.
fn constant_node(node: &[u8], values: &[i64]) -> Result<Vec<u8>, OnnxError> {
    rewrite(node, |field, out| {
        if field.number != number::NODE_ATTRIBUTE {
            return Ok(false);
        }
        let mut put = false;
        let attribute = rewrite(field.bytes("an attribute")?, |part, out| match part.number {
            number::ATTRIBUTE_TENSOR => {
                let tensor = constant_tensor(part.bytes("a constant tensor")?, values)?;
                put_bytes(out, part.number, &tensor);
                Ok(true)
            }
            number::ATTRIBUTE_INTS => {
                // Once, however the numbers were spread over fields.
                if !std::mem::replace(&mut put, true) {
                    for value in values {
                        super::wire::put_int(out, part.number, *value);
                    }
                }
                Ok(true)
            }
            _ => Ok(false),
        })?;
        put_bytes(out, field.number, &attribute);
        Ok(true)
    })
}

/// `value` with the result of `edit` for its shape.
fn edit_shape(
    value: &[u8],
    edit: impl Fn(&[u8]) -> Result<Vec<u8>, OnnxError>,
) -> Result<Vec<u8>, OnnxError> {
    rewrite(value, |field, out| {
        if field.number != number::VALUE_TYPE {
            return Ok(false);
        }
        let kind = rewrite(field.bytes("the type of a value")?, |field, out| {
            if field.number != number::TYPE_TENSOR {
                return Ok(false);
            }
            let tensor = rewrite(field.bytes("the tensor type of a value")?, |field, out| {
                if field.number != number::TENSOR_TYPE_SHAPE {
                    return Ok(false);
                }
                put_bytes(out, field.number, &edit(field.bytes("the shape of a value")?)?);
                Ok(true)
            })?;
            put_bytes(out, field.number, &tensor);
            Ok(true)
        })?;
        put_bytes(out, field.number, &kind);
        Ok(true)
    })
}

/// `shape` with the dimensions that have a symbol in `symbols` and a fixed length made variable.
fn with_symbols(shape: &[u8], symbols: &[Option<&str>]) -> Result<Vec<u8>, OnnxError> {
    let mut index = 0;
    rewrite(shape, |field, out| {
        if field.number != number::SHAPE_DIM {
            return Ok(false);
        }
        let symbol = symbols.get(index).copied().flatten();
        index += 1;
        let Some(symbol) = symbol else { return Ok(false) };
        if !matches!(super::dim(field)?, Dim::Fixed(_)) {
            return Ok(false);
        }
        let mut dim = rewrite(field.bytes("a dimension")?, |part, _| {
            Ok(matches!(part.number, number::DIM_VALUE | number::DIM_PARAM))
        })?;
        put_bytes(&mut dim, number::DIM_PARAM, symbol.as_bytes());
        put_bytes(out, field.number, &dim);
        Ok(true)
    })
}

/// The constant shape of the first `Reshape` that has one.
#[cfg(test)]
pub(super) fn shape_of_reshape(graph: &Graph<'_>) -> Option<Vec<i64>> {
    let constants = Constants::collect(graph).ok()?;
    let reshape = constants.nodes.iter().find(|node| node.op_type == "Reshape")?;
    constants.values.get(reshape.inputs.get(1)?).map(|(_, values)| values.clone())
}
