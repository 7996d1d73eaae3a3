//! Time of one look of the tracker with 100 tracks and 100 detections. Targets: a median below
//! 150 µs for faces spread over the picture (with 10 % missed, with 5 % clutter, with both), below
//! 1 ms when every box overlaps every other one, whether all are found or not.

use criterion::{Criterion, criterion_group, criterion_main};
use face_core::geometry::BBox;
use face_core::track::{Observation, Tracker, TrackerConfig};
use std::hint::black_box;

const FACES: usize = 100;
const LOOKS: usize = 256;
const FRAME_NS: u64 = 40_000_000;

/// A linear congruential generator (the constants of Knuth's MMIX).
struct Random(u64);

impl Random {
    /// 0..1.
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }
}

/// `LOOKS` looks at `FACES` faces that sway around places `pitch` pixels apart.
fn scene(pitch: f32, missed: f32, clutter: f32) -> Vec<Vec<Observation>> {
    let mut random = Random(1);
    let mut look = |n: usize| {
        let mut seen = Vec::new();
        for i in 0..FACES {
            let sway = 20.0 * (n as f32 * std::f32::consts::TAU / LOOKS as f32 + i as f32).sin();
            let x = (i % 10) as f32 * pitch + sway + 4.0 * random.unit();
            let y = (i / 10) as f32 * pitch + 4.0 * random.unit();
            let score = 0.7 + 0.2 * random.unit();
            if random.unit() >= missed {
                seen.push(Observation { bbox: BBox::new(x, y, 60.0, 80.0), score });
            }
            if random.unit() < clutter {
                let (x, y) = (1900.0 * random.unit(), 1000.0 * random.unit());
                seen.push(Observation { bbox: BBox::new(x, y, 60.0, 80.0), score: 0.65 });
            }
        }
        seen
    };
    (0..LOOKS).map(&mut look).collect()
}

fn bench_scene(c: &mut Criterion, name: &str, duplicate_iou: f32, looks: &[Vec<Observation>]) {
    let config = TrackerConfig { duplicate_iou, ..TrackerConfig::default() };
    let mut tracker = Tracker::new(config).expect("valid settings");
    let mut frame = 0u64;
    c.bench_function(name, |b| {
        b.iter(|| {
            tracker.update(frame * FRAME_NS, black_box(&looks[frame as usize % LOOKS]));
            frame += 1;
            black_box(tracker.boxes().len())
        });
    });
    // A scene that loses its tracks would measure something else; one that was filtered out did not run.
    assert!(
        frame == 0 || tracker.boxes().len() >= FACES * 8 / 10,
        "{name}: {}",
        tracker.boxes().len()
    );
}

fn tracker(c: &mut Criterion) {
    let usual = TrackerConfig::default().duplicate_iou;
    bench_scene(c, "tracker/100 faces, all found", usual, &scene(100.0, 0.0, 0.0));
    bench_scene(c, "tracker/100 faces, 10 % missed", usual, &scene(100.0, 0.1, 0.0));
    bench_scene(c, "tracker/100 faces, 5 % clutter", usual, &scene(100.0, 0.0, 0.05));
    bench_scene(c, "tracker/100 faces, 10 % missed, 5 % clutter", usual, &scene(100.0, 0.1, 0.05));
    // Boxes of 60 × 80 px on places 5 px apart, which would be joined as duplicates.
    bench_scene(c, "tracker/100 faces, all overlapping", 1.0, &scene(5.0, 0.0, 0.0));
    let missed = scene(5.0, 0.1, 0.05);
    bench_scene(c, "tracker/100 faces, all overlapping, 10 % missed, 5 % clutter", 1.0, &missed);
}

criterion_group!(benches, tracker);
criterion_main!(benches);
