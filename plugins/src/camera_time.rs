//! When a picture was taken, by the camera's own clock: RTSP cameras tell it (RTCP sender reports), and rtspsrc writes
//! it to the buffers as reference timestamps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use face_core::clip::utc;

/// From 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX: Duration = Duration::from_secs(2_208_988_800);
/// A camera that is further from this machine's clock is wrong: it was never set and counts from some year past,
/// or takes local time for UTC. All time zones are more apart than this.
const PLAUSIBLE: Duration = Duration::from_secs(600);

/// When the picture of a buffer was taken; `None` if nothing says so, or nothing that can be true.
pub(crate) fn taken(buffer: &gst::BufferRef) -> Option<SystemTime> {
    taken_before(buffer, SystemTime::now())
}

fn taken_before(buffer: &gst::BufferRef, now: SystemTime) -> Option<SystemTime> {
    let moment = buffer.iter_meta::<gst::ReferenceTimestampMeta>().find_map(|meta| {
        let time = Duration::from_nanos(meta.timestamp().nseconds());
        let since = match meta.reference().structure(0)?.name().as_str() {
            "timestamp/x-ntp" => time.checked_sub(NTP_TO_UNIX)?,
            "timestamp/x-unix" => time,
            _ => return None,
        };
        UNIX_EPOCH.checked_add(since)
    })?;
    let apart = now.duration_since(moment).unwrap_or_else(|ahead| ahead.duration());
    (apart <= PLAUSIBLE).then_some(moment)
}

/// That moment, or if there is none the one that is now, RFC 3339.
pub(crate) fn text(taken: Option<SystemTime>) -> String {
    utc::format(taken.unwrap_or_else(SystemTime::now))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands on a buffer is read back, if it can be true.
    fn read(caps: &str, told: Duration, now: Duration) -> Option<Duration> {
        gst::init().unwrap();
        let caps = caps.parse::<gst::Caps>().unwrap();
        let mut buffer = gst::Buffer::new();
        let time = gst::ClockTime::try_from(told).unwrap();
        gst::ReferenceTimestampMeta::add(
            buffer.get_mut().unwrap(),
            &caps,
            time,
            gst::ClockTime::NONE,
        );
        let moment = taken_before(&buffer, UNIX_EPOCH + now)?;
        Some(moment.duration_since(UNIX_EPOCH).unwrap())
    }

    #[test]
    fn clock_of_a_camera_is_believed_if_it_is_near() {
        let now = Duration::from_secs(1_796_000_000);
        let told = now - Duration::from_millis(1_250);
        assert_eq!(read("timestamp/x-unix", told, now), Some(told));
        assert_eq!(read("timestamp/x-ntp", told + NTP_TO_UNIX, now), Some(told));
        assert_eq!(read("timestamp/x-ptp", told, now), None);
        let minute = Duration::from_secs(60);
        assert_eq!(read("timestamp/x-unix", now + 9 * minute, now), Some(now + 9 * minute));
        for wrong in [now - 60 * minute, now + 30 * minute, 5 * minute] {
            assert_eq!(read("timestamp/x-unix", wrong, now), None);
        }
        assert_eq!(read("timestamp/x-ntp", told, now), None, "before 1970");
    }
}
