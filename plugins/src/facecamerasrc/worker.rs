//! The thread `face-camera`: connects, watches, takes down, and waits before it connects again.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use gst::glib;
use gst::prelude::*;

use super::backoff::Backoff;
use super::chain::{self, Media, NO_VIDEO, Take};
use super::imp::{CAT, Shared};
use super::outlet::{Outlet, Timing, signed};
use super::settings::Plan;
use super::{FaceCameraSrc, address::Kind};
use crate::runtime::with_causes;

/// How often silence and a request to stop are looked for.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// Least time for the first picture of a connection: some cameras wake up, and some send a whole picture
/// every ten seconds only.
const FIRST_PICTURE: Duration = Duration::from_secs(10);
/// rtspsrc warns that the server has closed the connection, and then ends the stream as if that was
/// its end. Between the two are the pictures that were under way.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// What a camera is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CameraState {
    #[default]
    Stopped,
    Connecting,
    Connected,
    Lost,
    Failed,
}

impl CameraState {
    /// As messages and `stats` name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Lost => "lost",
            Self::Failed => "failed",
        }
    }
}

/// How a connection ended.
enum End {
    /// It is to stop.
    Stopped,
    /// The camera says that this is all.
    Finished,
    Lost(Loss),
}

/// Why a camera was lost.
#[derive(Clone, Debug)]
struct Loss {
    reason: String,
    /// What GStreamer calls it, for an error of ours.
    kind: gst::ResourceError,
}

impl Loss {
    fn new(kind: gst::ResourceError, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), kind }
    }

    /// An error of the connection's pipeline, without the password that some element may have put in.
    fn of(error: &glib::Error, debug: Option<&str>, secret: Option<&str>) -> Self {
        let text = error.message().trim_end_matches('.').to_owned();
        let detail = debug.and_then(|debug| debug.lines().nth(1)).map(str::trim);
        let detail = detail.map(|line| line.trim_end_matches('.')).filter(|line| !line.is_empty());
        let mut reason = match detail {
            // All that rtspsrc of 1.22 knows.
            Some("Failed to connect. (Generic error)") => {
                "cannot connect: nothing answers at this address, or its name is not known"
                    .to_owned()
            }
            Some(detail) if !text.contains(detail) => format!("{text} ({detail})"),
            _ => text,
        };
        if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
            reason = reason.replace(secret, "***");
        }
        Self::new(error.kind::<gst::ResourceError>().unwrap_or(gst::ResourceError::Failed), reason)
    }

    fn refused(&self) -> bool {
        self.kind == gst::ResourceError::NotAuthorized
    }
}

/// The pipeline of a connection, brought down whatever happens.
struct Running(gst::Pipeline);

impl Drop for Running {
    fn drop(&mut self) {
        // Going down to NULL cannot fail.
        let _ = self.0.set_state(gst::State::Null);
    }
}

/// Clock and base time of the application's pipeline.
#[derive(Clone, Debug)]
pub(super) struct Clocking {
    pub(super) clock: gst::Clock,
    pub(super) base: gst::ClockTime,
}

pub(super) struct Worker {
    pub(super) element: glib::WeakRef<FaceCameraSrc>,
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Plan,
    pub(super) clocking: Clocking,
    /// Closed when it is to stop.
    pub(super) stop: Receiver<()>,
}

impl Worker {
    pub(super) fn run(self) {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // Two cameras that start at the same moment must differ, too.
        let seed = seed as u64 ^ (Arc::as_ptr(&self.shared) as u64).rotate_left(32);
        let mut backoff = Backoff::new(self.plan.longest_wait, seed);
        // Since the last picture; a loss is the first of the failures.
        let (mut attempt, mut failures) = (0_u32, 0_u32);
        let mut last: Option<Loss> = None;
        // A file begins again: nothing to be told.
        let mut looped = false;
        loop {
            attempt = attempt.saturating_add(1);
            if !looped {
                self.tell(CameraState::Connecting, attempt, last.as_ref());
            }
            let mut connected = None;
            let end = self.connect(&mut connected, || {
                if !looped {
                    self.tell(CameraState::Connected, attempt, None);
                }
            });
            self.shared.end();
            let lasted = connected.map(|since: Instant| since.elapsed());
            if lasted.is_some() {
                (attempt, failures) = (0, 0);
            }
            let loss = match end {
                End::Stopped => return,
                End::Finished if self.plan.loops && lasted.is_some() => {
                    looped = true;
                    continue;
                }
                End::Finished if self.is_final() => return self.end_stream(),
                End::Finished => Loss::new(gst::ResourceError::Read, "the camera ended its stream"),
                End::Lost(loss) => loss,
            };
            if lasted.is_some() {
                self.tell(CameraState::Lost, 0, Some(&loss));
            }
            failures = failures.saturating_add(1);
            if self.plan.retries.is_some_and(|retries| failures > retries) {
                return self.fail(attempt, &loss);
            }
            let wait = backoff.wait(lasted, loss.refused());
            self.log(&format!("lost: {}; next try in {wait:?}", loss.reason));
            (last, looped) = (Some(loss), false);
            if self.stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    fn end_stream(&self) {
        // Refused only while the element goes down.
        let end = |outlet: &Outlet| {
            let _ = outlet.source.end_of_stream();
        };
        end(&self.shared.video);
        self.shared.with_audio(end);
        self.tell(CameraState::Stopped, 0, None);
    }

    /// Is the end of the camera's stream that of ours? That of a file is, unless it begins again.
    fn is_final(&self) -> bool {
        self.plan.retries == Some(0) || self.plan.address.uri.starts_with("file:")
    }

    /// One connection, from its beginning to its end. When the first picture comes, `connected` is set and told.
    fn connect(&self, connected: &mut Option<Instant>, tell: impl Fn()) -> End {
        let failed = |kind, reason: String| End::Lost(Loss::new(kind, reason));
        let login = match self.plan.login() {
            Ok(login) => login,
            Err(reason) => return failed(gst::ResourceError::NotAuthorized, reason),
        };
        let secret = login.as_ref().map(|login| login.password.clone());
        let timing = self.timing();
        let number = self.shared.begin(&timing);
        let pipeline = match chain::build(&self.plan, login, self.take(number)) {
            Ok(pipeline) => Running(pipeline),
            Err(error) => return failed(gst::ResourceError::Failed, with_causes(&error)),
        };
        let Some(bus) = pipeline.0.bus() else {
            return failed(gst::ResourceError::Failed, "its pipeline has no bus".to_owned());
        };
        play(&pipeline.0, &timing);
        let mut closed = None;
        loop {
            let message = bus.timed_pop(TICK);
            if self.stop.try_recv() != Err(crossbeam_channel::TryRecvError::Empty) {
                return End::Stopped;
            }
            let end =
                message.and_then(|m| self.hear(&pipeline.0, &m, secret.as_deref(), &mut closed));
            let pulse = self.shared.video.pulse();
            if pulse.flows && connected.is_none() {
                *connected = Some(Instant::now());
                self.shared.learn_latency(&pipeline.0);
                tell();
            }
            if let Some(end) = end {
                return end;
            }
            if let Some(stall) = self.plan.stall {
                let limit = if pulse.flows { stall } else { FIRST_PICTURE.max(stall * 2) };
                if pulse.silence > limit {
                    let what = if pulse.flows { "picture" } else { "first picture" };
                    let reason = format!("no {what} for {:.1} s", limit.as_secs_f64());
                    return failed(gst::ResourceError::Read, reason);
                }
            }
        }
    }

    /// Who hands the buffers of this connection over.
    fn take(&self, number: u64) -> Take {
        let (shared, element) = (self.shared.clone(), self.element.clone());
        Arc::new(move |media, sample| match media {
            Media::Video => shared.video.take(number, sample),
            Media::Audio => {
                if let Some(outlet) = shared.audio(&element, number) {
                    outlet.take(number, sample);
                }
            }
        })
    }

    /// Live cameras share the running time of the application; what is played in its own time begins now, or
    /// when it has ended.
    fn timing(&self) -> Timing {
        let Clocking { clock, base } = self.clocking.clone();
        let kind = &self.plan.address.kind;
        let mut timing = Timing { clock, base, offset: 0, drifts: *kind == Kind::Rtsp };
        if *kind == Kind::Other {
            timing.offset = timing.now().max(self.shared.video.latest_end());
        }
        timing
    }

    /// The end of the connection, if the message says that.
    fn hear(
        &self,
        pipeline: &gst::Pipeline,
        message: &gst::Message,
        secret: Option<&str>,
        closed: &mut Option<(Instant, String)>,
    ) -> Option<End> {
        match message.view() {
            gst::MessageView::Error(error) => {
                Some(End::Lost(Loss::of(&error.error(), error.debug().as_deref(), secret)))
            }
            gst::MessageView::Eos(_) => {
                let broken = closed.take().filter(|(at, _)| at.elapsed() < LAST_BREATH);
                Some(broken.map_or(End::Finished, |(_, reason)| {
                    End::Lost(Loss::new(gst::ResourceError::Read, reason))
                }))
            }
            gst::MessageView::Warning(warning) => {
                let loss = Loss::of(&warning.error(), warning.debug().as_deref(), secret);
                self.log(&format!("warning: {}", loss.reason));
                if warning.error().is::<gst::ResourceError>() {
                    *closed = Some((Instant::now(), loss.reason));
                }
                None
            }
            gst::MessageView::Latency(_) => {
                let _ = pipeline.recalculate_latency();
                self.shared.learn_latency(pipeline);
                None
            }
            gst::MessageView::Element(element) => {
                let missing = element.structure().filter(|s| s.has_name("missing-plugin"))?;
                let name = missing.get::<&str>("name").unwrap_or("a plugin");
                Some(End::Lost(Loss::new(
                    gst::ResourceError::Failed,
                    format!("{name} is missing for what it sends"),
                )))
            }
            gst::MessageView::Application(message)
                if message.structure().is_some_and(|s| s.has_name(NO_VIDEO)) =>
            {
                Some(End::Lost(Loss::new(gst::ResourceError::Failed, "it sends no video")))
            }
            _ => None,
        }
    }

    fn fail(&self, attempt: u32, loss: &Loss) {
        self.tell(CameraState::Failed, attempt, Some(loss));
        let Some(element) = self.element.upgrade() else { return };
        let (shown, reason) = (self.plan.address.shown(), &loss.reason);
        let text = format!("camera '{shown}': {reason}");
        gst::element_error!(element, loss.kind, ("{text}"));
    }

    /// Notes a state, and posts `face-camera`. Of the tries for a camera that stays away those are told that have
    /// another reason than the one before, and of the rest fewer and fewer.
    fn tell(&self, state: CameraState, attempt: u32, loss: Option<&Loss>) {
        let reason = loss.map(|loss| loss.reason.as_str());
        let changed = self.shared.note(state, attempt, reason);
        let again = state == CameraState::Connecting && attempt > 1;
        if state == CameraState::Stopped || (again && !changed && !attempt.is_power_of_two()) {
            return;
        }
        let Some(element) = self.element.upgrade() else { return };
        let shown = self.plan.address.shown();
        gst::info!(CAT, obj = element, "{} '{shown}' {attempt} {reason:?}", state.as_str());
        let structure = gst::Structure::builder("face-camera")
            .field("state", state.as_str())
            .field("uri", &shown)
            .field("attempt", attempt)
            .field_if_some("reason", reason)
            .build();
        let message = gst::message::Element::builder(structure).src(&element).build();
        // Without a bus nobody listens.
        let _ = element.post_message(message);
    }

    fn log(&self, text: &str) {
        if let Some(element) = self.element.upgrade() {
            gst::debug!(CAT, obj = element, "{text}");
        }
    }
}

fn play(pipeline: &gst::Pipeline, timing: &Timing) {
    pipeline.use_clock(Some(&timing.clock));
    pipeline.set_start_time(gst::ClockTime::NONE);
    let offset = gst::ClockTime::from_nseconds(timing.offset.unsigned_abs());
    pipeline.set_base_time(timing.base.saturating_add(offset));
    // Why it fails is on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
}

/// The latency that the connection's pipeline has, for the appsrc to tell.
pub(super) fn latency_of(pipeline: &gst::Pipeline) -> Option<i64> {
    let pad = pipeline.by_name("video")?.static_pad("sink")?;
    let mut query = gst::query::Latency::new();
    let live = pad.peer_query(&mut query);
    let (is_live, least, _) = query.result();
    (live && is_live).then(|| signed(least))
}
