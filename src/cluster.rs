//! Many embeddings as a few: the looks that stand for a track ([`representatives`]), within bounded
//! memory however long it is ([`Thinned`]), and the tracks that show one person ([`group`]).
//!
//! Everything here depends on its input alone: the same looks give the same result on every machine
//! and in every run.

use std::fmt;

use crate::embed::Embedding;

/// A representative stands for so many looks, unless they are fewer than [`LEAST`] times as many.
/// Both are those of DeGirum Face.
const LOOKS_EACH: usize = 25;
const LEAST: usize = 3;

/// Rounds after which k-means is taken as it is. Some hundreds of looks settle in about ten.
const ROUNDS: usize = 50;

/// Unit vectors whose cosine is no further from 1 are the same: rounding takes more from a sum of
/// 512 products than this only if they are not.
const SAME: f32 = 1e-5;

/// Of looks that are about as near to the middle of their cluster as the nearest, the best picture
/// is taken: so much less cosine is no difference that an embedder knows.
const NEAR_TIE: f32 = 0.02;

/// Looks drawn for each middle that k-means starts from; the one that helps most is taken. One draw
/// alone misses a rare look now and then.
const DRAWS: usize = 8;

/// A look of quality 0 still says something.
const LEAST_QUALITY: f32 = 0.01;

/// What a face looked like, once.
#[derive(Clone, PartialEq)]
pub struct Look<T> {
    pub embedding: Embedding,
    /// What makes it the better one of two, 0..=1: quality of the shot times score of the detection.
    pub quality: f32,
    /// Observations that it stands for, itself counted.
    pub observations: u64,
    /// What belongs to it, such as the picture.
    pub with: T,
}

impl<T> fmt::Debug for Look<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quality, observations, .. } = self;
        write!(f, "Look of quality {quality} for {observations} observations")
    }
}

impl<T> Look<T> {
    /// One observation.
    pub fn new(embedding: Embedding, quality: f32, with: T) -> Self {
        Self { embedding, quality, observations: 1, with }
    }

    /// The better of two, which stands for both; of equal ones the first.
    fn or(self, other: Self) -> Self {
        let observations = self.observations.saturating_add(other.observations);
        let better = if other.quality.total_cmp(&self.quality).is_gt() { other } else { self };
        Self { observations, ..better }
    }

    fn count(&self) -> f32 {
        self.observations as f32
    }
}

/// The looks of a track as they come, thinned so that at most [`Thinned::MOST`] are kept: the time
/// that the track lasted is divided into stretches of equally many observations, and of each the
/// best look is kept. When there are too many stretches, two and two become one.
#[derive(Clone, Debug)]
pub struct Thinned<T> {
    /// Observations in a stretch; the last one may have fewer.
    stretch: u64,
    kept: Vec<Look<T>>,
}

impl<T> Default for Thinned<T> {
    fn default() -> Self {
        Self { stretch: 1, kept: Vec::new() }
    }
}

impl<T> Thinned<T> {
    /// Looks that are kept at most.
    pub const MOST: usize = 256;

    /// Adds the next look.
    pub fn add(&mut self, look: Look<T>) {
        match self.kept.pop_if(|last| last.observations < self.stretch) {
            Some(last) => self.kept.push(last.or(look)),
            None => self.kept.push(look),
        }
        if self.kept.len() > Self::MOST {
            self.halve();
        }
    }

    /// Adds the looks of a track that turned out to be this one, and that came after these.
    pub fn absorb(&mut self, other: Self) {
        other.kept.into_iter().for_each(|look| self.add(look));
    }

    fn halve(&mut self) {
        self.stretch = self.stretch.saturating_mul(2);
        let mut looks = std::mem::take(&mut self.kept).into_iter();
        while let Some(first) = looks.next() {
            self.kept.push(match looks.next() {
                Some(second) => first.or(second),
                None => first,
            });
        }
    }

    /// Those kept, in the order in which they came.
    pub fn into_looks(self) -> Vec<Look<T>> {
        self.kept
    }
}

/// The looks that stand for all of them, those for the most observations first: the clusters of
/// spherical k-means, and of each the real look nearest to its middle. One in 25, at least 3 or as
/// many as there are. Fewer than three looks are returned as they are; of more, those that are the
/// same count as one.
///
/// k-means starts from the look nearest to the mean and from others drawn as greedy k-means++ does
/// (Arthur and Vassilvitskii 2007), by a generator with a fixed seed. All looks are of one embedder.
pub fn representatives<T>(looks: Vec<Look<T>>) -> Vec<Look<T>> {
    if looks.len() < LEAST {
        return looks;
    }
    let wanted = LEAST.max(looks.len() / LOOKS_EACH);
    let mut clusters = Clusters::start(&looks, wanted);
    for _ in 0..ROUNDS {
        if !clusters.assign(&looks) {
            break;
        }
        clusters.center(&looks);
    }
    let mut chosen = clusters.choose(&looks);
    chosen.sort_by_key(|(index, observations)| (std::cmp::Reverse(*observations), *index));
    let mut looks: Vec<Option<Look<T>>> = looks.into_iter().map(Some).collect();
    let take = |(index, observations): (usize, u64)| {
        let look = looks.get_mut(index).and_then(Option::take)?;
        Some(Look { observations, ..look })
    };
    chosen.into_iter().filter_map(take).collect()
}

/// k-means on the unit sphere.
struct Clusters {
    /// Unit vectors.
    centers: Vec<Vec<f32>>,
    /// Cluster of each look, and its cosine with the middle of it.
    of: Vec<(usize, f32)>,
}

impl Clusters {
    /// At most `wanted` of them, each with a look in its middle; fewer if the looks are the same.
    fn start<T>(looks: &[Look<T>], wanted: usize) -> Self {
        let mean = direction(looks).map(|mean| mean.as_slice().to_vec()).unwrap_or_default();
        let cosine = |look: &Look<T>, center: &[f32]| dot(look.embedding.as_slice(), center);
        let first =
            looks.iter().reduce(|a, b| if cosine(b, &mean) > cosine(a, &mean) { b } else { a });
        let Some(first) = first else { return Self { centers: Vec::new(), of: Vec::new() } };
        let mut centers = vec![first.embedding.as_slice().to_vec()];
        // How far each look is from the nearest middle.
        let mut distances = nearer(looks, &vec![f32::INFINITY; looks.len()], first);
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        while centers.len() < wanted {
            let drawn = (0..DRAWS).filter_map(|_| draw(looks, &distances, numbers.fraction()));
            let tried = drawn.map(|look| (nearer(looks, &distances, look), look));
            let better = |a: (Vec<f32>, _), b: (Vec<f32>, _)| {
                if chances(looks, &b.0) < chances(looks, &a.0) { b } else { a }
            };
            let Some((now, look)) = tried.reduce(better) else { break };
            distances = now;
            centers.push(look.embedding.as_slice().to_vec());
        }
        Self { centers, of: vec![(usize::MAX, 0.0); looks.len()] }
    }

    /// Gives each look to the nearest middle. False: nothing changed.
    fn assign<T>(&mut self, looks: &[Look<T>]) -> bool {
        let mut changed = false;
        for (look, of) in looks.iter().zip(&mut self.of) {
            let cosines = self.centers.iter().map(|c| dot(look.embedding.as_slice(), c));
            // Of two that are as near, the first.
            let nearest = cosines.enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a });
            let Some(nearest) = nearest else { continue };
            changed |= of.0 != nearest.0;
            *of = nearest;
        }
        changed
    }

    /// Moves the middles to the means of their looks. A cluster that lost all of its looks gets the
    /// one that is furthest from its own middle.
    fn center<T>(&mut self, looks: &[Look<T>]) {
        for (index, center) in self.centers.iter_mut().enumerate() {
            let own = looks.iter().zip(&self.of).filter(|(_, of)| of.0 == index);
            let mut sum = vec![0.0; center.len()];
            let mut any = false;
            for (look, _) in own {
                add(&mut sum, look.embedding.as_slice(), look.count());
                any = true;
            }
            // Looks that cancel out leave it where it was.
            if let Ok(mean) = Embedding::new(&sum) {
                *center = mean.as_slice().to_vec();
            }
            if any {
                continue;
            }
            let furthest =
                self.of.iter_mut().zip(looks).reduce(|a, b| if b.0.1 < a.0.1 { b } else { a });
            if let Some((of, look)) = furthest.filter(|(of, _)| of.1 < 1.0 - SAME) {
                *center = look.embedding.as_slice().to_vec();
                *of = (index, 1.0);
            }
        }
    }

    /// The look of each cluster that stands for it, and the observations of all.
    fn choose<T>(&self, looks: &[Look<T>]) -> Vec<(usize, u64)> {
        let mut chosen = Vec::new();
        for index in 0..self.centers.len() {
            let own = || self.of.iter().zip(looks).enumerate().filter(|(_, (of, _))| of.0 == index);
            let Some(nearest) = own().map(|(_, (of, _))| of.1).reduce(f32::max) else { continue };
            let near = own().filter(|(_, (of, _))| of.1 >= nearest - NEAR_TIE);
            let better = |a: (usize, f32), b: (usize, f32)| if b.1 > a.1 { b } else { a };
            let best = near.map(|(i, (_, look))| (i, look.quality)).reduce(better);
            let observations =
                own().map(|(_, (_, look))| look.observations).fold(0, u64::saturating_add);
            chosen.extend(best.map(|(i, _)| (i, observations)));
        }
        chosen
    }
}

/// How far each look is from the nearest middle once `center` is one of them, too.
fn nearer<T>(looks: &[Look<T>], distances: &[f32], center: &Look<T>) -> Vec<f32> {
    let center = center.embedding.as_slice();
    let distance = |(look, before): (&Look<T>, &f32)| {
        let now = 1.0 - dot(look.embedding.as_slice(), center);
        before.min(if now > SAME { now } else { 0.0 })
    };
    looks.iter().zip(distances).map(distance).collect()
}

/// A look with its chance to be drawn.
fn with_chances<'a, T>(
    looks: &'a [Look<T>],
    distances: &[f32],
) -> impl Iterator<Item = (&'a Look<T>, f64)> {
    let chance = |look: &Look<T>, distance: f32| f64::from(look.count() * distance);
    looks.iter().zip(distances).map(move |(look, distance)| (look, chance(look, *distance)))
}

fn chances<T>(looks: &[Look<T>], distances: &[f32]) -> f64 {
    with_chances(looks, distances).map(|(_, chance)| chance).sum()
}

/// A look drawn with the chances that its distance gives it; `None` if all distances are 0.
fn draw<'a, T>(looks: &'a [Look<T>], distances: &[f32], fraction: f64) -> Option<&'a Look<T>> {
    let mut left = chances(looks, distances) * fraction;
    let mut last = None;
    for (look, chance) in with_chances(looks, distances).filter(|(_, chance)| *chance > 0.0) {
        left -= chance;
        last = Some(look);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// The mean direction of looks, weighted by their quality and by what they stand for; `None` without
/// looks, or if they cancel out.
pub fn direction<T>(looks: &[Look<T>]) -> Option<Embedding> {
    let mut sum = vec![0.0; looks.first()?.embedding.dim()];
    let mut total = 0.0;
    for look in looks {
        let quality = if look.quality.is_finite() { look.quality } else { 0.0 };
        let weight = quality.max(LEAST_QUALITY) * look.count();
        add(&mut sum, look.embedding.as_slice(), weight);
        total += weight;
    }
    let length = dot(&sum, &sum).sqrt();
    // What is left then is rounding.
    Embedding::new(&sum).ok().filter(|_| length > SAME * total)
}

/// The mean direction of what one thing (a track, or a part of it) was seen with, to be grouped.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub direction: Embedding,
    /// What it counts in the mean of a group, such as the number of its pictures; at least 0.01.
    pub weight: f32,
}

/// Which of the members are one person: their indices, rising, and the groups by their first member.
/// Average linkage: the two groups that are most alike become one, as long as the weighted mean of
/// the cosine similarities of their members is `threshold` or more. Those of whom `apart` says so are
/// never in one group. All members are of one embedder.
///
/// The mean, not the nearest pair, decides: a blurred picture that is like two people does not make
/// them one.
pub fn group(
    members: &[Member],
    threshold: f32,
    apart: impl Fn(usize, usize) -> bool,
) -> Vec<Vec<usize>> {
    let mut groups: Vec<Option<Group>> =
        members.iter().enumerate().map(|(index, member)| Some(Group::new(index, member))).collect();
    let partner = |groups: &[Option<Group>], index: usize| -> Option<(f32, usize)> {
        let group = groups.get(index)?.as_ref()?;
        let mut best: Option<(f32, usize)> = None;
        for (other, candidate) in groups.iter().enumerate().skip(index + 1) {
            let Some(candidate) = candidate else { continue };
            let similarity = group.similarity(candidate);
            // What is not alike enough need not be asked about; `apart` may take long.
            if similarity >= threshold
                && best.is_none_or(|(best, _)| similarity > best)
                && !group.apart(candidate, &apart)
            {
                best = Some((similarity, other));
            }
        }
        best
    };
    // Of each group the one behind it that is most like it. A mean of two similarities is above
    // neither: joining two groups changes only what has one of them for a partner.
    let mut partners: Vec<_> = (0..groups.len()).map(|index| partner(&groups, index)).collect();
    loop {
        let pairs = partners.iter().enumerate().filter_map(|(i, p)| p.map(|(s, j)| (s, i, j)));
        let Some((_, first, second)) = pairs.reduce(|a, b| if b.0 > a.0 { b } else { a }) else {
            break;
        };
        let other = groups[second].take();
        if let (Some(group), Some(other)) = (&mut groups[first], other) {
            group.absorb(other);
        }
        partners[second] = None;
        for (index, of) in partners.iter_mut().enumerate().take(second) {
            if index == first || of.is_some_and(|(_, p)| p == first || p == second) {
                *of = partner(&groups, index);
            }
        }
    }
    groups.into_iter().flatten().map(Group::into_members).collect()
}

struct Group {
    members: Vec<usize>,
    /// Of the directions, times their weights.
    sum: Vec<f32>,
    weight: f32,
}

impl Group {
    fn new(index: usize, member: &Member) -> Self {
        let mut sum = vec![0.0; member.direction.dim()];
        let weight = member.weight.max(LEAST_QUALITY);
        add(&mut sum, member.direction.as_slice(), weight);
        Self { members: vec![index], sum, weight }
    }

    /// The weighted mean of the cosines of all pairs.
    fn similarity(&self, other: &Self) -> f32 {
        dot(&self.sum, &other.sum) / (self.weight * other.weight)
    }

    fn apart(&self, other: &Self, apart: impl Fn(usize, usize) -> bool) -> bool {
        self.members.iter().any(|a| other.members.iter().any(|b| apart(*a, *b)))
    }

    fn absorb(&mut self, other: Self) {
        add(&mut self.sum, &other.sum, 1.0);
        self.weight += other.weight;
        self.members.extend(other.members);
    }

    fn into_members(mut self) -> Vec<usize> {
        self.members.sort_unstable();
        self.members
    }
}

/// In eight sums side by side, which vector instructions take in one step; in this order on every
/// machine.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn add(sum: &mut [f32], values: &[f32], times: f32) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value * times);
}

/// Numbers that are the same in every run (SplitMix64, Steele et al. 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 or more, below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
