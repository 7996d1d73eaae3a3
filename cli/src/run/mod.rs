//! `facectl run`: many cameras in one process, as a configuration file says.

mod live;
mod notify;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use face_pipeline::service::config::Config;
use face_pipeline::service::{CameraState, Event, Reload, Service, What};
use face_pipeline::tracker::FaceMessage;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::enroll_video::seconds;
use crate::output::{self, Exit, counted, printable};
use crate::watch;
use live::Live;
use notify::Notify;

/// How often signals are looked for.
const TICK: Duration = Duration::from_millis(100);

/// Watch many cameras in one process, as a configuration file says
///
/// Finds, follows and recognises faces on all cameras, keeps clips, publishes and serves what the
/// configuration asks for, and goes on for as long as it is not told to stop: a camera that is lost is
/// connected to again, and a fault of one stops no other. docs/service.md explains the file.
///
/// On a terminal it shows how every camera is doing; elsewhere it prints a line for everything that
/// happens.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Signals:
  SIGHUP   read the file again; what can change while cameras play is set, others start again, and a
           file with an error changes nothing
  SIGTERM, SIGINT
           complete clips, send what waits, and end; a second one ends at once

With --json, one object per line: camera, message, and the fields of the message; camera-state has
state and reason, warning has text.

Exit status:
  0    it was told to stop, or all files came to their end, and everything is complete
  1    it could not go on, or something could not be completed in time
  2    the configuration, a model, a gallery or a library cannot be used: trying again is of no use
  130, 143  a second signal ended it at once")]
pub(crate) struct Arguments {
    /// YAML file with the cameras
    config: PathBuf,
    /// Only check the file, with the models and galleries that it names
    #[arg(long)]
    check: bool,
    /// Print warnings and errors only
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Print everything that happens as JSON, one object per line
    #[arg(long)]
    json: bool,
    /// Serve /healthz and /metrics here, whatever the file says
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "no_http")]
    http: Option<SocketAddr>,
    /// Serve nothing over HTTP
    #[arg(long)]
    no_http: bool,
    /// Longest time for completing clips and sending what waits, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    drain: Duration,
}

impl Arguments {
    fn load(&self) -> anyhow::Result<Config> {
        let mut config = Config::load(&self.config)?;
        if self.no_http {
            config.http = None;
        }
        config.http = self.http.or(config.http);
        Ok(config)
    }
}

/// What signals ask for.
#[derive(Debug, Default)]
struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> anyhow::Result<Self> {
        let signals = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // Handlers run in this order: the first signal finds `stop` unset. 128 and the number is
            // how shells tell that a signal ended a program.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                128 + signal,
                signals.stop.clone(),
            )
            .and_then(|_| signal_hook::flag::register(signal, signals.stop.clone()))
            .context("catch signals")?;
        }
        signal_hook::flag::register(SIGHUP, signals.reload.clone()).context("catch signals")?;
        Ok(signals)
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = arguments.load()?;
    if arguments.check {
        return check(&config);
    }
    let signals = Signals::catch()?;
    let mut runner = Runner::new(arguments);
    let service = match Service::start(config) {
        Ok(service) => service,
        Err(error) if error.is_lasting() => return Err(error.into()),
        Err(error) => {
            output::report(&error);
            return Ok(Exit::Negative);
        }
    };
    runner.started(&service);
    let (service, result) = runner.follow(service, &signals);
    runner.notify.stopping();
    let drained = runner.drain(service);
    // A closed standard output is told when everything is complete.
    result?;
    Ok(if drained { Exit::Success } else { Exit::Negative })
}

fn check(config: &Config) -> anyhow::Result<Exit> {
    output::line("configuration ok")?;
    for camera in &config.cameras {
        let parts = [
            camera.recognition.as_ref().map(|_| "recognition".to_owned()),
            camera.clips.as_ref().map(|_| "clips".to_owned()),
            (!camera.publish.is_empty())
                .then(|| counted(camera.publish.len() as u64, "target", "targets")),
            camera.output.as_ref().map(|output| format!("output {}", output.mount)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let parts = if parts.is_empty() { "faces only".to_owned() } else { parts.join(", ") };
        output::line(&printable(&format!("{}: {parts}", camera.name)))?;
    }
    Ok(Exit::Success)
}

/// Prints what happens, and does what signals ask for.
struct Runner<'a> {
    arguments: &'a Arguments,
    notify: Notify,
    live: Option<Live>,
}

impl<'a> Runner<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let wanted = terminal && !arguments.quiet && !arguments.json;
        Self { arguments, notify: Notify::from_env(), live: wanted.then(Live::new) }
    }

    fn started(&self, service: &Service) {
        self.notify.ready(&running(service));
        if let Some(address) = service.http() {
            self.note(&format!("http://{address}/healthz and http://{address}/metrics are served"));
        }
        for camera in &service.config().cameras {
            if let Some(address) = service.stream(camera) {
                self.note(&format!("{} is served at {address}", camera.name));
            }
        }
    }

    /// Until it is to stop, all cameras are over, or nothing can be printed.
    fn follow(&mut self, mut service: Service, signals: &Signals) -> (Service, anyhow::Result<()>) {
        while !signals.stop.load(Ordering::Relaxed) && !service.is_over() {
            if signals.reload.swap(false, Ordering::Relaxed) {
                self.reload(&mut service);
            }
            self.notify.alive();
            if let Some(live) = &mut self.live {
                live.show(|| service.status());
            }
            let Some(event) = service.wait_for(TICK) else { continue };
            if matches!(event.what, What::State(..)) {
                self.notify.status(&running(&service));
            }
            if let Err(error) = self.tell(&event) {
                return (service, Err(error));
            }
        }
        (service, Ok(()))
    }

    fn reload(&self, service: &mut Service) {
        self.notify.reloading();
        let result = match self.arguments.load() {
            Ok(config) => service.reload(config).map_err(anyhow::Error::from),
            Err(error) => {
                service.refused_reload();
                Err(error)
            }
        };
        match result {
            Ok(reload) => self.note(&summary(&reload)),
            Err(error) => self.aside(|| {
                output::report(error.as_ref());
                output::note("facectl: the configuration is as it was");
            }),
        }
        self.notify.ready(&running(service));
    }

    /// Was everything completed?
    fn drain(&mut self, service: Service) -> bool {
        if let Some(live) = self.live.take() {
            live.clear();
        }
        let drained = service.drain(self.arguments.drain, |event| {
            // Who does not listen any more has been told what to do before.
            let _ = self.tell(&event);
        });
        if drained.waiting > 0 {
            let waiting = counted(drained.waiting, "upload waits", "uploads wait");
            output::note(format_args!(
                "facectl: {waiting} in the spool for the next start, or for facectl outbox flush"
            ));
        }
        drained.complete
    }

    fn tell(&self, event: &Event) -> anyhow::Result<()> {
        if let What::Warning(text) = &event.what
            && !self.arguments.json
        {
            self.warn(&event.camera, text);
            return Ok(());
        }
        if self.arguments.json {
            return self.aside(|| output::json(&event.json()));
        }
        if let What::State(CameraState::Failed, Some(reason)) = &event.what
            && self.arguments.quiet
        {
            self.warn(&event.camera, reason);
        }
        match line(event).filter(|_| !self.arguments.quiet) {
            Some(line) => self.aside(|| output::line(&printable(&line))),
            None => Ok(()),
        }
    }

    fn warn(&self, camera: &str, text: &str) {
        let text = printable(&format!("facectl: warning: {camera}: {text}"));
        self.aside(|| output::note(text));
    }

    /// Something beside the events.
    fn note(&self, text: &str) {
        if !self.arguments.quiet {
            self.aside(|| output::note(printable(&format!("facectl: {text}"))));
        }
    }

    fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.live {
            Some(live) => live.aside(print),
            None => print(),
        }
    }
}

/// How many cameras run, for a service manager.
fn running(service: &Service) -> String {
    let cameras = service.status().cameras;
    let running = cameras.iter().filter(|camera| camera.state == CameraState::Running).count();
    format!("{running} of {} run", counted(cameras.len() as u64, "camera", "cameras"))
}

/// An event in words; `None`: nothing that one waits for.
fn line(event: &Event) -> Option<String> {
    let camera = &event.camera;
    match &event.what {
        What::State(state, None) => Some(format!("{camera}: {}", state.as_str())),
        What::State(state, Some(reason)) => Some(format!("{camera}: {}: {reason}", state.as_str())),
        What::Message(message) => {
            Some(format!("{camera}: {}", clip(message).or_else(|| watch::line(message))?))
        }
        What::Warning(text) => Some(format!("{camera}: {text}")),
    }
}

/// A message about a clip in words. Its link is for those who are to see the clip, not for a log.
fn clip(message: &FaceMessage) -> Option<String> {
    let what = message.name().strip_prefix("clip-")?;
    let key = message.text("key").or_else(|| message.text("clip-id")).unwrap_or_default();
    let reason = message.text("reason").map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(format!("clip {what}: {key}{reason}"))
}

/// What another configuration changed, in words.
fn summary(reload: &Reload) -> String {
    if reload.is_empty() {
        return "the configuration was read again, and nothing changed".to_owned();
    }
    let named = |what: &str, cameras: &[String]| {
        (!cameras.is_empty()).then(|| format!("{what} {}", cameras.join(", ")))
    };
    let because = |what: &str, cameras: &[(String, Vec<String>)]| {
        let one = |(name, keys): &(String, Vec<String>)| format!("{name} ({})", keys.join(", "));
        let all: Vec<String> = cameras.iter().map(one).collect();
        named(what, &all)
    };
    let parts = [
        named("added", &reload.added),
        named("taken out", &reload.removed),
        because("started again", &reload.restarted),
        because("changed", &reload.set),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("the configuration was read again: {}", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_are_told_without_their_links() {
        gst::init().unwrap();
        let structure = gst::Structure::builder("clip-stored")
            .field("key", "door/2026/1.mp4")
            .field("url", "https://example.org/secret")
            .build();
        let message = FaceMessage { element: "clips".to_owned(), structure };
        let event = Event { camera: "door".to_owned(), what: What::Message(message) };
        assert_eq!(line(&event).as_deref(), Some("door: clip stored: door/2026/1.mp4"));
    }

    #[test]
    fn changes_are_told_in_words() {
        let reload = Reload {
            added: vec!["gate".into()],
            removed: Vec::new(),
            restarted: vec![("door".into(), vec!["onnxfacedetect model".into()])],
            set: vec![("yard".into(), vec!["zones".into(), "threshold".into()])],
        };
        assert_eq!(
            summary(&reload),
            "the configuration was read again: added gate; started again door (onnxfacedetect \
             model); changed yard (zones, threshold)"
        );
        assert!(summary(&Reload::default()).ends_with("nothing changed"));
    }
}
