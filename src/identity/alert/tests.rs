use super::*;

const MS: u64 = 1_000_000;

/// The alerts of one stream, 40 ms a frame, and what was given so far.
struct World {
    alerts: Alerts,
    settings: AlertSettings,
    frame: u64,
}

impl World {
    fn new(change: impl FnOnce(&mut AlertSettings)) -> Self {
        let mut settings = AlertSettings::default();
        change(&mut settings);
        Self { alerts: Alerts::default(), settings, frame: 0 }
    }

    fn rules(rules: &str) -> Self {
        Self::new(|s| s.rules = Arc::new(rules.parse().unwrap()))
    }

    /// The next frame shows this track so.
    fn see(&mut self, verdict: Verdict<'_>) -> Option<Alert> {
        self.frame += 1;
        self.alerts.see(&verdict, self.frame * 40 * MS, &self.settings)
    }

    fn kind(&mut self, verdict: Verdict<'_>) -> Option<&'static str> {
        self.see(verdict).map(|alert| alert.kind.as_str())
    }

    fn end(&mut self, track_id: u64) -> Option<Alert> {
        self.alerts.end(track_id, self.frame * 40 * MS, &self.settings)
    }

    fn end_kind(&mut self, track_id: u64) -> Option<&'static str> {
        self.end(track_id).map(|alert| alert.kind.as_str())
    }
}

fn person(name: &str) -> Match {
    Match { person_id: format!("id of {name}").into(), name: name.into(), similarity: 0.7 }
}

fn verdict(track_id: u64, status: Status) -> Verdict<'static> {
    Verdict {
        track_id,
        was_id: 0,
        observed: true,
        status,
        confirmed: matches!(status, Status::Known | Status::Unknown),
        person: None,
        similarity: Some(0.2),
        groups: &[],
        zones: &[],
    }
}

fn unknown(track_id: u64) -> Verdict<'static> {
    verdict(track_id, Status::Unknown)
}

fn known(track_id: u64, person: &Match) -> Verdict<'_> {
    let similarity = Some(person.similarity);
    Verdict { person: Some(person), similarity, ..verdict(track_id, Status::Known) }
}

#[test]
fn t8_only_confirmed_identities_alert_and_only_once() {
    let (mut world, ada) = (World::new(|_| ()), person("Ada"));
    for status in [Status::Identifying, Status::Confirming, Status::Uncertain, Status::Error] {
        assert_eq!(world.kind(verdict(1, status)), None, "{status:?}");
    }
    let provisional = Verdict { confirmed: false, ..known(1, &ada) };
    assert_eq!(world.kind(provisional), None, "the name is there, but not confirmed");
    assert_eq!(world.kind(Verdict { confirmed: false, ..unknown(1) }), None);
    let alert = world.see(known(1, &ada)).unwrap();
    assert_eq!((alert.kind, alert.track_id), (AlertKind::KnownFace, 1));
    assert_eq!((alert.person, alert.similarity), (Some(ada.clone()), Some(0.7)));
    let stranger = world.see(unknown(2)).unwrap();
    assert_eq!((stranger.kind, stranger.person), (AlertKind::UnknownFace, None));
    assert_eq!(stranger.similarity, Some(0.2), "with the nearest person");
    for _ in 0..1000 {
        assert_eq!(world.see(known(1, &ada)), None);
        assert_eq!(world.see(unknown(2)), None);
    }
    assert_eq!(world.alerts.counts(), AlertCounts { given: 2, cooled_down: 0 });
}

#[test]
fn t8_mode_says_about_whom_there_are_alerts() {
    let ada = person("Ada");
    for (mode, about_known, about_unknown) in [
        (AlertMode::None, false, false),
        (AlertMode::Knowns, true, false),
        (AlertMode::Unknowns, false, true),
        (AlertMode::All, true, true),
    ] {
        let mut world = World::new(|s| s.mode = mode);
        assert_eq!(world.see(known(1, &ada)).is_some(), about_known, "{mode:?}");
        assert_eq!(world.see(unknown(2)).is_some(), about_unknown, "{mode:?}");
        assert_eq!(world.end(1).is_some(), about_known, "{mode:?}");
        assert_eq!(world.end(2).is_some(), about_unknown, "{mode:?}");
    }
    // A change concerns both sides.
    let mut world = World::new(|s| s.mode = AlertMode::Knowns);
    assert_eq!(world.kind(unknown(1)), None);
    assert_eq!(world.kind(known(1, &ada)), Some("known-face"), "nobody heard of the stranger");
    assert_eq!(world.kind(unknown(1)), Some("identity-changed"));
}

#[test]
fn t9_once_is_one_alert_about_who_it_is() {
    let (mut world, ada) = (World::new(|s| s.repeat = AlertRepeat::Once), person("Ada"));
    assert_eq!(world.kind(unknown(1)), Some("unknown-face"));
    for _ in 0..100 {
        assert_eq!(world.kind(known(1, &ada)), None);
        assert_eq!(world.kind(unknown(1)), None);
    }
    assert_eq!(world.end_kind(1), Some("face-disappeared"));
    assert_eq!(world.end_kind(1), None);
}

#[test]
fn t9_on_change_alerts_once_more_per_change() {
    let mut world = World::new(|_| ());
    let (ada, bob) = (person("Ada"), person("Bob"));
    assert_eq!(world.kind(unknown(1)), Some("unknown-face"));
    let change = world.see(known(1, &ada)).unwrap();
    assert_eq!((change.kind, &change.previous), (AlertKind::IdentityChanged, &None));
    assert_eq!(change.person, Some(ada.clone()));
    assert_eq!(world.see(known(1, &ada)), None);
    let renamed = Match { name: "Ada King".into(), similarity: 0.9, ..ada.clone() };
    assert_eq!(world.see(known(1, &renamed)), None, "the same person");
    let change = world.see(known(1, &bob)).unwrap();
    assert_eq!((change.kind, change.previous), (AlertKind::IdentityChanged, Some(ada)));
    // From no result to the same one again nothing has changed.
    assert_eq!(world.see(verdict(1, Status::Identifying)), None);
    assert_eq!(world.see(known(1, &bob)), None);
}

#[test]
fn t9_interval_repeats_while_the_face_is_there() {
    let mut world = World::new(|s| {
        s.repeat = AlertRepeat::Interval;
        s.interval_ns = 400 * MS;
    });
    let ada = person("Ada");
    let told: Vec<u64> = (0..45).filter(|_| world.kind(known(1, &ada)).is_some()).collect();
    assert_eq!(told, [0, 10, 20, 30, 40]);
    // A pause shifts the next one, and does not make up for those that were missed.
    for _ in 0..15 {
        assert_eq!(world.kind(verdict(1, Status::Filtered)), None);
    }
    assert_eq!(world.kind(known(1, &ada)), Some("known-face"));
    assert_eq!(world.kind(known(1, &ada)), None);
    assert_eq!(world.kind(unknown(1)), Some("identity-changed"), "changes do not wait");
}

#[test]
fn t10_end_of_a_confirmed_track_is_told_with_who_it_was() {
    let (mut world, ada) = (World::new(|_| ()), person("Ada"));
    let zones = ["door".to_owned()];
    world.see(known(1, &ada));
    world.see(Verdict { observed: false, zones: &zones, ..verdict(1, Status::Known) });
    world.see(verdict(2, Status::Confirming));
    let gone = world.end(1).unwrap();
    assert_eq!((gone.kind, gone.track_id), (AlertKind::FaceDisappeared, 1));
    assert_eq!((gone.person, gone.similarity, gone.zones), (Some(ada), Some(0.7), zones.to_vec()));
    assert_eq!(world.end(2), None, "nobody was told that it came");
    assert_eq!(world.end(99), None, "never seen");
}

#[test]
fn t10_end_of_the_stream_ends_every_track() {
    let (mut world, ada) = (World::new(|_| ()), person("Ada"));
    world.see(unknown(5));
    world.see(known(3, &ada));
    world.see(verdict(4, Status::Identifying));
    let ended = world.alerts.end_all(9, &world.settings);
    assert_eq!(ended.iter().map(|a| a.track_id).collect::<Vec<_>>(), [3, 5]);
    assert!(world.alerts.end_all(9, &world.settings).is_empty());
    assert_eq!(world.kind(known(3, &ada)), Some("known-face"), "another stream");
    world.alerts.clear();
    assert_eq!(world.end(3), None);
}

#[test]
fn f9_filtered_moments_and_missed_detections_alert_nobody_again() {
    let (mut world, ada) = (World::new(|_| ()), person("Ada"));
    assert_eq!(world.kind(known(1, &ada)), Some("known-face"));
    for status in [Status::Filtered, Status::Error, Status::Identifying, Status::Uncertain] {
        // For much longer than any schedule waits.
        for _ in 0..500 {
            assert_eq!(world.kind(verdict(1, status)), None);
        }
        assert_eq!(world.kind(known(1, &ada)), None, "{status:?}");
    }
    world.frame += 1_000_000;
    assert_eq!(world.kind(known(1, &ada)), None, "not seen at all for hours");
}

#[test]
fn predicted_faces_do_not_alert() {
    let (mut world, ada) = (World::new(|_| ()), person("Ada"));
    assert_eq!(world.kind(Verdict { observed: false, ..known(1, &ada) }), None);
    assert_eq!(world.kind(known(1, &ada)), Some("known-face"));
}

#[test]
fn relinked_track_does_not_alert_again() {
    let ada = person("Ada");
    // Found before the new track was confirmed, or only after it has alerted by itself.
    for confirmed_before in [false, true] {
        let mut world = World::new(|_| ());
        assert_eq!(world.kind(known(7, &ada)), Some("known-face"));
        if confirmed_before {
            assert_eq!(world.kind(known(12, &ada)), Some("known-face"));
        }
        world.alerts.join(12, 7);
        assert_eq!(world.kind(known(12, &ada)), None);
        // From here on facetrack carries the old id.
        assert_eq!(world.kind(Verdict { was_id: 12, ..known(7, &ada) }), None);
        assert_eq!(world.end_kind(12), None, "the new id ends, the track goes on");
        assert_eq!(world.kind(Verdict { was_id: 12, ..known(7, &ada) }), None);
        assert_eq!(world.end_kind(7), Some("face-disappeared"));
        assert!(world.alerts.tracks.is_empty() && world.alerts.joined.is_empty());
    }
}

#[test]
fn relink_that_facetrack_refuses_costs_no_news() {
    let (mut world, ada) = (World::new(|_| ()), person("Ada"));
    world.see(known(7, &ada));
    world.alerts.join(12, 7);
    assert_eq!(world.kind(known(12, &ada)), None);
    assert_eq!(world.end_kind(7), None, "she is still here, as 12");
    assert_eq!(world.kind(known(12, &ada)), None);
    let gone = world.end(12).unwrap();
    assert_eq!((gone.kind, gone.track_id), (AlertKind::FaceDisappeared, 12));
    assert!(world.alerts.tracks.is_empty() && world.alerts.joined.is_empty());
}

#[test]
fn relinks_add_up() {
    let (mut world, ada) = (World::new(|_| ()), person("Ada"));
    world.see(known(7, &ada));
    world.see(Verdict { was_id: 12, ..known(7, &ada) });
    world.see(verdict(20, Status::Identifying));
    world.alerts.join(20, 12);
    assert_eq!(world.kind(known(20, &ada)), None);
    // What was 12 goes by 20 now.
    world.alerts.join(31, 20);
    assert_eq!(world.kind(known(31, &ada)), None);
    assert_eq!(world.alerts.tracks.len(), 1);
    assert_eq!(world.end_kind(31), Some("face-disappeared"));
    assert!(world.alerts.joined.is_empty());
}

#[test]
fn rule_about_a_zone_waits_for_the_face_to_be_there() {
    let mut world = World::rules(r#"[{"persons":["Ada"],"zones":["door"]}]"#);
    let (ada, bob) = (person("Ada"), person("Bob"));
    let (hall, door) = (["hall".to_owned()], ["door".to_owned()]);
    assert_eq!(world.kind(Verdict { zones: &hall, ..known(1, &ada) }), None);
    assert_eq!(world.kind(Verdict { zones: &door, ..known(2, &bob) }), None);
    let alert = world.see(Verdict { zones: &door, ..known(1, &ada) }).unwrap();
    assert_eq!((alert.kind, alert.zones), (AlertKind::KnownFace, door.to_vec()));
    assert_eq!(world.kind(Verdict { zones: &hall, ..known(1, &ada) }), None);
    assert_eq!(world.end_kind(1), None, "she was in the hall last");
}

#[test]
fn rule_about_a_group_asks_the_attributes_of_the_person() {
    let mut world = World::rules(r#"[{"groups":["staff"]}]"#);
    let (ada, bob) = (person("Ada"), person("Bob"));
    let staff = ["staff".to_owned()];
    assert_eq!(world.kind(known(2, &bob)), None);
    assert_eq!(world.kind(Verdict { groups: &staff, ..known(1, &ada) }), Some("known-face"));
    assert_eq!(world.end_kind(1), Some("face-disappeared"));
    assert_eq!(world.end_kind(2), None);
}

#[test]
fn rule_for_known_faces_alone_hears_of_a_track_that_gets_a_name() {
    let mut world = World::rules(r#"[{"events":["known-face","unknown-face"]}]"#);
    let ada = person("Ada");
    assert_eq!(world.kind(unknown(1)), Some("unknown-face"));
    assert_eq!(world.kind(known(1, &ada)), Some("known-face"));
    assert_eq!(world.end_kind(1), None);
}

#[test]
fn cool_down_is_per_person_and_kind_and_leaves_strangers_alone() {
    let mut world = World::new(|s| s.cooldown_ns = 10_000 * MS);
    let (ada, bob) = (person("Ada"), person("Bob"));
    assert_eq!(world.kind(known(1, &ada)), Some("known-face"));
    assert_eq!(world.end_kind(1), Some("face-disappeared"));
    assert_eq!(world.kind(known(2, &ada)), None);
    assert_eq!(world.end_kind(2), None);
    assert_eq!(world.kind(known(3, &bob)), Some("known-face"));
    assert_eq!(world.kind(unknown(4)), Some("unknown-face"));
    assert_eq!(world.kind(unknown(5)), Some("unknown-face"));
    assert_eq!(world.alerts.counts(), AlertCounts { given: 5, cooled_down: 2 });
    // It counts from the last alert that was given, and does not make up for those that were not.
    assert_eq!(world.kind(known(6, &ada)), None);
    world.frame += 250;
    assert_eq!(world.kind(known(6, &ada)), None, "that was told, or would have been");
    assert_eq!(world.kind(known(7, &ada)), Some("known-face"));
    // Another stream of the same camera: its time begins anew, the cool-down does not matter.
    world.alerts.clear();
    world.frame = 0;
    assert_eq!(world.kind(known(1, &ada)), Some("known-face"));
}

#[test]
fn dry_run_decides_and_counts_the_same_and_says_so() {
    let (mut world, ada) = (World::new(|s| s.dry_run = true), person("Ada"));
    assert!(world.see(known(1, &ada)).unwrap().dry_run);
    assert_eq!(world.see(known(1, &ada)), None);
    assert!(world.end(1).unwrap().dry_run);
    assert_eq!(world.alerts.counts().given, 2);
}

#[test]
fn memory_is_bounded_when_no_track_ever_ends() {
    let mut world = World::new(|s| s.cooldown_ns = MS);
    let ada = person("Ada");
    assert_eq!(world.kind(known(1, &ada)), Some("known-face"));
    for id in 2..3 * MOST_TRACKS as u64 {
        let somebody = person(&id.to_string());
        world.alerts.join(10_000_000 + id, 20_000_000 + id);
        world.see(known(id, &somebody));
        // Ada stays in sight.
        assert_eq!(world.kind(known(1, &ada)), None);
    }
    assert_eq!(world.alerts.tracks.len(), MOST_TRACKS);
    assert!(world.alerts.joined.len() <= MOST_TRACKS, "{}", world.alerts.joined.len());
    assert!(world.alerts.last.len() <= MANY_PEOPLE, "{}", world.alerts.last.len());
}

#[test]
fn names_of_kinds_are_read_back() {
    for kind in AlertKind::ALL {
        assert_eq!(AlertKind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(AlertKind::parse("known_face"), None);
}
