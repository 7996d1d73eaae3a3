//! `Resize` nodes of networks whose size is made variable: what was enlarged to a constant size is
//! enlarged by a constant factor.

use std::collections::HashMap;

use super::wire::{put_bytes, put_int, rewrite};
use super::{Dim, Graph, OnnxError, number, value_info};

/// ONNX data type of 32-bit floats.
const FLOAT: i64 = 1;

/// The factors of one `Resize`, and the name of the constant that holds them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scales {
    name: String,
    factors: [f32; 4],
}

/// What the file says of the dimensions of the values in between, by name.
pub(super) fn shapes(graph: &Graph<'_>) -> Result<HashMap<String, Vec<Dim>>, OnnxError> {
    let mut shapes = HashMap::new();
    for value in &graph.values {
        let info = value_info(value)?;
        if let Some(dims) = info.dims {
            shapes.insert(info.name, dims);
        }
    }
    Ok(shapes)
}

impl Scales {
    /// The factors from pictures of `from` to pictures of `to`, both [n, c, h, w]; `made` is the
    /// name of the result. `None` unless `n` and `c` stay and both sides grow by whole numbers:
    /// only then does every size grow to what its neighbours expect.
    pub(super) fn of(to: &[i64], from: Option<&Vec<Dim>>, made: &str) -> Option<Self> {
        let ([n, c, h, w], Some([Dim::Fixed(n0), Dim::Fixed(c0), Dim::Fixed(h0), Dim::Fixed(w0)])) =
            (to, from.map(Vec::as_slice))
        else {
            return None;
        };
        let factor = |to: i64, from: i64| {
            let whole = from > 0 && to > 0 && to % from == 0;
            whole.then(|| (to / from) as f32)
        };
        if (n, c) != (n0, c0) {
            return None;
        }
        let factors = [1.0, 1.0, factor(*h, *h0)?, factor(*w, *w0)?];
        Some(Self { name: format!("{made}/scales"), factors })
    }

    /// The `Resize` with the factors as its third input, and without its fourth, the size.
    pub(super) fn node(&self, node: &[u8]) -> Result<Vec<u8>, OnnxError> {
        let mut input = 0;
        rewrite(node, |field, out| {
            if field.number != number::NODE_INPUT {
                return Ok(false);
            }
            input += 1;
            if input == 3 {
                put_bytes(out, number::NODE_INPUT, self.name.as_bytes());
            }
            Ok(input > 2)
        })
    }

    /// The constant that holds the factors.
    pub(super) fn tensor(&self) -> Vec<u8> {
        let mut tensor = Vec::new();
        put_int(&mut tensor, number::TENSOR_DIMS, self.factors.len() as i64);
        put_int(&mut tensor, number::TENSOR_DATA_TYPE, FLOAT);
        put_bytes(&mut tensor, number::TENSOR_NAME, self.name.as_bytes());
        let raw: Vec<u8> = self.factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
        put_bytes(&mut tensor, number::TENSOR_RAW_DATA, &raw);
        tensor
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::fields;
    use super::*;

    fn fixed(lengths: [i64; 4]) -> Vec<Dim> {
        lengths.map(Dim::Fixed).to_vec()
    }

    fn factors(to: [i64; 4], from: [i64; 4]) -> Option<[f32; 4]> {
        Scales::of(&to, Some(&fixed(from)), "x").map(|scales| scales.factors)
    }

    #[test]
    fn only_whole_factors_of_known_sizes_are_taken() {
        assert_eq!(factors([1, 16, 40, 60], [1, 16, 20, 20]), Some([1.0, 1.0, 2.0, 3.0]));
        for (to, from) in [
            ([1, 16, 40, 40], [1, 16, 20, 0]),
            ([1, 16, 41, 40], [1, 16, 20, 20]),
            ([1, 16, 10, 40], [1, 16, 20, 20]),
            ([1, 16, -40, 40], [1, 16, 20, 20]),
            ([1, 16, i64::MIN, 40], [1, 16, -1, 20]),
            ([1, 32, 40, 40], [1, 16, 20, 20]),
            ([2, 16, 40, 40], [1, 16, 20, 20]),
        ] {
            assert_eq!(factors(to, from), None, "{to:?} {from:?}");
        }
        let mut unknown = fixed([1, 16, 20, 20]);
        unknown[2] = Dim::Symbol("h".to_owned());
        assert_eq!(Scales::of(&[1, 16, 40, 40], Some(&unknown), "x"), None);
        assert_eq!(Scales::of(&[1, 16, 40, 40], None, "x"), None);
        assert_eq!(Scales::of(&[40, 40], Some(&fixed([1, 16, 20, 20])), "x"), None);
    }

    #[test]
    fn node_and_constant_hold_the_factors() {
        let scales = Scales::of(&[1, 16, 40, 40], Some(&fixed([1, 16, 20, 20])), "y").unwrap();
        let mut node = Vec::new();
        for name in ["x", "roi", "none", "sizes"] {
            put_bytes(&mut node, number::NODE_INPUT, name.as_bytes());
        }
        put_bytes(&mut node, number::NODE_OUTPUT, b"y");
        let new = scales.node(&node).unwrap();
        let inputs: Vec<_> = fields(&new)
            .map(Result::unwrap)
            .filter(|field| field.number == number::NODE_INPUT)
            .map(|field| field.text("an input").unwrap().to_owned())
            .collect();
        assert_eq!(inputs, ["x", "roi", "y/scales"]);
        assert!(new.ends_with(b"y"), "the output stays");
        let tensor = scales.tensor();
        assert_eq!(super::super::tensor_name(&tensor), Ok("y/scales"));
        assert!(tensor.ends_with(&2f32.to_le_bytes()));
    }
}
