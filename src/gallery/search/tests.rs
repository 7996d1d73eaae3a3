#[path = "../../../benches/generator.rs"]
mod generator;

use super::people::Known;
use super::*;
use crate::gallery::changes::{Changes, StoredRow};
use crate::gallery::index::GraphError;

/// When the tests search.
const NOW: SystemTime = UNIX_EPOCH;

/// A sample and the place of its person.
type Owned = (u32, Vec<f32>);

fn embedding(values: &[f32]) -> Embedding {
    Embedding::new(values).unwrap()
}

fn person(place: usize) -> Known {
    Known {
        id: format!("id-{place}").into(),
        name: format!("name-{place}").into(),
        threshold: None,
        expires: None,
        seq: place as i64 + 1,
    }
}

/// People with the given samples, in the order in which samples of a real store arrive.
fn snapshot(dim: usize, samples: &[Owned], index_from: usize) -> Snapshot {
    limited(dim, samples, Limits { index_from, graph_from: usize::MAX, max_samples: MAX_SAMPLES })
}

fn limited(dim: usize, samples: &[Owned], limits: Limits) -> Snapshot {
    let people = samples.iter().map(|s| s.0 + 1).max().unwrap_or(0);
    let people = (0..people as usize).map(person).collect();
    let changes = Changes { generation: 1, whole: true, people, ..rows(1, samples) };
    Snapshot::new(dim, limits, changes)
}

/// New samples; the ids count from `first`.
fn rows(first: i64, samples: &[Owned]) -> Changes {
    let row = |(id, (person, values)): (i64, &Owned)| StoredRow {
        id,
        person: i64::from(*person) + 1,
        embedding: embedding(values),
        negative: false,
    };
    Changes { samples: (first..).zip(samples).map(row).collect(), ..Changes::default() }
}

/// The same with other people.
fn with_person(s: &Snapshot, known: Known) -> Snapshot {
    s.apply(Changes { generation: s.generation(), people: vec![known], ..Changes::default() })
}

fn build(s: &Snapshot) -> Result<(), GraphError> {
    let (graph, rows) = s.wanted_graph().expect("a graph is wanted");
    graph.build(&rows)
}

/// Unit vector in the plane at an angle in degrees: cosines are easy to tell.
fn at(degrees: f32) -> Vec<f32> {
    vec![degrees.to_radians().cos(), degrees.to_radians().sin()]
}

fn names(matches: &[Match]) -> Vec<&str> {
    matches.iter().map(|m| &*m.name).collect()
}

/// Numbers in -1..1 that are the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        // Knuth's MMIX constants.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn around(&mut self, centre: &[f32], spread: f32) -> Vec<f32> {
        centre.iter().map(|c| c + spread * self.next()).collect()
    }
}

/// `people` clusters of `each` samples, person after person, and their centres.
fn clusters(people: u32, each: usize, dim: usize) -> (Vec<Owned>, Vec<Vec<f32>>) {
    let mut noise = Noise(7);
    let centres: Vec<_> = (0..people).map(|_| noise.around(&vec![0.0; dim], 1.0)).collect();
    let samples = (0..people)
        .flat_map(|p| std::iter::repeat_n(p, each))
        .map(|p| (p, noise.around(&centres[p as usize], 0.5)))
        .collect();
    (samples, centres)
}

#[test]
fn search_counts_people_by_their_best_sample() {
    let s = snapshot(
        2,
        &[(0, at(10.0)), (0, at(12.0)), (1, at(40.0)), (0, at(5.0)), (2, at(90.0)), (1, at(20.0))],
        INDEX_FROM,
    );
    let found = s.search(&embedding(&at(0.0)), 2, VoteRule::Best).unwrap();
    assert_eq!(names(&found), ["name-0", "name-1"]);
    assert!((found[0].similarity - 5.0f32.to_radians().cos()).abs() < 1e-6);
    assert!((found[1].similarity - 20.0f32.to_radians().cos()).abs() < 1e-6);
    assert_eq!(&*found[0].person_id, "id-0");
    let all = s.search(&embedding(&at(0.0)), usize::MAX, VoteRule::Best).unwrap();
    assert_eq!(names(&all), ["name-0", "name-1", "name-2"]);
    assert_eq!(s.search(&embedding(&at(0.0)), 0, VoteRule::Best).unwrap(), []);
}

#[test]
fn equally_near_people_come_in_the_order_of_their_enrolment() {
    let s = snapshot(2, &[(2, at(30.0)), (0, at(30.0)), (1, at(30.0))], INDEX_FROM);
    assert_eq!(
        names(&s.search(&embedding(&at(0.0)), 2, VoteRule::Best).unwrap()),
        ["name-0", "name-1"]
    );
}

#[test]
fn other_dimension_is_an_error_even_in_an_empty_gallery() {
    let expected = SearchError::Dimension { expected: 2, got: 3 };
    for s in [snapshot(2, &[], INDEX_FROM), snapshot(2, &[(0, at(0.0))], INDEX_FROM)] {
        let wrong = embedding(&[1.0, 0.0, 0.0]);
        assert_eq!(s.search(&wrong, 1, VoteRule::Best).unwrap_err(), expected);
        assert_eq!(s.identify(&wrong, 0.4, 0.0, 1).unwrap_err(), expected);
    }
    let s = snapshot(2, &[], INDEX_FROM);
    let text = s.identify(&embedding(&at(0.0)), f32::NAN, 0.0, 1).unwrap_err().to_string();
    assert_eq!(text, "search gallery: threshold is NaN, not a finite number");
}

#[test]
fn empty_gallery_knows_nobody() {
    let id = snapshot(2, &[], INDEX_FROM).identify(&embedding(&at(0.0)), -1.0, 0.0, 5).unwrap();
    let nobody =
        Identification { status: Status::Unknown, best: None, margin: None, top: Vec::new() };
    assert_eq!(id, nobody);
}

#[test]
fn threshold_and_margin_decide_who_is_known() {
    let s = snapshot(2, &[(0, at(10.0)), (1, at(-20.0))], INDEX_FROM);
    let identify = |degrees, threshold, margin| {
        s.identify(&embedding(&at(degrees)), threshold, margin, 1).unwrap()
    };
    let known = identify(10.0, 0.9, 0.1);
    assert_eq!(known.status, Status::Known);
    assert_eq!(names(&known.top), ["name-0"]);
    assert_eq!(known.best, known.top.first().cloned());
    assert!((known.margin.unwrap() - (1.0 - 30.0f32.to_radians().cos())).abs() < 1e-6);
    let between = identify(-4.0, 0.9, 0.1);
    assert_eq!((between.status, &*between.best.unwrap().name), (Status::Uncertain, "name-0"));
    assert_eq!(identify(-4.0, 0.9, 0.0).status, Status::Known);
    let far = identify(90.0, 0.9, 0.0);
    assert_eq!((far.status, &*far.best.unwrap().name), (Status::Unknown, "name-0"));
    // The threshold itself is enough.
    let similarity = identify(40.0, 0.9, 0.0).best.unwrap().similarity;
    assert_eq!(identify(40.0, similarity, 0.0).status, Status::Known);
    assert_eq!(identify(40.0, similarity + 1e-6, 0.0).status, Status::Unknown);
}

#[test]
fn margin_needs_a_second_person_not_a_second_sample() {
    let s = snapshot(2, &[(0, at(10.0)), (0, at(11.0))], INDEX_FROM);
    let id = s.identify(&embedding(&at(10.0)), 0.5, 0.9, 5).unwrap();
    assert_eq!((id.status, id.margin, id.top.len()), (Status::Known, None, 1));
}

#[test]
fn own_threshold_replaces_the_general_one() {
    let s = snapshot(2, &[(0, at(0.0)), (1, at(60.0))], INDEX_FROM);
    let status =
        |s: &Snapshot, degrees| s.identify(&embedding(&at(degrees)), 0.9, 0.0, 1).unwrap().status;
    assert_eq!(status(&s, 20.0), Status::Known);
    let s = with_person(&s, Known { threshold: Some(0.99), ..person(0) });
    assert_eq!(status(&s, 20.0), Status::Unknown);
    assert_eq!(status(&s, 5.0), Status::Known);
    // Nearer to a strict person, yet near enough for a lenient one.
    let s = with_person(&s, Known { threshold: Some(0.5), ..person(1) });
    assert_eq!(status(&s, 20.0), Status::Uncertain);
    assert_eq!(status(&s, 80.0), Status::Known);
}

#[test]
fn dot_takes_every_value_once() {
    for dim in [1, 3, 15, 16, 17, 31, 32, 33, 128, 512] {
        let mut noise = Noise(dim as u64);
        let (a, b) = (noise.around(&vec![0.0; dim], 1.0), noise.around(&vec![0.0; dim], 1.0));
        let exact: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        assert!((f64::from(rank::dot(&a, &b)) - exact).abs() < 1e-4, "{dim} dimensions");
    }
}

/// 10,000 samples of 1,000 people, looked up by their representatives, with a graph or without.
fn large(graph: bool) -> (Snapshot, Vec<Vec<f32>>) {
    let (samples, centres) = clusters(1_000, 10, 32);
    let graph_from = if graph { 500 } else { usize::MAX };
    let limits = Limits { index_from: 1_000, graph_from, max_samples: MAX_SAMPLES };
    let mut s = limited(32, &samples, limits);
    if graph {
        build(&s).unwrap();
        s = s.settled();
        assert_eq!(s.graph().unwrap().rows(), s.representatives.len());
    }
    (s, centres)
}

#[test]
fn representatives_find_whom_the_exact_scan_finds() {
    for graph in [false, true] {
        let (s, centres) = large(graph);
        let mut noise = Noise(99);
        let (mut same_best, mut same_top, mut asked) = (0, 0, 0);
        for centre in centres.iter().step_by(2) {
            let query = embedding(&noise.around(centre, 0.5));
            let query = query.as_slice();
            let found = s.nearest_by_representatives(query, 5, VoteRule::Best, NOW);
            let found = found.expect("the gallery is large enough");
            let scan = s.nearest_by_scan(query, 5, VoteRule::Best, NOW);
            assert_eq!(found.len(), 5);
            same_best += usize::from(found[0] == scan[0]);
            same_top += found.iter().filter(|p| scan.contains(p)).count();
            asked += 1;
        }
        assert_eq!(same_best, asked);
        assert!(same_top * 100 >= asked * 5 * 98, "{same_top} of {}", asked * 5);
    }
}

#[test]
fn people_whose_samples_differ_are_found_by_each_of_them() {
    // Everybody has five pictures of one kind and one of quite another.
    let (mut samples, _) = clusters(1_000, 5, 32);
    let mut noise = Noise(17);
    let odd: Vec<_> = (0..1_000).map(|_| noise.around(&[0.0; 32], 1.0)).collect();
    samples.extend((0u32..).zip(odd.iter().cloned()));
    let s = snapshot(32, &samples, 1_000);
    let looked_up_by = s.representatives.living();
    assert!(looked_up_by > 1_950, "{looked_up_by}");
    for (place, odd) in (0u32..).zip(&odd) {
        let query = embedding(&noise.around(odd, 0.3));
        let query = query.as_slice();
        let found = s.nearest_by_representatives(query, 1, VoteRule::Best, NOW).unwrap();
        assert_eq!(found[0].0, place);
    }
}

#[test]
fn search_widens_until_it_has_seen_enough_people() {
    // 300 people who have expired are nearer than anybody else.
    let mut noise = Noise(3);
    let crowd = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let mut samples: Vec<Owned> = Vec::new();
    for p in 0..6_000 {
        let centre = if p < 300 { crowd.to_vec() } else { noise.around(&[0.0; 8], 1.0) };
        samples.extend((0..3).map(|_| (p, noise.around(&centre, 0.05))));
    }
    let s = snapshot(8, &samples, 1_000);
    let gone = |p| Known { expires: Some(NOW), ..person(p) };
    let s = s.apply(Changes { people: (0..300).map(gone).collect(), ..Changes::default() });
    let found = s.nearest_by_representatives(&crowd, 2, VoteRule::Best, SystemTime::now());
    let scan = s.nearest_by_scan(&crowd, 2, VoteRule::Best, SystemTime::now());
    assert_eq!(found.expect("it widens"), scan);
    assert!(scan[0].0 >= 300);
    // So many people that looking at all of them is no dearer.
    assert_eq!(s.nearest_by_representatives(&crowd, 5_000, VoteRule::Best, NOW), None);
}

#[test]
fn samples_added_after_the_graph_are_found_and_removed_ones_are_not() {
    let (old, centres) = large(true);
    let newcomer: Vec<f32> = centres[3].iter().map(|v| -v).collect();
    let new = old.apply(Changes {
        generation: 2,
        people: vec![person(1_000)],
        ..rows(10_001, &[(1_000, newcomer.clone()), (3, newcomer.clone())])
    });
    assert_eq!((new.generation(), new.samples(), new.people().len()), (2, 10_002, 1_001));
    assert!(Arc::ptr_eq(old.graph().unwrap(), new.graph().unwrap()), "the graph is shared");
    let query = embedding(&newcomer);
    let by = |s: &Snapshot| {
        s.nearest_by_representatives(query.as_slice(), 2, VoteRule::Best, NOW).unwrap()
    };
    assert_eq!(by(&new).iter().map(|p| p.0).collect::<Vec<_>>(), [3, 1_000]);
    assert_eq!(by(&new), new.nearest_by_scan(query.as_slice(), 2, VoteRule::Best, NOW));
    // Who is gone is never found again, though the graph knows them until the next is built.
    let removed_people = vec![person(1_000).seq, person(3).seq];
    let gone = new.apply(Changes { generation: 3, removed_people, ..Changes::default() });
    assert_eq!(by(&gone), gone.nearest_by_scan(query.as_slice(), 2, VoteRule::Best, NOW));
    let centre = embedding(&centres[3]);
    let found = gone.nearest(&centre, 3, VoteRule::Best).unwrap();
    assert!(found.iter().all(|p| p.0 != 3), "{found:?}");
    assert!(gone.wanted_graph().is_some(), "what was removed must leave the graph");
    build(&gone).unwrap();
    let built = gone.settled();
    assert_eq!(built.graph().unwrap().forgotten(), 2);
    assert!(built.wanted_graph().is_none());
}

#[test]
fn many_changes_make_a_new_graph_and_the_old_one_serves_meanwhile() {
    let (s, centres) = large(true);
    let mut noise = Noise(5);
    let more: Vec<Owned> = (0..501).map(|i| (i, noise.around(&centres[i as usize], 0.5))).collect();
    let some = s.apply(rows(10_001, &more[..500]));
    assert!(some.wanted_graph().is_none());
    let many = some.apply(rows(10_501, &more[500..]));
    assert!(many.wanted_graph().is_some());
    assert!(Arc::ptr_eq(many.graph().unwrap(), s.graph().unwrap()));
    build(&many).unwrap();
    let built = many.clone().settled();
    assert!(!Arc::ptr_eq(built.graph().unwrap(), s.graph().unwrap()));
    for s in [&many, &built] {
        for (place, values) in &more {
            let query = embedding(values);
            let found =
                s.nearest_by_representatives(query.as_slice(), 1, VoteRule::Best, NOW).unwrap();
            assert_eq!(found[0].0, *place);
        }
    }
}

#[test]
fn empty_rows_are_removed_when_they_are_many() {
    let (mut s, _) = large(false);
    let (samples, _) = clusters(1_000, 10, 32);
    let s_before = s.clone();
    for person in 0..600 {
        let removed_people = vec![person + 1];
        s = s.apply(Changes { generation: 2, removed_people, ..Changes::default() });
    }
    assert_eq!((s.people().len(), s.samples()), (400, 4_000));
    assert!(s.people().places() < 1_000 && s.rows.dead() <= MIN_LEFT, "{:?}", s.rows.dead());
    let left: Vec<Owned> = samples.iter().filter(|s| s.0 >= 600).cloned().collect();
    for (i, (_, row)) in s.rows().enumerate() {
        assert_eq!(row, embedding(&left[i].1).as_slice());
    }
    let query = embedding(&left[5].1);
    let name = |s: &Snapshot| s.search(&query, 1, VoteRule::Best).unwrap()[0].name.clone();
    assert_eq!(&*name(&s), "name-600");
    assert_eq!(name(&s), name(&s_before));
}

/// The most empty rows that a small gallery keeps.
const MIN_LEFT: usize = 4096;

#[test]
fn search_that_finds_no_place_in_the_graph_looks_at_all_representatives() {
    let (s, centres) = large(true);
    let query = embedding(&centres[7]);
    let by = || s.nearest_by_representatives(query.as_slice(), 3, VoteRule::Best, NOW);
    let by_graph = by().expect("a place is free");
    let places = s.graph().unwrap().occupy_all();
    assert_eq!(by(), Some(by_graph.clone()));
    drop(places);
    assert_eq!(by(), Some(by_graph));
}

#[test]
fn graph_that_is_cancelled_or_cannot_be_built_is_not_used() {
    let (samples, centres) = clusters(300, 4, 16);
    let limits = Limits { index_from: 100, graph_from: 100, max_samples: MAX_SAMPLES };
    let s = limited(16, &samples, limits);
    let (graph, rows) = s.wanted_graph().unwrap();
    graph.cancel();
    assert!(matches!(graph.build(&rows), Err(GraphError::Cancelled)));
    let s = s.settled();
    assert!(s.graph().is_none() && s.wanted_graph().is_none(), "not the same again");
    let query = embedding(&centres[7]);
    assert_eq!(&*s.search(&query, 1, VoteRule::Best).unwrap()[0].name, "name-7");
    // After many changes it is tried again.
    let again = s.apply(rows_again(&samples));
    assert!(again.wanted_graph().is_some());
    build(&again).unwrap();
    assert!(again.settled().graph().is_some());
}

/// One more sample for everybody.
fn rows_again(samples: &[Owned]) -> Changes {
    let more: Vec<Owned> =
        samples.iter().step_by(4).map(|(p, v)| (*p, v.iter().rev().copied().collect())).collect();
    rows(samples.len() as i64 + 1, &more)
}

#[test]
fn mean_of_the_best_three_does_not_follow_one_sample() {
    // One picture of person 0 is very near by chance; person 1 is near with every picture.
    let samples = [
        (0, at(1.0)),
        (0, at(50.0)),
        (0, at(55.0)),
        (0, at(60.0)),
        (1, at(10.0)),
        (1, at(11.0)),
        (1, at(12.0)),
        (1, at(80.0)),
        (2, at(15.0)),
        (3, at(30.0)),
        (3, at(20.0)),
    ];
    let s = snapshot(2, &samples, INDEX_FROM);
    let query = embedding(&at(0.0));
    assert_eq!(names(&s.search(&query, 2, VoteRule::Best).unwrap()), ["name-0", "name-1"]);
    let found = s.search(&query, 9, VoteRule::MeanOfBestThree).unwrap();
    assert_eq!(names(&found), ["name-1", "name-2", "name-3", "name-0"]);
    let cos = |degrees: f32| degrees.to_radians().cos();
    assert!((found[0].similarity - (cos(10.0) + cos(11.0) + cos(12.0)) / 3.0).abs() < 1e-6);
    assert!((found[2].similarity - (cos(20.0) + cos(30.0)) / 2.0).abs() < 1e-6);
    let mut rules =
        SearchRules { threshold: 0.95, min_margin: 0.0, top_k: 1, vote: VoteRule::MeanOfBestThree };
    let decided = s.decide(&query, &rules).unwrap();
    assert_eq!((decided.status, &*decided.best.unwrap().name), (Status::Known, "name-1"));
    rules.min_margin = 0.1;
    assert_eq!(s.decide(&query, &rules).unwrap().status, Status::Uncertain);
}

#[test]
fn mean_by_representatives_is_that_of_the_scan() {
    let (s, centres) = large(true);
    let (mut noise, vote) = (Noise(5), VoteRule::MeanOfBestThree);
    for centre in centres.iter().step_by(10) {
        let query = embedding(&noise.around(centre, 0.5));
        let scan = s.nearest_by_scan(query.as_slice(), 2, vote, NOW);
        let found = s.nearest_by_representatives(query.as_slice(), 2, vote, NOW).unwrap();
        assert_eq!(found[0], scan[0]);
    }
}

#[test]
fn nearer_negative_sample_leaves_the_person_out() {
    let s = snapshot(2, &[(0, at(0.0)), (1, at(40.0)), (2, at(80.0))], INDEX_FROM);
    let mut negatives = rows(4, &[(1, at(90.0)), (0, at(20.0))]);
    negatives.samples.iter_mut().for_each(|s| s.negative = true);
    let s = s.apply(negatives);
    assert_eq!(s.samples(), 3);
    let of = |degrees: f32| s.search(&embedding(&at(degrees)), 2, VoteRule::Best).unwrap();
    // As near as the person's own sample is not nearer.
    assert_eq!(names(&of(9.9)), ["name-0", "name-1"]);
    assert_eq!(names(&of(15.0)), ["name-1", "name-2"]);
    let id = s.identify(&embedding(&at(15.0)), 0.8, 0.0, 3).unwrap();
    assert_eq!((id.status, &*id.best.unwrap().name), (Status::Known, "name-1"));
    assert_eq!(s.identify(&embedding(&at(15.0)), 0.95, 0.0, 3).unwrap().status, Status::Unknown);
    assert_eq!(names(&of(70.0)), ["name-2"]);
    // Without the negative sample everything is as before.
    let s = s.apply(Changes { removed_samples: vec![4, 5], ..Changes::default() });
    let found = s.search(&embedding(&at(15.0)), 2, VoteRule::Best).unwrap();
    assert_eq!(names(&found), ["name-0", "name-1"]);
    assert!(s.negatives.is_empty());
}

#[test]
fn expired_people_are_left_out_of_scan_and_graph() {
    let (s, centres) = large(true);
    let query = embedding(&centres[3]);
    let first = |s: &Snapshot| s.search(&query, 1, VoteRule::Best).unwrap()[0].name.clone();
    assert_eq!(&*first(&s), "name-3");
    let now = SystemTime::now();
    let s = with_person(&s, Known { expires: Some(now), ..person(3) });
    let other = first(&s);
    assert_ne!(&*other, "name-3");
    let scan = s.search_exactly(&query, 1, VoteRule::Best).unwrap();
    assert_eq!(scan[0].name, other);
    let later = now + std::time::Duration::from_secs(3600);
    let s = with_person(&s, Known { expires: Some(later), ..person(3) });
    assert_eq!(&*first(&s), "name-3");
}

#[test]
fn of_too_many_samples_the_most_different_ones_are_compared() {
    let limited = |samples: &[Owned], max_samples| {
        let limits = Limits { index_from: INDEX_FROM, graph_from: GRAPH_FROM, max_samples };
        limited(2, samples, limits)
    };
    // The mean lies at 3.4 degrees; 30 and then 12 are least like what is chosen already.
    let degrees = [0.0, 1.0, 2.0, 3.0, 4.0, 30.0, 12.0, -12.0, -13.0];
    let samples: Vec<Owned> =
        degrees.iter().map(|d| (0, at(*d))).chain([(1, at(90.0)), (1, at(91.0))]).collect();
    let chosen = |s: &Snapshot| {
        let compared = s.rows.iter().filter(|(_, tag, _)| tag.compared);
        compared.map(|(row, _, _)| row).collect::<Vec<_>>()
    };
    let s = limited(&samples, 3);
    assert_eq!(chosen(&s), [3, 5, 8, 9, 10]);
    assert_eq!(s.samples(), 11);
    assert_eq!(chosen(&limited(&samples, 3)), chosen(&s), "the same every time");
    assert_eq!(chosen(&limited(&samples, 0)).len(), 11);
    let near = s.search(&embedding(&at(12.0)), 1, VoteRule::Best).unwrap()[0].similarity;
    assert!((near - 9.0f32.to_radians().cos()).abs() < 1e-6, "{near}");
    // Samples added later change the choice for their person alone, and as if read at once.
    let later = s.apply(rows(12, &[(0, at(60.0))]));
    let all: Vec<Owned> = samples.iter().cloned().chain([(0, at(60.0))]).collect();
    assert_eq!(chosen(&later), chosen(&limited(&all, 3)));
    assert!(chosen(&later).contains(&11));
    let other = s.apply(rows(12, &[(1, at(70.0))]));
    assert_eq!(chosen(&other), [3, 5, 8, 9, 10, 11]);
    // A chosen one that goes makes room for another.
    let less = s.apply(Changes { removed_samples: vec![6], ..Changes::default() });
    assert_eq!(less.samples(), 10);
    assert!(!chosen(&less).contains(&5) && chosen(&less).len() == 5);
}

#[test]
fn samples_that_move_go_out_of_order_or_come_twice_are_right() {
    let s = snapshot(2, &[(0, at(0.0)), (1, at(50.0)), (2, at(90.0))], INDEX_FROM);
    let best = |s: &Snapshot, degrees: f32| {
        s.search(&embedding(&at(degrees)), 1, VoteRule::Best).unwrap()[0].name.to_string()
    };
    // Sample 2 goes to person 2, whose own sample becomes a negative one, and person 1 goes.
    let moved = || {
        let mut changes = rows(2, &[(2, at(50.0)), (2, at(90.0))]);
        changes.samples[1].negative = true;
        Changes { generation: 5, removed_people: vec![2], ..changes }
    };
    let s = s.apply(moved());
    let twice = s.apply(moved());
    for s in [&s, &twice] {
        assert_eq!((s.people().len(), s.people().places(), s.samples()), (2, 3, 2));
        assert_eq!(best(s, 49.0), "name-2");
        assert_eq!(names(&s.search(&embedding(&at(89.0)), 9, VoteRule::Best).unwrap()), ["name-0"]);
        assert_eq!(s.similarities(&embedding(&at(50.0)), 2).unwrap().len(), 1);
        assert!(s.similarities(&embedding(&at(50.0)), 1).unwrap().is_empty());
        let by_person = s.best_by_person(&embedding(&at(0.0)), None).unwrap();
        assert_eq!(by_person.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    }
    // Another process's earlier write, seen later; and what belongs to nobody is left out.
    let mut late = rows(-7, &[(0, at(20.0)), (8, at(21.0))]);
    late.people.push(person(5));
    late.people.push(Known { seq: 0, ..person(9) });
    let s = s.apply(late);
    assert_eq!((s.samples(), s.people().len()), (3, 4));
    let s = s.apply(Changes { removed_samples: vec![-7], ..rows(40, &[(5, at(20.0))]) });
    assert_eq!((s.samples(), best(&s, 20.0).as_str()), (3, "name-5"));
}

/// The person nearest to a query by the plainest comparison with all samples, how near they are, and
/// how near the second is.
fn oracle(samples: &[Owned], query: &[f32]) -> (u32, f32, f32) {
    let mut best: BTreeMap<u32, f32> = BTreeMap::new();
    for (person, values) in samples {
        let similarity: f32 = values.iter().zip(query).map(|(a, b)| a * b).sum();
        let own = best.entry(*person).or_insert(-1.0);
        *own = own.max(similarity);
    }
    let mut ranked: Vec<_> = best.into_iter().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    (ranked[0].0, ranked[0].1, ranked[1].1)
}

#[test]
fn searches_among_20_000_generated_samples_are_those_of_the_oracle() {
    let faces = generator::Faces { dim: 128 };
    let people = 2_000;
    let all = (0..people).flat_map(|p| (0..10).map(move |n| (p, n)));
    let samples: Vec<Owned> = all.map(|(p, n)| (p as u32, faces.sample(p, n))).collect();
    let s = snapshot(128, &samples, INDEX_FROM);
    let rules = SearchRules { threshold: 0.4, min_margin: 0.05, top_k: 2, vote: VoteRule::Best };
    let (mut first, mut margins, asked) = (0, 0, 300);
    for i in 0..asked {
        let stranger = i % 2 == 1;
        let values = if stranger { faces.sample(people + i, 0) } else { faces.sample(i * 13, 11) };
        let found = s.nearest_by_representatives(&values, 2, VoteRule::Best, NOW);
        let found = found.expect("the gallery is large enough");
        let (person, best, second) = oracle(&samples, &values);
        first += usize::from(found[0].0 == person);
        let margin = best - second;
        margins += usize::from((found[0].1 - found[1].1 - margin).abs() <= 0.02);
        let known = s.decide(&embedding(&values), &rules).unwrap().status == Status::Known;
        let expected = best >= rules.threshold && margin >= rules.min_margin;
        assert!(!stranger || !known || expected, "stranger {i} is taken for somebody");
        assert!(stranger || known == expected, "person {i}");
    }
    assert!(first * 100 >= asked * 99, "first person equal in {first} of {asked}");
    assert!(margins * 100 >= asked * 99, "margin equal in {margins} of {asked}");
}
