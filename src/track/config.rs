//! The settings of a tracker.

use thiserror::Error;

/// The longest [`TrackerConfig::max_lost_ns`]: one hour.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// The highest [`TrackerConfig::max_tracks`]; the time of a frame grows with the square of it.
const MOST_TRACKS: usize = 1000;

/// Settings of a [`Tracker`](super::Tracker). Scores and IoUs are 0..=1.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackerConfig {
    /// Detections of at least this score are associated with every track. Default 0.5.
    pub high_threshold: f32,
    /// Detections of at least this score, but below `high_threshold`, only continue confirmed
    /// tracks that were seen at the last look; lower ones are ignored. At most `high_threshold`.
    /// Default 0.1.
    pub low_threshold: f32,
    /// A detection that belongs to no track opens one from this score on. At least
    /// `high_threshold`. Default 0.6.
    pub new_threshold: f32,
    /// Least IoU between a track's predicted box and a detection of high score, above 0.
    /// Default 0.15.
    pub match_iou: f32,
    /// The same for detections of low score, above 0. Default 0.5.
    pub low_match_iou: f32,
    /// A track whose predicted box overlaps no detection takes one whose centre is within this
    /// many box sizes (the root of the area) of the predicted centre, if the track's uncertainty
    /// allows it. It is what keeps the ids of small fast faces when few frames are looked at.
    /// 0 turns it off; at most 10. Default 2.
    pub match_distance: f32,
    /// Of two tracks whose boxes overlap by more than this IoU the younger ends. 1 turns it off.
    /// Default 0.85.
    pub duplicate_iou: f32,
    /// Consecutive looks with the face before a track is confirmed, at least 1; tracks of the
    /// first look after a start or reset are confirmed at once. Default 2.
    pub confirm_hits: u32,
    /// A track not seen for longer than this, in ns, ends; until then it can come back under its
    /// id. Must be longer than the time between two looks. At most one hour. Default 2 s.
    pub max_lost_ns: u64,
    /// A confirmed track gives predicted boxes for this long after it was last seen, in ns.
    /// 0: never. Default 0.5 s.
    pub max_predicted_ns: u64,
    /// Most tracks at a time, 1..=1000; a new one beyond that ends the one lost longest, and is
    /// not opened if none is lost. Of more detections in a frame those of highest score count.
    /// Default 1000.
    pub max_tracks: usize,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            high_threshold: 0.5,
            low_threshold: 0.1,
            new_threshold: 0.6,
            match_iou: 0.15,
            low_match_iou: 0.5,
            match_distance: 2.0,
            duplicate_iou: 0.85,
            confirm_hits: 2,
            max_lost_ns: 2_000_000_000,
            max_predicted_ns: 500_000_000,
            max_tracks: MOST_TRACKS,
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TrackerConfigError {
    #[error("tracker setting {name} is {value}: give a number from {least} to {most}")]
    Range { name: &'static str, value: f64, least: f64, most: f64 },
    #[error(
        "tracker setting {lower} is {lower_value}, above {upper} ({upper_value}): \
         lower it, or raise {upper}"
    )]
    Order { lower: &'static str, lower_value: f32, upper: &'static str, upper_value: f32 },
}

impl TrackerConfig {
    /// # Errors
    /// The first setting that is out of its range, not a number, or in conflict with another.
    pub fn validate(&self) -> Result<(), TrackerConfigError> {
        in_range("high_threshold", self.high_threshold.into(), 0.0, 1.0)?;
        in_range("low_threshold", self.low_threshold.into(), 0.0, 1.0)?;
        in_range("new_threshold", self.new_threshold.into(), 0.0, 1.0)?;
        in_range("match_iou", self.match_iou.into(), 0.001, 1.0)?;
        in_range("low_match_iou", self.low_match_iou.into(), 0.001, 1.0)?;
        in_range("match_distance", self.match_distance.into(), 0.0, 10.0)?;
        in_range("duplicate_iou", self.duplicate_iou.into(), 0.0, 1.0)?;
        in_range("confirm_hits", self.confirm_hits.into(), 1.0, u32::MAX.into())?;
        in_range("max_lost_ns", self.max_lost_ns as f64, 1.0, LONGEST_NS as f64)?;
        in_range("max_tracks", self.max_tracks as f64, 1.0, MOST_TRACKS as f64)?;
        in_order(("low_threshold", self.low_threshold), ("high_threshold", self.high_threshold))?;
        in_order(("high_threshold", self.high_threshold), ("new_threshold", self.new_threshold))
    }
}

pub(super) fn in_range(
    name: &'static str,
    value: f64,
    least: f64,
    most: f64,
) -> Result<(), TrackerConfigError> {
    if value >= least && value <= most {
        Ok(())
    } else {
        Err(TrackerConfigError::Range { name, value, least, most })
    }
}

fn in_order(
    (lower, lower_value): (&'static str, f32),
    (upper, upper_value): (&'static str, f32),
) -> Result<(), TrackerConfigError> {
    if lower_value <= upper_value {
        Ok(())
    } else {
        Err(TrackerConfigError::Order { lower, lower_value, upper, upper_value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_settings_are_valid() {
        assert_eq!(TrackerConfig::default().validate(), Ok(()));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let base = TrackerConfig::default();
        let cases = [
            ("high_threshold", TrackerConfig { high_threshold: f32::NAN, ..base.clone() }),
            ("low_threshold", TrackerConfig { low_threshold: -0.1, ..base.clone() }),
            ("new_threshold", TrackerConfig { new_threshold: 1.5, ..base.clone() }),
            ("match_iou", TrackerConfig { match_iou: 0.0, ..base.clone() }),
            ("low_match_iou", TrackerConfig { low_match_iou: f32::INFINITY, ..base.clone() }),
            ("match_distance", TrackerConfig { match_distance: 11.0, ..base.clone() }),
            ("duplicate_iou", TrackerConfig { duplicate_iou: 1.1, ..base.clone() }),
            ("confirm_hits", TrackerConfig { confirm_hits: 0, ..base.clone() }),
            ("max_lost_ns", TrackerConfig { max_lost_ns: u64::MAX, ..base.clone() }),
            ("max_lost_ns", TrackerConfig { max_lost_ns: 0, ..base.clone() }),
            ("max_tracks", TrackerConfig { max_tracks: 1001, ..base.clone() }),
        ];
        for (name, config) in cases {
            let error = config.validate().expect_err(name).to_string();
            assert!(error.starts_with(&format!("tracker setting {name} is ")), "{error}");
        }
    }

    #[test]
    fn thresholds_out_of_order_are_refused() {
        let low = TrackerConfig { low_threshold: 0.55, ..TrackerConfig::default() };
        assert_eq!(
            low.validate().map_err(|e| e.to_string()),
            Err("tracker setting low_threshold is 0.55, above high_threshold (0.5): \
                 lower it, or raise high_threshold"
                .to_owned())
        );
        let new = TrackerConfig { new_threshold: 0.4, ..TrackerConfig::default() };
        assert!(matches!(new.validate(), Err(TrackerConfigError::Order { .. })));
    }
}
