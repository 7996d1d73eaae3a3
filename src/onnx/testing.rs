//! Tiny networks made by hand, for tests.

use super::number;
use super::wire::{put_bytes, put_int};

/// The bytes of a value description; a negative length is written as the symbol `n`.
fn value(name: &str, dims: &[i64]) -> Vec<u8> {
    let mut shape = Vec::new();
    for length in dims {
        let mut dim = Vec::new();
        if *length < 0 {
            put_bytes(&mut dim, number::DIM_PARAM, b"n");
        } else {
            put_int(&mut dim, number::DIM_VALUE, *length);
        }
        put_bytes(&mut shape, number::SHAPE_DIM, &dim);
    }
    let mut tensor = Vec::new();
    put_int(&mut tensor, number::TENSOR_TYPE_ELEM, 1);
    put_bytes(&mut tensor, number::TENSOR_TYPE_SHAPE, &shape);
    let mut kind = Vec::new();
    put_bytes(&mut kind, number::TYPE_TENSOR, &tensor);
    let mut value = Vec::new();
    put_bytes(&mut value, number::VALUE_NAME, name.as_bytes());
    put_bytes(&mut value, number::VALUE_TYPE, &kind);
    value
}

/// A tensor of 64-bit integers, its values in one of the two places ONNX has for them.
fn ints(name: &str, values: &[i64], raw: bool) -> Vec<u8> {
    let mut tensor = Vec::new();
    put_int(&mut tensor, number::TENSOR_DIMS, values.len() as i64);
    put_int(&mut tensor, number::TENSOR_DATA_TYPE, 7);
    put_bytes(&mut tensor, number::TENSOR_NAME, name.as_bytes());
    if raw {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        put_bytes(&mut tensor, number::TENSOR_RAW_DATA, &bytes);
    } else {
        for value in values {
            put_int(&mut tensor, number::TENSOR_INT64_DATA, *value);
        }
    }
    tensor
}

/// Writes the bytes of a graph.
#[derive(Debug, Default)]
pub(crate) struct Tiny {
    graph: Vec<u8>,
}

impl Tiny {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn input(mut self, name: &str, dims: &[i64]) -> Self {
        put_bytes(&mut self.graph, number::GRAPH_INPUT, &value(name, dims));
        self
    }

    pub(crate) fn output(mut self, name: &str, dims: &[i64]) -> Self {
        put_bytes(&mut self.graph, number::GRAPH_OUTPUT, &value(name, dims));
        self
    }

    pub(crate) fn value_info(mut self, name: &str, dims: &[i64]) -> Self {
        put_bytes(&mut self.graph, number::GRAPH_VALUE_INFO, &value(name, dims));
        self
    }

    pub(crate) fn initializer(mut self, name: &str, values: &[i64], raw: bool) -> Self {
        put_bytes(&mut self.graph, number::GRAPH_INITIALIZER, &ints(name, values, raw));
        self
    }

    pub(crate) fn node(mut self, op: &str, inputs: &[&str], output: &str) -> Self {
        let node = Self::node_bytes(op, inputs, output);
        put_bytes(&mut self.graph, number::GRAPH_NODE, &node);
        self
    }

    /// A `Constant` node, as a tensor or as a list of integers.
    pub(crate) fn constant(mut self, output: &str, values: &[i64], tensor: bool) -> Self {
        let mut attribute = Vec::new();
        if tensor {
            put_bytes(&mut attribute, number::ATTRIBUTE_NAME, b"value");
            put_bytes(&mut attribute, number::ATTRIBUTE_TENSOR, &ints("", values, true));
        } else {
            put_bytes(&mut attribute, number::ATTRIBUTE_NAME, b"value_ints");
            for value in values {
                put_int(&mut attribute, number::ATTRIBUTE_INTS, *value);
            }
        }
        let mut node = Self::node_bytes("Constant", &[], output);
        put_bytes(&mut node, number::NODE_ATTRIBUTE, &attribute);
        put_bytes(&mut self.graph, number::GRAPH_NODE, &node);
        self
    }

    fn node_bytes(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
        let mut node = Vec::new();
        for input in inputs {
            put_bytes(&mut node, number::NODE_INPUT, input.as_bytes());
        }
        put_bytes(&mut node, number::NODE_OUTPUT, output.as_bytes());
        put_bytes(&mut node, number::NODE_OP_TYPE, op.as_bytes());
        node
    }

    /// The file, with a version before and an unknown field after the graph.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        put_int(&mut file, 1, 8);
        put_bytes(&mut file, number::MODEL_GRAPH, &self.graph);
        put_bytes(&mut file, 999, b"kept");
        file
    }

    /// A network with the input and the twelve outputs of YuNet.
    pub(crate) fn yunet(height: i64, width: i64) -> Self {
        let mut tiny = Self::new().input("input", &[1, 3, height, width]);
        for stride in [8, 16, 32] {
            let cells = if height < 0 { -1 } else { height / stride * (width / stride) };
            for (kind, length) in [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)] {
                tiny = tiny.output(&format!("{kind}_{stride}"), &[1, cells, length]);
            }
        }
        tiny
    }

    /// A network with the input and the outputs of a SCRFD with key points, under any names.
    pub(crate) fn scrfd(height: i64, width: i64) -> Self {
        let mut tiny = Self::new().input("data", &[1, 3, height, width]);
        for (stride, name) in [(8, "a"), (16, "b"), (32, "c")] {
            let anchors = if height < 0 { -1 } else { 2 * (height / stride) * (width / stride) };
            for length in [1, 4, 10] {
                tiny = tiny.output(&format!("{name}{length}"), &[anchors, length]);
            }
        }
        tiny
    }

    /// A network with the input and the outputs of a RetinaFace.
    pub(crate) fn retinaface(height: i64, width: i64) -> Self {
        let tiny = Self::new().input("input0", &[1, 3, height, width]);
        let cells = |stride: i64| (height / stride) * (width / stride);
        let anchors = if height < 0 { -1 } else { 2 * (cells(8) + cells(16) + cells(32)) };
        let tiny = tiny.output("loc", &[1, anchors, 4]).output("conf", &[1, anchors, 2]);
        tiny.output("landms", &[1, anchors, 10])
    }

    /// A network with the input and the outputs of a CenterFace.
    pub(crate) fn centerface(batch: i64, height: i64, width: i64) -> Self {
        let mut tiny = Self::new().input("input.1", &[batch, 3, height, width]);
        for (name, planes) in [("537", 1), ("538", 2), ("539", 2), ("540", 10)] {
            tiny = tiny.output(name, &[batch, planes, height / 4, width / 4]);
        }
        tiny
    }

    /// A network with the input and the outputs of an UltraLight with so many anchors.
    pub(crate) fn ultralight(height: i64, width: i64, anchors: i64) -> Self {
        let tiny = Self::new().input("input", &[1, 3, height, width]);
        tiny.output("scores", &[1, anchors, 2]).output("boxes", &[1, anchors, 4])
    }

    /// A network with the input and the output of an embedder of 112 × 112 faces.
    pub(crate) fn embedder(dim: i64) -> Self {
        Self::new().input("input0", &[1, 3, 112, 112]).output("output0", &[1, dim])
    }
}
