//! Runs requests on a session of ONNX Runtime, one or several at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ndarray::{ArrayD, IxDyn};
use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;

use super::Request;
use super::upgrade::Engine;
use crate::cpu;

/// Nanoseconds that the threads of all pools were on a processor inside `Session::run`.
static RUN_TIME: AtomicU64 = AtomicU64::new(0);

/// Processor time that all pools of the process spent inside ONNX Runtime's `Run`, by the clocks of
/// their threads. What threads of the runtime itself did is not in it: on a CPU it has none here.
pub fn run_time() -> Duration {
    Duration::from_nanos(RUN_TIME.load(Ordering::Relaxed))
}

/// Are the first dimensions of the input and of all outputs free, as those of a model are that
/// takes several pictures at once?
pub(super) fn has_free_batch(session: &Session) -> bool {
    let mut all = session.inputs().iter().chain(session.outputs());
    all.all(|value| value.dtype().tensor_shape().is_some_and(|s| s.first() == Some(&-1)))
}

/// What runs a model, and the memory that its runs need.
pub(super) struct SessionRunner {
    engine: Engine,
    /// The inputs of a batch, one after another.
    gathered: Vec<f32>,
    /// Does the model keep the pictures of a batch apart? Some declare a free first dimension
    /// that then is something else; the first batch tells.
    keeps_apart: bool,
}

impl SessionRunner {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, gathered: Vec::new(), keeps_apart: true }
    }

    /// Runs requests of one shape; returns the processor time of this thread inside `Run`.
    pub(super) fn run(&mut self, requests: &mut [Request]) -> Result<Duration, String> {
        if let [request] = requests {
            return self.run_one(request);
        }
        if self.keeps_apart {
            return self.run_batch(requests);
        }
        requests.iter_mut().map(|request| self.run_one(request)).sum()
    }

    fn run_one(&mut self, request: &mut Request) -> Result<Duration, String> {
        let input = TensorRef::from_array_view(&request.input).map_err(|e| e.to_string())?;
        let (outputs, spent) = run(self.engine.session_for(request.input.shape()), input)?;
        request.outputs.resize_with(outputs.len(), || ArrayD::zeros(IxDyn(&[0])));
        for (value, output) in outputs.values().zip(&mut request.outputs) {
            let (shape, values) = value.try_extract_tensor::<f32>().map_err(|e| e.to_string())?;
            fill(output, shape, values);
        }
        Ok(spent)
    }

    fn run_batch(&mut self, requests: &mut [Request]) -> Result<Duration, String> {
        self.gathered.clear();
        let mut shape = [0; 4];
        for request in requests.iter() {
            shape = request.input.dim().into();
            let values = request.input.as_slice().ok_or("the input is not contiguous")?;
            self.gathered.extend_from_slice(values);
        }
        // Each request may hold several pictures itself.
        let pictures = shape[0];
        shape[0] *= requests.len();
        let input = TensorRef::from_array_view((shape, &self.gathered[..]));
        let (outputs, spent) =
            run(self.engine.session_for(&shape), input.map_err(|e| e.to_string())?)?;
        for request in requests.iter_mut() {
            request.outputs.resize_with(outputs.len(), || ArrayD::zeros(IxDyn(&[0])));
        }
        for (index, value) in outputs.values().enumerate() {
            let (found, values) = value.try_extract_tensor::<f32>().map_err(|e| e.to_string())?;
            if found.first() != i64::try_from(shape[0]).ok().as_ref() {
                self.keeps_apart = false;
                return Err(format!("output {index} of a batch is {found:?}"));
            }
            let part = values.len() / requests.len();
            let mut own = found.to_vec();
            own[0] = pictures as i64;
            for (request, values) in requests.iter_mut().zip(values.chunks_exact(part.max(1))) {
                fill(&mut request.outputs[index], &own, values);
            }
        }
        Ok(spent)
    }
}

fn run<'s>(
    session: &'s mut Session,
    input: TensorRef<'_, f32>,
) -> Result<(SessionOutputs<'s>, Duration), String> {
    let begun = cpu::thread_time();
    let outputs = session.run(ort::inputs![input]).map_err(|e| e.to_string())?;
    let spent = cpu::thread_time().saturating_sub(begun);
    RUN_TIME.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    Ok((outputs, spent))
}

/// Copies values of that shape into the array that is kept for them.
fn fill(output: &mut ArrayD<f32>, shape: &[i64], values: &[f32]) {
    let same = output.ndim() == shape.len()
        && output.shape().iter().zip(shape).all(|(own, new)| i64::try_from(*own) == Ok(*new));
    if !same {
        let shape: Vec<usize> = shape.iter().map(|d| usize::try_from(*d).unwrap_or(0)).collect();
        *output = ArrayD::zeros(shape);
    }
    if let Some(kept) = output.as_slice_mut().filter(|kept| kept.len() == values.len()) {
        kept.copy_from_slice(values);
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
