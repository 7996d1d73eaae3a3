use super::*;

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
    let limits = Limits { index_from, max_samples: MAX_SAMPLES };
    let people = samples.iter().map(|s| s.0 + 1).max().unwrap_or(0);
    Snapshot::new(1, dim, (0..people as usize).map(person).collect(), rows(samples), limits)
}

fn rows(samples: &[Owned]) -> Rows {
    Rows {
        matrix: samples.iter().flat_map(|s| embedding(&s.1).as_slice().to_vec()).collect(),
        owners: samples.iter().map(|s| s.0).collect(),
        last_sample: samples.len() as i64,
        ..Rows::default()
    }
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
    let mut s = snapshot(2, &[(0, at(0.0)), (1, at(60.0))], INDEX_FROM);
    let status =
        |s: &Snapshot, degrees| s.identify(&embedding(&at(degrees)), 0.9, 0.0, 1).unwrap().status;
    assert_eq!(status(&s, 20.0), Status::Known);
    s.people[0].threshold = Some(0.99);
    assert_eq!(status(&s, 20.0), Status::Unknown);
    assert_eq!(status(&s, 5.0), Status::Known);
    // Nearer to a strict person, yet near enough for a lenient one.
    s.people[1].threshold = Some(0.5);
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

#[test]
fn graph_finds_whom_the_exact_scan_finds() {
    let dim = 32;
    let (samples, centres) = clusters(1_000, 10, dim);
    let s = snapshot(dim, &samples, 1_000);
    s.build_graph().unwrap();
    let mut noise = Noise(99);
    let (mut same_best, mut same_top, mut asked) = (0, 0, 0);
    for centre in centres.iter().step_by(2) {
        let query = embedding(&noise.around(centre, 0.5));
        let graph = s
            .nearest_by_graph(query.as_slice(), 5, VoteRule::Best, NOW)
            .expect("the graph is built");
        let scan = s.nearest_by_scan(query.as_slice(), 5, VoteRule::Best, NOW);
        assert_eq!(graph.len(), 5);
        same_best += usize::from(graph[0] == scan[0]);
        same_top += graph.iter().filter(|p| scan.contains(p)).count();
        asked += 1;
    }
    assert_eq!(same_best, asked);
    assert!(same_top * 100 >= asked * 5 * 98, "{same_top} of {}", asked * 5);
}

#[test]
fn graph_search_widens_until_it_has_seen_enough_people() {
    // 400 samples of one person are nearer than anybody else's.
    let mut noise = Noise(3);
    let crowd = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let mut samples: Vec<_> = (0..400).map(|_| (0, noise.around(&crowd, 0.05))).collect();
    samples.extend((1..=4_000).map(|p| (p, noise.around(&[0.0; 8], 1.0))));
    let s = snapshot(8, &samples, 100);
    s.build_graph().unwrap();
    let by_graph =
        s.nearest_by_graph(&crowd, 2, VoteRule::Best, NOW).expect("the graph is wide enough");
    assert_eq!(by_graph, s.nearest_by_scan(&crowd, 2, VoteRule::Best, NOW));
    assert_eq!(by_graph[0].0, 0);
    // So many people that looking at all of them is no dearer.
    assert_eq!(s.nearest_by_graph(&crowd, 1_000, VoteRule::Best, NOW), None);
}

#[test]
fn samples_added_after_the_graph_are_found() {
    let (samples, centres) = clusters(500, 4, 16);
    let old = snapshot(16, &samples, 1_000);
    old.build_graph().unwrap();
    let mut people = old.people.clone();
    people.push(person(500));
    let newcomer: Vec<f32> = centres[3].iter().map(|v| -v).collect();
    let new =
        old.extended(2, people.clone(), rows(&[(500, newcomer.clone()), (3, newcomer.clone())]));
    assert_eq!((new.generation(), new.samples(), new.people().len()), (2, 2_002, 501));
    assert!(Arc::ptr_eq(old.graph().unwrap(), new.graph().unwrap()), "the graph is shared");
    let query = embedding(&newcomer);
    let found = new
        .nearest_by_graph(query.as_slice(), 2, VoteRule::Best, NOW)
        .expect("the graph is still used");
    assert_eq!(found.iter().map(|p| p.0).collect::<Vec<_>>(), [3, 500]);
    assert_eq!(found, new.nearest_by_scan(query.as_slice(), 2, VoteRule::Best, NOW));
    // As many again as made a graph worth while: a new one, to be built.
    let many: Vec<_> = (0..1_000).map(|i| (i % 500, newcomer.clone())).collect();
    let grown = new.extended(3, people, rows(&many));
    assert!(!grown.graph().unwrap().is_built());
    assert_eq!(grown.graph().unwrap().rows(), 3_002);
    assert_eq!(grown.nearest_by_graph(query.as_slice(), 2, VoteRule::Best, NOW), None);
    assert_eq!(grown.search(&query, 1, VoteRule::Best).unwrap().len(), 1);
}

#[test]
fn search_that_finds_no_place_in_the_graph_scans_exactly() {
    let (samples, centres) = clusters(300, 10, 16);
    let s = snapshot(16, &samples, 1_000);
    s.build_graph().unwrap();
    let query = embedding(&centres[7]);
    let by_graph =
        s.nearest_by_graph(query.as_slice(), 3, VoteRule::Best, NOW).expect("a place is free");
    let places = s.graph().unwrap().occupy_all();
    assert_eq!(s.nearest_by_graph(query.as_slice(), 3, VoteRule::Best, NOW), None);
    assert_eq!(s.nearest(&query, 3, VoteRule::Best).unwrap(), by_graph);
    drop(places);
    assert_eq!(s.nearest_by_graph(query.as_slice(), 3, VoteRule::Best, NOW), Some(by_graph));
}

#[test]
fn graph_refuses_a_row_that_is_not_finite() {
    let mut s = snapshot(2, &[(0, at(1.0)), (1, at(2.0)), (2, at(3.0))], 1);
    s.matrix[3] = f32::NAN;
    assert!(matches!(s.build_graph(), Err(GraphError::NotFinite(1))));
    assert!(!s.graph().unwrap().is_built());
}

#[test]
fn cancelled_graph_is_not_published() {
    let s = snapshot(2, &[(0, at(1.0)), (1, at(2.0))], 1);
    s.graph().unwrap().cancel();
    assert!(matches!(s.build_graph(), Err(GraphError::Cancelled)));
    assert!(!s.graph().unwrap().is_built());
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
fn mean_by_the_graph_is_that_of_the_scan() {
    let dim = 32;
    let (samples, centres) = clusters(1_000, 10, dim);
    let s = snapshot(dim, &samples, 1_000);
    s.build_graph().unwrap();
    let (mut noise, vote) = (Noise(5), VoteRule::MeanOfBestThree);
    let (mut same, mut asked) = (0, 0);
    for centre in centres.iter().step_by(10) {
        let query = embedding(&noise.around(centre, 0.5));
        let scan = s.nearest_by_scan(query.as_slice(), 2, vote, NOW);
        if let Some(graph) = s.nearest_by_graph(query.as_slice(), 2, vote, NOW) {
            same += usize::from(graph[0] == scan[0]);
            asked += 1;
        }
    }
    assert!(asked > 50, "{asked}");
    assert_eq!(same, asked);
}

#[test]
fn nearer_negative_sample_leaves_the_person_out() {
    let mut s = snapshot(2, &[(0, at(0.0)), (1, at(40.0)), (2, at(80.0))], INDEX_FROM);
    s.negatives.push(1, embedding(&at(90.0)));
    s.negatives.push(0, embedding(&at(20.0)));
    s.negatives = s.negatives.sorted();
    let of = |degrees: f32| s.search(&embedding(&at(degrees)), 2, VoteRule::Best).unwrap();
    // As near as the person's own sample is not nearer.
    assert_eq!(names(&of(9.9)), ["name-0", "name-1"]);
    assert_eq!(names(&of(15.0)), ["name-1", "name-2"]);
    let id = s.identify(&embedding(&at(15.0)), 0.8, 0.0, 3).unwrap();
    assert_eq!((id.status, &*id.best.unwrap().name), (Status::Known, "name-1"));
    assert_eq!(s.identify(&embedding(&at(15.0)), 0.95, 0.0, 3).unwrap().status, Status::Unknown);
    assert_eq!(names(&of(70.0)), ["name-2"]);
}

#[test]
fn expired_people_are_left_out_of_scan_and_graph() {
    let (samples, centres) = clusters(500, 4, 16);
    let mut s = snapshot(16, &samples, 1_000);
    s.build_graph().unwrap();
    let query = embedding(&centres[3]);
    let first = |s: &Snapshot| s.search(&query, 1, VoteRule::Best).unwrap()[0].name.clone();
    assert_eq!(&*first(&s), "name-3");
    s.people[3].expires = Some(SystemTime::now());
    let other = first(&s);
    assert_ne!(&*other, "name-3");
    let scan = s.nearest_by_scan(query.as_slice(), 1, VoteRule::Best, SystemTime::now());
    assert_eq!(*s.people[scan[0].0 as usize].name, *other);
    s.people[3].expires = Some(SystemTime::now() + std::time::Duration::from_secs(3600));
    assert_eq!(&*first(&s), "name-3");
}

#[test]
fn of_too_many_samples_the_most_different_ones_are_compared() {
    let limited = |samples: &[Owned], max_samples| {
        let people = (0..2).map(person).collect();
        let limits = Limits { index_from: INDEX_FROM, max_samples };
        Snapshot::new(1, 2, people, rows(samples), limits)
    };
    // The mean lies at 3.4 degrees; 30 and then 12 are least like what is chosen already.
    let degrees = [0.0, 1.0, 2.0, 3.0, 4.0, 30.0, 12.0, -12.0, -13.0];
    let samples: Vec<Owned> =
        degrees.iter().map(|d| (0, at(*d))).chain([(1, at(90.0)), (1, at(91.0))]).collect();
    let chosen = |s: &Snapshot| {
        let compared = s.selection.compared().iter().enumerate();
        compared.filter(|(_, c)| **c).map(|(row, _)| row).collect::<Vec<_>>()
    };
    let s = limited(&samples, 3);
    assert_eq!(chosen(&s), [3, 5, 8, 9, 10]);
    assert_eq!(s.samples(), 11);
    assert_eq!(chosen(&limited(&samples, 3)), chosen(&s), "the same every time");
    assert_eq!(chosen(&limited(&samples, 0)).len(), 11);
    let near = s.search(&embedding(&at(12.0)), 1, VoteRule::Best).unwrap()[0].similarity;
    assert!((near - 9.0f32.to_radians().cos()).abs() < 1e-6, "{near}");
    // Samples added later change the choice for their person alone, and as if read at once.
    let people = s.people.clone();
    let later = s.extended(2, people, rows(&[(0, at(60.0))]));
    let all: Vec<Owned> = samples.iter().cloned().chain([(0, at(60.0))]).collect();
    assert_eq!(chosen(&later), chosen(&limited(&all, 3)));
    assert!(chosen(&later).contains(&11));
    let other = s.extended(2, s.people.clone(), rows(&[(1, at(70.0))]));
    assert_eq!(chosen(&other), [3, 5, 8, 9, 10, 11]);
}
