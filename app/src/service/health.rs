//! What is answered over HTTP: is everything well, and the metrics.

use serde::Serialize;

use super::http::Page;
use super::metrics;
use super::state::CameraState;
use super::status::Status;

/// Paths that there are.
const PATHS: &str =
    "/healthz: do all cameras run?\n/livez: does the process answer?\n/metrics: for Prometheus\n";

/// /healthz in JSON.
#[derive(Debug, Serialize)]
struct Health<'a> {
    /// `ok` or `failing`.
    status: &'static str,
    cameras: Vec<Camera<'a>>,
}

#[derive(Debug, Serialize)]
struct Camera<'a> {
    name: &'a str,
    state: CameraState,
    /// Seconds that the state lasts.
    seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// The page of a path.
pub(super) fn page(path: &str, status: &Status) -> Option<Page> {
    match path {
        "/" => Some(Page::text("200 OK", PATHS)),
        // Who restarts a process because a camera is off would lose the others, too.
        "/livez" => Some(Page::text("200 OK", "ok\n")),
        "/healthz" => Some(health(status)),
        "/metrics" => Some(Page {
            status: "200 OK",
            content_type: metrics::CONTENT_TYPE,
            body: metrics::render(status),
        }),
        _ => None,
    }
}

fn health(status: &Status) -> Page {
    let cameras = status.cameras.iter().map(|camera| Camera {
        name: &camera.name,
        state: camera.state,
        seconds: camera.lasts.as_secs(),
        reason: camera.reason.as_deref(),
    });
    let healthy = status.is_healthy();
    let health =
        Health { status: if healthy { "ok" } else { "failing" }, cameras: cameras.collect() };
    // Names and numbers are always JSON.
    let mut body = serde_json::to_string(&health).unwrap_or_default();
    body.push('\n');
    let status = if healthy { "200 OK" } else { "503 Service Unavailable" };
    Page { status, content_type: "application/json", body }
}

#[cfg(test)]
mod tests {
    use super::super::status::CameraStatus;
    use super::*;

    fn status(states: &[CameraState]) -> Status {
        let camera = |(n, state): (usize, &CameraState)| CameraStatus {
            name: format!("cam \"{n}\""),
            state: *state,
            reason: (*state == CameraState::Connecting).then(|| "no route to host".to_owned()),
            ..CameraStatus::default()
        };
        Status { cameras: states.iter().enumerate().map(camera).collect(), ..Status::default() }
    }

    #[test]
    fn service_is_well_when_all_cameras_are() {
        use CameraState::{Connecting, Ended, Failed, Running, Stalled, Starting, Stopping};
        let code = |states: &[CameraState]| page("/healthz", &status(states)).unwrap().status;
        assert_eq!(code(&[Running, Ended, Running]), "200 OK");
        for state in [Connecting, Failed, Stalled, Starting, Stopping] {
            assert_eq!(code(&[Running, state]), "503 Service Unavailable", "{state:?}");
        }
        let page = page("/healthz", &status(&[Running, Connecting])).unwrap();
        let json: serde_json::Value = serde_json::from_str(&page.body).unwrap();
        let wanted = serde_json::json!({
            "status": "failing",
            "cameras": [
                {"name": "cam \"0\"", "state": "running", "seconds": 0},
                {"name": "cam \"1\"", "state": "connecting", "seconds": 0, "reason": "no route to host"},
            ],
        });
        assert_eq!(json, wanted);
    }

    #[test]
    fn process_lives_whatever_its_cameras_do() {
        let status = status(&[CameraState::Failed]);
        assert_eq!(page("/livez", &status).unwrap().status, "200 OK");
        assert!(page("/", &status).unwrap().body.contains("/metrics"));
        assert_eq!(page("/healthz/", &status), None);
    }
}
