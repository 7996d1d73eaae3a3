//! Generated outputs of detectors for benches and tests: the shapes of each family, and faces in
//! every tenth place, so that suppression has much to do. The same numbers in every run.

use face_core::detect::Output;
use face_core::model::Decoder;

pub(crate) const FAMILIES: [Decoder; 5] =
    [Decoder::Yunet, Decoder::Scrfd, Decoder::Retinaface, Decoder::Centerface, Decoder::Ultralight];

/// A linear congruential generator (the constants of Knuth's MMIX).
struct Random(u64);

impl Random {
    /// 0..1.
    fn unit(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    /// Above .5 in one of ten cases.
    fn score(&mut self) -> f32 {
        let face = self.unit() < 0.1;
        self.unit() / 2.0 + if face { 0.5 } else { 0.0 }
    }
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// The outputs of a detector for one picture.
pub(crate) struct Outputs {
    tensors: Vec<Tensor>,
    random: Random,
}

impl Outputs {
    /// Of an input of `size` (width, height) pixels, multiples of 64.
    pub(crate) fn new(decoder: Decoder, size: (usize, usize)) -> Outputs {
        let mut outputs = Outputs { tensors: Vec::new(), random: Random(1) };
        let cells = |stride: usize| (size.0 / stride) * (size.1 / stride);
        match decoder {
            Decoder::Yunet => {
                for stride in [8, 16, 32] {
                    let mut add = |kind: &str, per: usize, next: fn(&mut Random) -> f32| {
                        outputs.add(format!("{kind}_{stride}"), &[1, cells(stride), per], next);
                    };
                    add("cls", 1, Random::score);
                    add("obj", 1, |_| 1.0);
                    add("bbox", 4, Random::unit);
                    add("kps", 10, Random::unit);
                }
            }
            Decoder::Scrfd => {
                for anchors in [8, 16, 32].map(|stride| 2 * cells(stride)) {
                    outputs.add(format!("score {anchors}"), &[1, anchors, 1], Random::score);
                    outputs.add(format!("box {anchors}"), &[1, anchors, 4], |r| r.unit() + 0.5);
                    outputs.add(format!("points {anchors}"), &[1, anchors, 10], Random::unit);
                }
            }
            Decoder::Retinaface => {
                let priors = [8, 16, 32].map(|stride| 2 * cells(stride)).iter().sum();
                outputs.add("boxes".to_owned(), &[1, priors, 4], Random::unit);
                outputs.add("scores".to_owned(), &[1, priors, 2], Random::score);
                outputs.add("points".to_owned(), &[1, priors, 10], Random::unit);
            }
            Decoder::Centerface => {
                for (name, maps) in [("heat", 1), ("sizes", 2), ("moves", 2), ("points", 10)] {
                    let next = if maps == 1 { Random::score } else { Random::unit };
                    outputs.add(name.to_owned(), &[1, maps, size.1 / 4, size.0 / 4], next);
                }
            }
            _ => {
                let levels = [(8, 3), (16, 2), (32, 2), (64, 3)];
                let anchors = levels.iter().map(|(stride, per)| cells(*stride) * per).sum();
                outputs.add("scores".to_owned(), &[1, anchors, 2], Random::score);
                outputs.add("boxes".to_owned(), &[1, anchors, 4], Random::unit);
                // Corners: the second one is further right and further down.
                let boxes = outputs.tensors[1].values.as_chunks_mut::<4>().0;
                for [x0, y0, x1, y1] in boxes {
                    (*x1, *y1) = (*x0 + 0.02 + *x1 / 20.0, *y0 + 0.02 + *y1 / 20.0);
                }
            }
        }
        outputs
    }

    fn add(&mut self, name: String, shape: &[usize], next: fn(&mut Random) -> f32) {
        let count = shape.iter().product();
        let values = (0..count).map(|_| next(&mut self.random)).collect();
        self.tensors.push(Tensor { name, shape: shape.to_vec(), values });
    }

    pub(crate) fn view(&self) -> Vec<Output<'_>> {
        let view = self.tensors.iter();
        view.map(|t| Output { name: &t.name, shape: &t.shape, values: &t.values }).collect()
    }
}
