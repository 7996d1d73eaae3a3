use super::*;

const S: i64 = 1_000_000_000;
const FRAME: i64 = S / 10;

/// A stream of ten pictures a second and a key picture every second, with metadata that is `late`.
struct Scene {
    recorder: Recorder<()>,
    /// Number of the next picture.
    next: i64,
}

/// A clip as it came out.
#[derive(Debug, Default)]
struct Made {
    triggers: Vec<String>,
    continues: Option<u64>,
    start: Option<i64>,
    pictures: Vec<i64>,
    keys: Vec<bool>,
    sound: Vec<i64>,
    frames: Vec<i64>,
    closed: Option<(i64, bool)>,
    missing: Vec<(String, i64)>,
}

fn event(id: &str) -> Trigger {
    Trigger { id: id.to_owned(), event: "known-face".to_owned(), ..Trigger::default() }
}

fn packet(pts: i64, key: bool) -> Packet<()> {
    Packet { pts, dts: pts, duration: FRAME, key, boundary: true, bytes: 1000, payload: () }
}

impl Scene {
    /// 2 s before and 2 s after, 5 s to decide.
    fn new(change: impl FnOnce(&mut RecorderConfig)) -> Self {
        let mut config =
            RecorderConfig { pre_roll: 2 * S, post_roll: 2 * S, ..RecorderConfig::default() };
        change(&mut config);
        let mut recorder = Recorder::new(config);
        recorder.new_format();
        Self { recorder, next: 0 }
    }

    fn pictures(&mut self, until: i64) {
        while self.next * FRAME < until {
            self.recorder.picture(packet(self.next * FRAME, self.next % 10 == 0));
            self.next += 1;
        }
    }

    /// Pictures and metadata up to then.
    fn run(&mut self, until: i64) {
        while self.next * FRAME < until {
            let time = self.next * FRAME;
            self.pictures(time + 1);
            self.meta(time);
        }
    }

    fn meta(&mut self, time: i64) {
        let frame = Frame { running_time_ns: Some(time as u64), ..Frame::default() };
        self.recorder.frame(time, frame);
        self.recorder.meta_time(time);
    }

    fn trigger(&mut self, time: i64, id: &str) {
        self.recorder.trigger(Some(time), event(id));
    }

    /// Carries the orders out; the ids of events without a clip are the second.
    fn made(&mut self) -> (Vec<Made>, Vec<String>) {
        let mut made: Vec<Made> = Vec::new();
        let mut refused = Vec::new();
        for order in self.recorder.take_orders() {
            match order {
                Order::Open { clip, triggers, continues } => {
                    assert_eq!(clip as usize, made.len() + 1, "clips are numbered");
                    let triggers = triggers.into_iter().map(|t| t.id).collect();
                    made.push(Made { triggers, continues, ..Made::default() });
                }
                Order::Begin { clip, start, .. } => made[clip as usize - 1].start = Some(start),
                Order::Trigger { clip, trigger } => {
                    made[clip as usize - 1].triggers.push(trigger.id);
                }
                Order::Picture { clip, packet } => {
                    let made = &mut made[clip as usize - 1];
                    assert!(made.closed.is_none());
                    made.pictures.push(packet.pts);
                    made.keys.push(packet.key);
                }
                Order::Sound { clip, packet, .. } => {
                    made[clip as usize - 1].sound.push(packet.pts);
                }
                Order::Frame { clip, frame } => {
                    made[clip as usize - 1].frames.push(frame.running_time_ns.unwrap() as i64);
                }
                Order::Close { clip, end, cut, missing } => {
                    let made = &mut made[clip as usize - 1];
                    assert!(made.closed.replace((end, cut)).is_none(), "closed once");
                    made.missing =
                        missing.into_iter().map(|m| (m.what, m.duration_ns as i64)).collect();
                }
                Order::Refused { trigger, .. } => refused.push(trigger.id),
            }
        }
        (made, refused)
    }
}

#[test]
fn clip_is_from_the_key_picture_before_the_pre_roll_to_the_end_of_the_post_roll() {
    let mut scene = Scene::new(|_| ());
    scene.run(10 * S);
    scene.trigger(9 * S + S / 2, "a");
    scene.run(20 * S);
    let (made, refused) = scene.made();
    assert!(refused.is_empty());
    let [clip] = &made[..] else { panic!("{made:?}") };
    assert_eq!(clip.start, Some(7 * S), "2 s before 9.5, and the key picture before that");
    assert_eq!(clip.pictures.first(), Some(&(7 * S)));
    assert_eq!(clip.pictures.last(), Some(&(11 * S + 4 * FRAME)));
    assert_eq!(clip.pictures.len(), 45, "every picture once");
    assert!(clip.keys[0]);
    assert_eq!(clip.frames, clip.pictures);
    assert_eq!(clip.closed, Some((11 * S + S / 2, false)));
    assert!(clip.missing.is_empty(), "{:?}", clip.missing);
}

#[test]
fn metadata_three_seconds_late_makes_the_same_clip() {
    let mut prompt = Scene::new(|_| ());
    prompt.run(10 * S);
    prompt.trigger(9 * S, "a");
    prompt.run(20 * S);
    let mut late = Scene::new(|_| ());
    for tenth in 0..230 {
        late.pictures(tenth * FRAME + 1);
        if tenth >= 30 {
            late.meta((tenth - 30) * FRAME);
        }
        if tenth == 120 {
            late.trigger(9 * S, "a");
        }
    }
    let (prompt, late) = (prompt.made().0, late.made().0);
    assert_eq!(prompt[0].pictures, late[0].pictures);
    assert_eq!(prompt[0].frames, late[0].frames);
    assert_eq!(prompt[0].closed, late[0].closed);
    assert!(late[0].missing.is_empty(), "{:?}", late[0].missing);
}

#[test]
fn metadata_at_a_tenth_of_the_rate_closes_clips_all_the_same() {
    let mut scene = Scene::new(|_| ());
    for tenth in 0..200 {
        scene.pictures(tenth * FRAME + 1);
        if tenth % 10 == 0 {
            scene.meta(tenth * FRAME);
        }
        if tenth == 100 {
            scene.trigger(10 * S, "a");
        }
    }
    let (made, _) = scene.made();
    assert_eq!(made[0].closed, Some((12 * S, false)));
    assert_eq!(made[0].frames, [8 * S, 9 * S, 10 * S, 11 * S]);
}

#[test]
fn metadata_that_stops_delays_the_end_by_the_decision_delay() {
    let mut scene = Scene::new(|_| ());
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    scene.pictures(12 * S + 5 * S);
    assert!(scene.made().0[0].closed.is_none());
    let mut scene = Scene::new(|_| ());
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    scene.pictures(12 * S + 5 * S + 2 * FRAME);
    let (made, _) = scene.made();
    assert_eq!(made[0].closed, Some((12 * S, false)));
    assert_eq!(made[0].missing, [("metadata".to_owned(), 2 * S + FRAME)]);
}

#[test]
fn metadata_may_end_first_and_the_pictures_too() {
    let mut scene = Scene::new(|_| ());
    scene.run(10 * S);
    scene.trigger(9 * S, "a");
    scene.recorder.meta_ended();
    scene.pictures(20 * S);
    assert_eq!(scene.made().0[0].closed, Some((11 * S, false)));

    let mut scene = Scene::new(|_| ());
    scene.pictures(10 * S);
    scene.recorder.video_ended();
    scene.meta(9 * S);
    scene.trigger(9 * S, "a");
    scene.recorder.meta_ended();
    let (made, _) = scene.made();
    assert_eq!(made[0].closed, Some((10 * S, false)));
    assert_eq!(made[0].missing, [("post-roll".to_owned(), S)]);
}

#[test]
fn later_event_extends_the_clip_up_to_its_greatest_length() {
    let mut scene = Scene::new(|c| c.max_duration = 8 * S);
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    scene.run(11 * S);
    scene.trigger(11 * S, "b");
    scene.run(12 * S + 9 * FRAME);
    scene.trigger(12 * S + 9 * FRAME, "c");
    scene.run(14 * S + 8 * FRAME);
    scene.trigger(14 * S + 8 * FRAME, "d");
    scene.run(30 * S);
    let (made, _) = scene.made();
    let [clip] = &made[..] else { panic!("{made:?}") };
    assert_eq!(clip.triggers, ["a", "b", "c", "d"]);
    assert_eq!(clip.closed, Some((16 * S, false)), "8 s and no more");
}

#[test]
fn event_after_the_greatest_length_begins_another_clip_where_the_first_ends() {
    let mut scene = Scene::new(|c| c.max_duration = 5 * S);
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    scene.run(12 * S);
    scene.trigger(12 * S, "b");
    scene.run(13 * S + S / 2);
    scene.trigger(13 * S + S / 2, "c");
    scene.run(30 * S);
    let (made, _) = scene.made();
    assert_eq!(made.len(), 2);
    assert_eq!(made[0].closed, Some((13 * S, false)));
    assert_eq!((made[1].start, made[1].triggers.clone()), (Some(13 * S), vec!["c".to_owned()]));
    assert_eq!(made[1].closed, Some((15 * S + S / 2, false)));
}

#[test]
fn ignored_event_is_told_and_changes_nothing() {
    let mut scene = Scene::new(|c| c.on_retrigger = OnRetrigger::Ignore);
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    scene.run(11 * S);
    scene.trigger(11 * S, "b");
    scene.run(30 * S);
    let (made, _) = scene.made();
    assert_eq!((made.len(), made[0].triggers.len()), (1, 2));
    assert_eq!(made[0].closed, Some((12 * S, false)));
}

#[test]
fn split_ends_one_clip_at_the_event_and_begins_another_there() {
    let mut scene = Scene::new(|c| c.on_retrigger = OnRetrigger::Split);
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    scene.run(11 * S + FRAME);
    scene.trigger(11 * S, "b");
    scene.run(30 * S);
    let (made, _) = scene.made();
    assert_eq!(made.len(), 2);
    // The picture of the event was given already.
    assert_eq!(made[0].closed, Some((11 * S + FRAME, false)));
    assert_eq!((made[1].start, made[1].closed), (Some(11 * S), Some((13 * S, false))));
}

#[test]
fn cooldown_is_counted_from_the_end_of_the_last_clip() {
    let mut scene = Scene::new(|c| c.cooldown = 10 * S);
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    scene.run(20 * S);
    scene.trigger(20 * S, "b");
    scene.run(25 * S);
    scene.trigger(25 * S, "c");
    scene.run(40 * S);
    let (made, refused) = scene.made();
    assert_eq!((made.len(), refused), (2, vec!["b".to_owned()]));
    assert_eq!(made[1].triggers, ["c"]);
}

#[test]
fn event_older_than_everything_kept_begins_at_the_first_key_picture() {
    let mut scene = Scene::new(|_| ());
    scene.run(30 * S);
    scene.trigger(10 * S, "a");
    scene.run(40 * S);
    let (made, _) = scene.made();
    let clip = &made[0];
    // 7 s are kept, and what is left of the group of pictures.
    assert_eq!((clip.start, clip.closed), (Some(22 * S), Some((24 * S, false))));
    assert_eq!(clip.missing, [("pre-roll".to_owned(), 14 * S)]);
}

#[test]
fn young_stream_begins_with_what_there_is() {
    let mut scene = Scene::new(|_| ());
    scene.trigger(0, "a");
    scene.run(10 * S);
    let (made, _) = scene.made();
    assert_eq!((made[0].start, made[0].closed), (Some(0), Some((2 * S, false))));
    assert_eq!(made[0].missing, [("pre-roll".to_owned(), 2 * S)]);
}

#[test]
fn bytes_bound_what_is_kept() {
    let mut scene = Scene::new(|c| c.max_bytes = 25_000);
    scene.run(30 * S);
    assert!(scene.recorder.bytes() <= 25_000);
    scene.trigger(30 * S, "a");
    scene.run(40 * S);
    let (made, _) = scene.made();
    assert_eq!(made[0].start, Some(28 * S), "two groups and a half fit");
    assert_eq!(made[0].closed, Some((32 * S, false)));
}

#[test]
fn another_format_begins_another_file_of_the_same_event() {
    let mut scene = Scene::new(|_| ());
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    scene.run(11 * S);
    scene.recorder.new_format();
    scene.run(20 * S);
    let (made, _) = scene.made();
    assert_eq!(made.len(), 2);
    assert_eq!(made[0].closed, Some((11 * S, false)));
    assert_eq!((made[1].start, made[1].continues), (Some(11 * S), Some(1)));
    assert_eq!((made[1].closed, &made[1].triggers), (Some((12 * S, false)), &made[0].triggers));
}

#[test]
fn event_before_a_change_of_format_keeps_its_pre_roll() {
    let mut scene = Scene::new(|_| ());
    scene.pictures(10 * S);
    scene.recorder.new_format();
    scene.pictures(13 * S);
    scene.meta(9 * S);
    scene.trigger(9 * S, "a");
    scene.meta(12 * S);
    let (made, _) = scene.made();
    assert_eq!((made[0].start, made[0].closed), (Some(7 * S), Some((10 * S, false))));
    assert_eq!((made[1].start, made[1].closed), (Some(10 * S), Some((11 * S, false))));
}

#[test]
fn sound_lies_between_the_first_picture_and_the_end_and_is_never_waited_for() {
    let mut scene = Scene::new(|_| ());
    scene.recorder.new_sound_format();
    let step = S / 50;
    for piece in 0..500 {
        scene.recorder.sound(Packet { duration: step, ..packet(piece * step, true) });
        scene.pictures(piece * step + 1);
    }
    scene.trigger(10 * S, "a");
    scene.run(20 * S);
    let (made, _) = scene.made();
    let clip = &made[0];
    assert_eq!((clip.sound.first(), clip.sound.last()), (Some(&(8 * S)), Some(&(499 * step))));
    assert_eq!(clip.closed, Some((12 * S, false)));
    assert_eq!(clip.missing, [("audio".to_owned(), 2 * S)]);
}

#[test]
fn sound_of_another_format_is_left_out_and_told() {
    let mut scene = Scene::new(|_| ());
    scene.recorder.new_sound_format();
    for piece in 0..120 {
        if piece == 100 {
            scene.recorder.new_sound_format();
        }
        scene.recorder.sound(packet(piece * FRAME, true));
        scene.run(piece * FRAME + 1);
        if piece == 90 {
            scene.trigger(9 * S, "a");
        }
    }
    let (made, _) = scene.made();
    assert_eq!(made[0].sound.last(), Some(&(99 * FRAME)));
    assert_eq!(made[0].missing, [("audio".to_owned(), S)]);
}

#[test]
fn pictures_shown_before_the_first_are_left_out() {
    // An open group of pictures: I at 10 is followed by B at 8 and 9.
    let mut scene = Scene::new(|_| ());
    let shown: [(i64, bool, bool); 9] = [
        (0, true, true),
        (3, false, true),
        (1, false, false),
        (2, false, false),
        (30, true, true),
        (28, false, false),
        (29, false, false),
        (33, false, true),
        (31, false, false),
    ];
    for (tenth, key, boundary) in shown {
        scene.recorder.picture(Packet { boundary, ..packet(tenth * FRAME, key) });
    }
    scene.trigger(5 * S, "a");
    scene.recorder.picture(packet(80 * FRAME, true));
    scene.recorder.meta_ended();
    let (made, _) = scene.made();
    assert_eq!(made[0].start, Some(3 * S));
    assert_eq!(made[0].pictures, [30, 33, 31].map(|t| t * FRAME));
}

#[test]
fn clip_ends_only_where_nothing_shown_earlier_follows() {
    let mut scene = Scene::new(|c| c.post_roll = 0);
    // End at 4: P6 is decoded before B4 and B5.
    for (tenth, key, boundary) in [
        (0, true, true),
        (3, false, true),
        (1, false, false),
        (2, false, false),
        (6, false, true),
        (4, false, false),
        (5, false, false),
        (9, false, true),
    ] {
        if tenth == 3 {
            scene.trigger(4 * FRAME, "a");
        }
        scene.recorder.picture(Packet { boundary, ..packet(tenth * FRAME, key) });
    }
    scene.recorder.meta_ended();
    let (made, _) = scene.made();
    assert_eq!(made[0].pictures, [0, 3, 1, 2].map(|t| t * FRAME), "all up to 4, and none beyond");
}

#[test]
fn time_that_jumps_closes_clips_with_what_they_have() {
    let mut scene = Scene::new(|_| ());
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    scene.run(11 * S);
    scene.recorder.jump("the time ran back");
    scene.next = 0;
    scene.run(5 * S);
    scene.trigger(5 * S, "b");
    scene.run(9 * S);
    let (made, _) = scene.made();
    assert_eq!(made[0].closed, Some((11 * S, true)));
    assert_eq!(made[0].missing, [("post-roll".to_owned(), S)]);
    assert_eq!((made[1].start, made[1].closed), (Some(3 * S), Some((7 * S, false))));
}

#[test]
fn camera_that_is_lost_does_not_keep_a_clip_open_for_ever() {
    let mut scene = Scene::new(|_| ());
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    for second in 10..=17 {
        scene.meta(second * S);
    }
    let (made, _) = scene.made();
    assert_eq!(made[0].closed, Some((10 * S, false)));
    assert_eq!(made[0].missing, [("post-roll".to_owned(), 2 * S)]);
}

#[test]
fn event_without_pictures_is_closed_without_a_beginning() {
    let mut scene = Scene::new(|_| ());
    scene.recorder.trigger(None, event("a"));
    scene.recorder.close_all("the pipeline was stopped");
    let (made, _) = scene.made();
    assert_eq!((made[0].start, made[0].pictures.len()), (None, 0));
    assert!(made[0].closed.is_some());
}

#[test]
fn extension_beyond_what_is_kept_begins_another_clip() {
    let mut scene = Scene::new(|_| ());
    scene.pictures(10 * S);
    scene.meta(S);
    scene.trigger(8 * S, "a");
    // No metadata for long: the pictures after 10 s are not kept for this clip.
    scene.recorder.set_config(RecorderConfig {
        decision_delay: 60 * S,
        max_bytes: 15_000,
        pre_roll: 2 * S,
        post_roll: 2 * S,
        ..RecorderConfig::default()
    });
    scene.pictures(40 * S);
    scene.trigger(11 * S, "b");
    scene.meta(60 * S);
    scene.pictures(50 * S);
    let (made, _) = scene.made();
    assert_eq!(made.len(), 2, "{made:?}");
    assert_eq!(made[0].closed, Some((10 * S, false)));
    assert_eq!((made[1].triggers[0].as_str(), made[1].start), ("b", Some(39 * S)));
}

#[test]
fn no_clip_begins_while_there_is_a_reason() {
    let mut scene = Scene::new(|_| ());
    scene.run(10 * S);
    scene.trigger(10 * S, "a");
    scene.recorder.refuse(Some("the disk is slow"));
    scene.recorder.close_all("the disk is slow");
    scene.run(11 * S);
    scene.trigger(11 * S, "b");
    scene.recorder.refuse(None);
    scene.trigger(11 * S, "c");
    scene.run(20 * S);
    let (made, refused) = scene.made();
    assert_eq!(refused, ["b"]);
    assert_eq!(made[0].closed, Some((10 * S, true)));
    assert_eq!(made[1].triggers, ["c"]);
}

#[test]
fn settings_have_names() {
    for policy in OnRetrigger::ALL {
        assert_eq!(policy.as_str().parse(), Ok(policy));
    }
    assert!("other".parse::<OnRetrigger>().unwrap_err().contains("extend, ignore or split"));
}
