//! Generated people for benches and tests: each has a centre, a random direction, and samples around
//! it. Two samples of one person have a cosine of .65 on average, as pictures of one face have; those
//! of two people one of 0, give or take .09. The same numbers in every run and on every machine.

/// Cosine of a sample and the centre of its person: the square root of that of two samples.
const COSINE: f32 = 0.806_225_8;

/// A linear congruential generator (the constants of Knuth's MMIX).
struct Random(u64);

impl Random {
    /// Between 0 and 1, without both.
    fn unit(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 + 0.5) / (1 << 24) as f32
    }

    /// A random direction: of normal numbers (Box and Muller 1958) no direction is more likely.
    fn direction(&mut self, dim: usize) -> Vec<f32> {
        let mut normal = || {
            let radius = (-2.0 * self.unit().ln()).sqrt();
            radius * (std::f32::consts::TAU * self.unit()).cos()
        };
        unit((0..dim).map(|_| normal()).collect())
    }
}

fn unit(mut values: Vec<f32>) -> Vec<f32> {
    let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    values.iter_mut().for_each(|v| *v /= length);
    values
}

/// Vectors of one number of dimensions.
#[derive(Clone, Copy)]
pub(crate) struct Faces {
    pub(crate) dim: usize,
}

impl Faces {
    /// The sample of this number of a person: 0, 1, 2 … Whoever is not enrolled is a stranger.
    pub(crate) fn sample(self, person: usize, number: usize) -> Vec<f32> {
        let seed = |a: usize, b: usize| {
            // SplitMix64's finisher, or neighbouring seeds give neighbouring numbers.
            let mut z = (a as u64) << 32 | b as u64;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            Random(z ^ (z >> 31))
        };
        let centre = seed(person + 1, 0).direction(self.dim);
        let other = seed(person + 1, number + 1).direction(self.dim);
        let rest = (1.0 - COSINE * COSINE).sqrt();
        unit(centre.iter().zip(&other).map(|(c, o)| COSINE * c + rest * o).collect())
    }
}
