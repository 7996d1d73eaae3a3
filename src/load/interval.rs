//! Which frames the detector looks at, as a setting.

use std::fmt;
use std::str::FromStr;

/// Which frames the detector looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interval {
    /// Every second one above 20 frames a second, else every one.
    #[default]
    Default,
    /// On a live stream as many as the processors allow; else as [`Interval::Default`].
    Auto,
    /// Every n-th one, 1 to [`Interval::MOST`].
    Every(u32),
}

/// A text is no interval.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is no interval: auto, default or a number from 1 to {most} is needed", most = Interval::MOST)]
pub struct IntervalError(String);

impl Interval {
    /// Longest distance of two looks in frames: two seconds at 30 a second, after which tracks that
    /// were not seen have ended.
    pub const MOST: u32 = 60;
    /// Frame rate above which every second frame is enough, unless told otherwise.
    const FAST_FPS: f64 = 20.0;

    /// Every how many frames the detector looks at this frame rate, if nothing else decides.
    pub fn frames(self, fps: f64) -> u64 {
        match self {
            Interval::Every(n) => u64::from(n.max(1)),
            Interval::Default | Interval::Auto => 1 + u64::from(fps > Self::FAST_FPS),
        }
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "default" => Ok(Interval::Default),
            "auto" => Ok(Interval::Auto),
            number => match number.parse() {
                Ok(n @ 1..=Interval::MOST) => Ok(Interval::Every(n)),
                _ => Err(IntervalError(text.to_owned())),
            },
        }
    }
}

/// As the property `interval` of onnxfacedetect takes it.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interval::Default => f.write_str("default"),
            Interval::Auto => f.write_str("auto"),
            Interval::Every(n) => write!(f, "{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_intervals_are_each_others() {
        for interval in [Interval::Default, Interval::Auto, Interval::Every(1), Interval::Every(60)]
        {
            assert_eq!(interval.to_string().parse(), Ok(interval));
        }
        for bad in ["", "0", "61", "-1", "2.5", "Auto", "auto "] {
            let error = bad.parse::<Interval>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{bad}' is no interval")), "{error}");
        }
    }

    #[test]
    fn without_a_number_the_frame_rate_decides() {
        for (fps, frames) in [(0.0, 1), (15.0, 1), (20.0, 1), (23.98, 2), (60.0, 2)] {
            assert_eq!(Interval::Default.frames(fps), frames);
            assert_eq!(Interval::Auto.frames(fps), frames);
            assert_eq!(Interval::Every(3).frames(fps), 3);
        }
    }
}
