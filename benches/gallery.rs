//! Time of a search and of an enrolment in galleries of 1,000 to 100,000 samples of 128 values, ten
//! for each person; of a million with `--features bench-large`. Figures: docs/performance.md.

mod crowd;
mod generator;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use crowd::{Crowd, EACH, fingerprint, queries, samples};
use face_core::gallery::{Access, VoteRule, Writer};

const SIZES: &[usize] = if cfg!(feature = "bench-large") {
    &[1_000, 10_000, 100_000, 1_000_000]
} else {
    &[1_000, 10_000, 100_000]
};

fn gallery(c: &mut Criterion) {
    let mut group = c.benchmark_group("gallery");
    group.sample_size(50).measurement_time(Duration::from_secs(3));
    for size in SIZES {
        let people = size / EACH;
        let crowd = Crowd::new(people, EACH);
        let gallery = crowd.open(Access::Write);
        let (snapshot, queries) = (gallery.snapshot(), queries(people, EACH, 256));
        let mut asked = queries.iter().cycle();
        let mut next = || black_box(asked.next().expect("endless"));
        group.bench_function(BenchmarkId::new("search", size), |b| {
            b.iter(|| snapshot.search(next(), 2, VoteRule::Best));
        });
        group.bench_function(BenchmarkId::new("search exactly", size), |b| {
            b.iter(|| snapshot.search_exactly(next(), 2, VoteRule::Best));
        });
        // Each with another new person.
        let mut person = people;
        group.bench_function(BenchmarkId::new("enrol and see it", size), |b| {
            b.iter(|| {
                person += 1;
                gallery.enroll(&format!("person {person}"), &samples(person, 1))
            });
        });
        let wait = Duration::from_secs(1);
        group.bench_function(BenchmarkId::new("open a writer and enrol", size), |b| {
            b.iter(|| {
                person += 1;
                let mut writer = Writer::open(&crowd.path, &fingerprint(), wait)?;
                writer.enroll(&format!("person {person}"), &samples(person, 1))
            });
        });
        group.bench_function(BenchmarkId::new("take over an enrolment", size), |b| {
            let mut writer =
                Writer::open(&crowd.path, &fingerprint(), wait).expect("the gallery is there");
            b.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    person += 1;
                    let enrolled = writer.enroll(&format!("person {person}"), &samples(person, 1));
                    enrolled.expect("room");
                    let begun = std::time::Instant::now();
                    let news = gallery.refresh(Duration::ZERO).expect("the gallery is whole");
                    spent += begun.elapsed();
                    assert!(news, "the enrolment is seen");
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, gallery);
criterion_main!(benches);
