//! The outputs of a model, as the decoders of the families whose outputs have no fixed names get
//! them: told apart by their shapes.

/// An output of a detector is not what its input size demands.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DecodeError {
    #[error("output '{output}' has {got} values, {wanted} are expected")]
    Length { output: String, wanted: usize, got: usize },
    #[error("{got} of its outputs have {kind} values per place, {wanted} are expected")]
    Kinds { kind: usize, wanted: usize, got: usize },
    #[error("it has {got} outputs, {wanted} are expected")]
    Count { wanted: usize, got: usize },
}

/// One output: its name, its shape, and its values in the order of the shape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    pub values: &'a [f32],
}

impl<'a> Output<'a> {
    /// Values per anchor of a table [.., anchors, values].
    pub(crate) fn per_anchor(&self) -> Option<usize> {
        self.shape.last().copied()
    }

    /// Number of the maps [1, maps, height, width].
    pub(crate) fn maps(&self) -> Option<usize> {
        self.shape.get(1).copied().filter(|_| self.shape.len() == 4)
    }

    /// The values, if there are `wanted`.
    pub(crate) fn exactly(&self, wanted: usize) -> Result<&'a [f32], DecodeError> {
        let got = self.values.len();
        if got == wanted {
            return Ok(self.values);
        }
        Err(DecodeError::Length { output: self.name.to_owned(), wanted, got })
    }

    /// The values in groups of N, if there are `wanted` groups.
    pub(crate) fn groups<const N: usize>(
        &self,
        wanted: usize,
    ) -> Result<&'a [[f32; N]], DecodeError> {
        Ok(self.exactly(wanted.saturating_mul(N))?.as_chunks().0)
    }
}

/// The N outputs of which `kind` is `wanted`, in the order of the model.
pub(crate) fn of_kind<'a, const N: usize>(
    outputs: &[Output<'a>],
    kind: impl Fn(&Output<'a>) -> Option<usize>,
    wanted: usize,
) -> Result<[Output<'a>; N], DecodeError> {
    let mut found = [Output::default(); N];
    let mut got = 0;
    for output in outputs.iter().filter(|output| kind(output) == Some(wanted)) {
        if let Some(place) = found.get_mut(got) {
            *place = *output;
        }
        got += 1;
    }
    if got == N { Ok(found) } else { Err(DecodeError::Kinds { kind: wanted, wanted: N, got }) }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Output;

    /// An output with memory of its own, to be changed by a test.
    #[derive(Clone, Debug)]
    pub(crate) struct Blank {
        pub(crate) name: String,
        pub(crate) shape: Vec<usize>,
        pub(crate) values: Vec<f32>,
    }

    impl Blank {
        /// All zero.
        pub(crate) fn new(name: &str, shape: &[usize]) -> Self {
            let values = vec![0.0; shape.iter().product()];
            Self { name: name.to_owned(), shape: shape.to_vec(), values }
        }

        pub(crate) fn output(&self) -> Output<'_> {
            Output { name: &self.name, shape: &self.shape, values: &self.values }
        }
    }

    /// The outputs as a decoder takes them.
    pub(crate) fn outputs<const N: usize>(blanks: &[Blank]) -> [Output<'_>; N] {
        let outputs: Vec<_> = blanks.iter().map(Blank::output).collect();
        outputs.try_into().expect("as many as the family has")
    }
}
