use super::*;

const DIM: usize = 32;

/// People, their faces and the noise between two pictures of a face, from a seed.
struct Crowd {
    numbers: Numbers,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        Self { numbers: Numbers(seed) }
    }

    /// A direction of its own: two are nearly at right angles. Normal values by the sum of uniform
    /// ones.
    fn direction(&mut self) -> Vec<f32> {
        let mut value = || (0..12).map(|_| self.numbers.fraction()).sum::<f64>() - 6.0;
        let values: Vec<f32> = (0..DIM).map(|_| value() as f32).collect();
        Embedding::new(&values).unwrap().as_slice().to_vec()
    }

    /// A picture of a face: its direction with so much noise.
    fn picture(&mut self, face: &[f32], noise: f32) -> Embedding {
        let noise_at = self.direction();
        let values: Vec<f32> = face.iter().zip(&noise_at).map(|(f, n)| f + noise * n).collect();
        Embedding::new(&values).unwrap()
    }
}

fn unit(values: &[f32]) -> Embedding {
    Embedding::new(values).unwrap()
}

/// At so many degrees in a plane.
fn at(degrees: f32) -> Embedding {
    let (sin, cos) = degrees.to_radians().sin_cos();
    unit(&[cos, sin])
}

fn look(embedding: Embedding, quality: f32, with: usize) -> Look<usize> {
    Look::new(embedding, quality, with)
}

fn looks(degrees: impl IntoIterator<Item = f32>) -> Vec<Look<usize>> {
    degrees.into_iter().enumerate().map(|(i, d)| look(at(d), 0.5, i)).collect()
}

fn numbers(looks: &[Look<usize>]) -> Vec<(usize, u64)> {
    looks.iter().map(|l| (l.with, l.observations)).collect()
}

#[test]
fn t15_fewer_than_three_looks_are_returned_as_they_are() {
    assert!(representatives(Vec::<Look<usize>>::new()).is_empty());
    assert_eq!(numbers(&representatives(looks([5.0]))), [(0, 1)]);
    assert_eq!(numbers(&representatives(looks([5.0, 5.0]))), [(0, 1), (1, 1)]);
}

#[test]
fn t15_number_of_representatives_is_that_of_the_reference() {
    let mut crowd = Crowd::new(1);
    let face = crowd.direction();
    for (count, expected) in [(3, 3), (4, 3), (74, 3), (99, 3), (100, 4), (250, 10), (256, 10)] {
        let looks: Vec<_> = (0..count).map(|i| look(crowd.picture(&face, 0.8), 0.5, i)).collect();
        let chosen = representatives(looks);
        assert_eq!(chosen.len(), expected, "{count}");
        let observations: u64 = chosen.iter().map(|l| l.observations).sum();
        assert_eq!(observations, count as u64);
        assert!(chosen.windows(2).all(|w| w[0].observations >= w[1].observations));
    }
}

#[test]
fn looks_that_are_the_same_are_one() {
    assert_eq!(numbers(&representatives(looks([7.0; 100]))), [(0, 100)]);
    let two = looks((0..100).map(|i| if i < 60 { 0.0 } else { 90.0 }));
    assert_eq!(numbers(&representatives(two)), [(0, 60), (60, 40)]);
}

#[test]
fn every_look_of_a_face_is_stood_for_by_one_like_it() {
    // Frontal, turned left and turned right, and few of one of them.
    let mut crowd = Crowd::new(7);
    let poses: Vec<Vec<f32>> = (0..3).map(|_| crowd.direction()).collect();
    let looks: Vec<Look<usize>> = (0..74)
        .map(|i| {
            let pose = if i < 40 {
                0
            } else if i < 68 {
                1
            } else {
                2
            };
            look(crowd.picture(&poses[pose], 0.3), 0.5, pose)
        })
        .collect();
    assert_eq!(numbers(&representatives(looks)), [(0, 40), (1, 28), (2, 6)]);
}

#[test]
fn of_looks_in_the_middle_the_best_picture_is_taken() {
    // All of a cluster are within the tie; the third one is the clearest.
    let mut all = looks([0.0, 1.0, 2.0, 3.0, 80.0, 81.0, 160.0, 161.0]);
    all[2].quality = 0.9;
    // The clearest of all is far from every middle: it is not taken for it.
    all[4].quality = f32::NAN;
    let chosen = representatives(all);
    assert_eq!(chosen[0].with, 2);
    assert_eq!(chosen.iter().map(|l| l.observations).collect::<Vec<_>>(), [4, 2, 2]);
}

#[test]
fn real_looks_are_returned_and_every_run_gives_the_same() {
    let mut crowd = Crowd::new(3);
    let face = crowd.direction();
    let all: Vec<_> = (0..200).map(|i| look(crowd.picture(&face, 1.0), 0.5, i)).collect();
    let first = representatives(all.clone());
    assert_eq!(numbers(&representatives(all.clone())), numbers(&first));
    assert!(first.iter().all(|l| all[l.with].embedding == l.embedding));
}

#[test]
fn looks_that_cancel_out_are_no_trouble() {
    let opposite = looks((0..40).map(|i| if i % 2 == 0 { 0.0 } else { 180.0 }));
    assert_eq!(numbers(&representatives(opposite)), [(0, 20), (1, 20)]);
    assert_eq!(direction(&looks([0.0, 180.0, 90.0, 270.0])), None);
    assert_eq!(direction::<()>(&[]), None);
}

#[test]
fn observations_weigh_in_the_middle_and_are_kept() {
    let mut all = looks([0.0, 30.0, 60.0, 170.0, 180.0, 190.0]);
    all[0].observations = 1000;
    let chosen = representatives(all);
    assert_eq!(chosen[0].with, 0);
    assert_eq!(chosen.iter().map(|l| l.observations).sum::<u64>(), 1005);
}

#[test]
fn long_tracks_are_thinned_evenly_and_keep_the_best_pictures() {
    let mut thinned = Thinned::default();
    let count = 100_000;
    for i in 0..count {
        let quality = if i % 1000 == 7 { 0.9 } else { 0.3 };
        thinned.add(look(at((i % 90) as f32), quality, i));
        assert!(thinned.kept.len() <= Thinned::<usize>::MOST);
    }
    let kept = thinned.into_looks();
    assert!(kept.len() > Thinned::<usize>::MOST / 2, "{}", kept.len());
    assert_eq!(kept.iter().map(|l| l.observations).sum::<u64>(), count as u64);
    assert!(kept.windows(2).all(|w| w[0].with < w[1].with), "in their order");
    let stretch = kept[0].observations as usize;
    assert!(kept.windows(2).all(|w| w[1].with - w[0].with < 2 * stretch), "no gap");
    assert_eq!(kept.iter().filter(|l| l.quality == 0.9).count(), count / 1000);
}

#[test]
fn short_tracks_are_kept_whole() {
    let mut thinned = Thinned::default();
    (0..Thinned::<usize>::MOST).for_each(|i| thinned.add(look(at(i as f32), 0.5, i)));
    assert_eq!(thinned.into_looks().len(), Thinned::<usize>::MOST);
}

fn member(direction: Embedding) -> Member {
    Member { direction, weight: 1.0 }
}

fn together(_: usize, _: usize) -> bool {
    false
}

#[test]
fn tracks_of_many_people_are_told_apart() {
    let mut crowd = Crowd::new(11);
    let faces: Vec<Vec<f32>> = (0..20).map(|_| crowd.direction()).collect();
    // Everybody appears five times, in turns, each time from another side and in other light.
    let mut members = Vec::new();
    for track in 0..100 {
        let seen = crowd.picture(&faces[track % 20], 0.7);
        let looks: Vec<Look<()>> =
            (0..8).map(|_| Look::new(crowd.picture(seen.as_slice(), 0.5), 0.5, ())).collect();
        members.push(member(direction(&representatives(looks)).unwrap()));
    }
    let groups = group(&members, 0.45, together);
    let expected: Vec<Vec<usize>> = (0..20).map(|p| (0..5).map(|i| i * 20 + p).collect()).collect();
    assert_eq!(groups, expected);
}

#[test]
fn picture_between_two_people_does_not_join_them() {
    // 1 is like 0 and like 2, who are not alike: by the nearest pair all three would be one.
    let members = [at(0.0), at(50.0), at(100.0)].map(member);
    assert_eq!(group(&members, 0.6, together), [vec![0, 1], vec![2]]);
    // A chain of small steps from one person to another.
    let chain: Vec<Member> = (0..10).map(|i| member(at(i as f32 * 20.0))).collect();
    for found in group(&chain, 0.8, together) {
        let (first, last) = (found[0], found[found.len() - 1]);
        assert!(last - first <= 3, "{found:?}");
    }
}

#[test]
fn those_on_one_picture_are_never_one_person() {
    let twins = [at(0.0), at(1.0), at(2.0), at(3.0)].map(member);
    let apart = |a: usize, b: usize| (a.min(b), a.max(b)) == (0, 1);
    let groups = group(&twins, 0.5, apart);
    assert_eq!(groups.len(), 2);
    assert!(groups.iter().all(|g| !(g.contains(&0) && g.contains(&1))), "{groups:?}");
    // Nor by way of a third, who is nearest to one of them.
    let groups = group(&twins[..3], 0.5, |a, b| (a.min(b), a.max(b)) == (0, 1));
    assert_eq!(groups, [vec![0], vec![1, 2]]);
    assert_eq!(group(&twins, 0.5, |_, _| true).len(), 4);
}

#[test]
fn weight_decides_where_a_doubtful_one_goes() {
    let doubtful = |heavy: usize| {
        let weight = |i: usize| if i == heavy { 50.0 } else { 1.0 };
        let all = [0.0, 20.0, 75.0].into_iter().enumerate();
        let members: Vec<_> =
            all.map(|(i, d)| Member { direction: at(d), weight: weight(i) }).collect();
        group(&members, 0.5, together)
    };
    // 75 degrees are .26 from the first and .57 from the second.
    assert_eq!(doubtful(0), [vec![0, 1], vec![2]]);
    assert_eq!(doubtful(1), [vec![0, 1, 2]]);
}

#[test]
fn groups_depend_on_nothing_but_the_threshold() {
    assert!(group(&[], 0.5, together).is_empty());
    let same = [at(0.0), at(0.0), at(90.0)].map(member);
    assert_eq!(group(&same, 0.5, together), [vec![0, 1], vec![2]]);
    assert_eq!(group(&same, -1.0, together), [vec![0, 1, 2]]);
    assert_eq!(group(&same, 1.1, together).len(), 3);
    let weightless = [0.0, f32::NAN, -3.0].map(|weight| Member { direction: at(9.0), weight });
    assert_eq!(group(&weightless, 0.5, together), [vec![0, 1, 2]]);
}

#[test]
fn partners_found_once_are_those_of_a_search_of_all_pairs() {
    // The same, without remembering anything.
    fn slowly(members: &[Member], threshold: f32) -> Vec<Vec<usize>> {
        let mut groups: Vec<Group> =
            members.iter().enumerate().map(|(i, m)| Group::new(i, m)).collect();
        loop {
            let mut best: Option<(f32, usize, usize)> = None;
            for i in 0..groups.len() {
                for j in i + 1..groups.len() {
                    let similarity = groups[i].similarity(&groups[j]);
                    if similarity >= threshold && best.is_none_or(|(b, ..)| similarity > b) {
                        best = Some((similarity, i, j));
                    }
                }
            }
            let Some((_, i, j)) = best else { break };
            let other = groups.remove(j);
            groups[i].absorb(other);
        }
        groups.into_iter().map(Group::into_members).collect()
    }
    for seed in 0..20 {
        let mut crowd = Crowd::new(seed);
        let face = crowd.direction();
        let members: Vec<Member> = (0..40)
            .map(|i| Member { weight: 1.0 + (i % 3) as f32, direction: crowd.picture(&face, 1.3) })
            .collect();
        let found = group(&members, 0.5, together);
        assert_eq!(found, slowly(&members, 0.5), "{seed}");
        assert!((2..40).contains(&found.len()), "{seed}: a case that decides nothing");
    }
}
