//! Connecting, and one connection from its beginning to its end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use super::link::{Failure, Job, Next, OFFLINE, Shared, Then};
use super::packet::{self, Connect, Offer, Publish, Received, Will};
use super::reason;

/// For the connection to be there and accepted.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// For a packet to be written, acknowledged or answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For what is left to be said at the end.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// The broker takes us for dead after one and a half times this without a word.
const KEEP_ALIVE: u16 = 30;
/// Wait after the first connection that failed; doubles with each further one…
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Messages that are sent before answers are looked for.
const BURST: usize = 16;
/// A connection that ended sooner counts as one that failed.
const SOUND: Duration = Duration::from_secs(20);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Keeps a connection until it is to stop.
pub(super) async fn serve(shared: &Shared) {
    let mut failures = 0;
    // At the end nothing is connected for: what has to arrive is in the outbox.
    while shared.stop().is_none() {
        if !shared.wants() {
            shared.wake.notified().await;
            continue;
        }
        let error = match connect(shared).await {
            Ok(None) => return,
            Ok(Some(mut session)) => {
                shared.up();
                let since = Instant::now();
                match session.run().await {
                    End::Stopped => return,
                    End::Again => continue,
                    End::Lost(error) => {
                        if since.elapsed() > SOUND {
                            failures = 0;
                        }
                        error
                    }
                }
            }
            Err(error) => error,
        };
        shared.down(&told(shared, &error));
        failures += 1;
        let until = Instant::now() + pause(failures);
        // The outbox has waits of its own, longer with every failure.
        while !shared.is_urgent() && Instant::now() < until {
            tokio::select! {
                () = shared.wake.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

/// Doubling, with half of it left to chance, so that many cameras do not come back at once.
fn pause(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let full = FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    full.mul_f64(0.5 + 0.5 * f64::from(now.subsec_nanos()) / 1e9)
}

/// Connects; `None`: it was to stop.
async fn connect(shared: &Shared) -> Result<Option<Session<'_>>, String> {
    let connecting = timeout(CONNECT_TIMEOUT, Session::connect(shared));
    let stopped = async {
        while shared.stop().is_none() {
            shared.wake.notified().await;
        }
    };
    tokio::select! {
        session = connecting => match session {
            Ok(session) => session.map(Some),
            Err(_) => Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
        },
        () = stopped => Ok(None),
    }
}

/// How a connection ended.
enum End {
    Stopped,
    Again,
    Lost(String),
}

struct InFlight {
    id: u16,
    job: Job,
    until: Instant,
}

struct Session<'a> {
    shared: &'a Shared,
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    /// What came and is no whole packet yet.
    buffer: Vec<u8>,
    offer: Offer,
    keep_alive: Duration,
    /// The one message that is not acknowledged yet.
    in_flight: Option<InFlight>,
    id: u16,
    last_sent: Instant,
    /// Until when the answer to a ping has to be there.
    ping: Option<Instant>,
}

impl<'a> Session<'a> {
    async fn connect(shared: &'a Shared) -> Result<Self, String> {
        let stream = open(shared).await?;
        let (reader, writer) = tokio::io::split(stream);
        let (buffer, offer) = (Vec::new(), Offer::default());
        let keep_alive = Duration::from_secs(u64::from(KEEP_ALIVE));
        let (in_flight, id, last_sent, ping) = (None, 0, Instant::now(), None);
        let mut session = Self {
            shared,
            reader,
            writer,
            buffer,
            offer,
            keep_alive,
            in_flight,
            id,
            last_sent,
            ping,
        };
        session.introduce().await?;
        Ok(session)
    }

    /// Says who we are, and waits for the answer.
    async fn introduce(&mut self) -> Result<(), String> {
        let broker = &self.shared.broker;
        // Read every time, so that a changed one is used.
        let password = broker.password.as_ref().map(|source| source.read()).transpose()?;
        let will = self.shared.take_will();
        let connect = Connect {
            client_id: &broker.client_id,
            keep_alive: KEEP_ALIVE,
            will: will.as_deref().map(|topic| Will { topic, payload: OFFLINE }),
            username: broker.username.as_deref(),
            password: password.as_deref(),
        };
        let packet = connect.encode(broker.version).map_err(|error| {
            format!("cannot say who we are, in client-id, username or the password: {error}")
        })?;
        self.write(&packet).await?;
        loop {
            if let Some(received) = self.receive()? {
                return match received {
                    Received::Accepted(offer) => self.accept(offer),
                    Received::Refused(reason) => Err(reason::refused(broker.version, reason)),
                    _ => Err("its answer is none of MQTT".to_owned()),
                };
            }
            let mut bytes = [0; 1024];
            // Some close it with the rest of what we said unread, which is a reset.
            match self.reader.read(&mut bytes).await.unwrap_or(0) {
                0 => {
                    let hint = match broker.tls {
                        true => "does it take TLS on this port, and this version of MQTT?",
                        false => "does it want TLS (mqtts), or another version of MQTT?",
                    };
                    return Err(format!("it closed the connection without an answer: {hint}"));
                }
                count => self.buffer.extend_from_slice(bytes.get(..count).unwrap_or_default()),
            }
        }
    }

    fn accept(&mut self, offer: Offer) -> Result<(), String> {
        if !offer.qos_1 {
            return Err("it acknowledges no messages (QoS 1), which is needed".to_owned());
        }
        if let Some(seconds) = offer.keep_alive.filter(|seconds| *seconds > 0) {
            self.keep_alive = self.keep_alive.min(Duration::from_secs(u64::from(seconds)));
        }
        self.offer = offer;
        Ok(())
    }

    async fn run(&mut self) -> End {
        let end = loop {
            match self.send_all().await {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(error) => break End::Lost(error),
            }
            let until = self.until();
            let mut bytes = [0; 1024];
            let turn = tokio::select! {
                count = self.reader.read(&mut bytes) => match count {
                    Ok(0) => Err(self.closed()),
                    Ok(count) => {
                        self.buffer.extend_from_slice(bytes.get(..count).unwrap_or_default());
                        self.take_all()
                    }
                    Err(error) => Err(broken(&error)),
                },
                () = self.shared.wake.notified() => Ok(()),
                () = sleep_until(until) => self.late().await,
            };
            if let Err(error) = turn {
                break if self.shared.stop().is_some() { End::Stopped } else { End::Lost(error) };
            }
        };
        if let (Some(InFlight { job, .. }), End::Lost(error)) = (self.in_flight.take(), &end)
            && let Then::Tell(tell) = job.then
        {
            // Who asked may have stopped waiting.
            let _ = tell.send(Err(Failure::Away(told(self.shared, error))));
        }
        end
    }

    /// Sends what can be sent now, but not without end: answers want to be read.
    async fn send_all(&mut self) -> Result<Option<End>, String> {
        for _ in 0..BURST {
            match self.shared.next(self.in_flight.is_some()) {
                Next::Nothing => return Ok(None),
                Next::Send(job) => self.send(job).await?,
                again @ (Next::Again | Next::Goodbye) => {
                    // It would end the connection anyway.
                    let _ = self.write(&packet::GOODBYE).await;
                    let _ = timeout(GOODBYE_TIMEOUT, self.writer.shutdown()).await;
                    let stopped = matches!(again, Next::Goodbye);
                    return Ok(Some(if stopped { End::Stopped } else { End::Again }));
                }
            }
        }
        self.shared.wake.notify_one();
        Ok(None)
    }

    async fn send(&mut self, job: Job) -> Result<(), String> {
        let acknowledged = !matches!(job.then, Then::Nothing);
        let id = acknowledged.then(|| {
            self.id = self.id.checked_add(1).unwrap_or(1);
            self.id
        });
        let message = &job.message;
        let publish = Publish {
            topic: &message.topic,
            payload: message.payload.as_bytes(),
            content_type: message.content_type,
            retain: message.retain && self.offer.retain,
            id,
        };
        let packet = match publish.encode(self.shared.broker.version) {
            Ok(packet) if packet.len() <= self.offer.packet => packet,
            Ok(packet) => {
                let (length, most) = (packet.len(), self.offer.packet);
                let error = format!("it has {length} bytes, the broker takes {most}");
                self.shared.done(job, Err(Failure::Never(error)));
                return Ok(());
            }
            Err(error) => {
                self.shared.done(job, Err(Failure::Never(error.to_string())));
                return Ok(());
            }
        };
        match id {
            Some(id) => {
                let until = Instant::now() + ANSWER_TIMEOUT;
                self.in_flight = Some(InFlight { id, job, until });
                self.write(&packet).await
            }
            None => {
                let written = self.write(&packet).await;
                if written.is_ok() {
                    self.shared.done(job, Ok(()));
                }
                written
            }
        }
    }

    async fn write(&mut self, packet: &[u8]) -> Result<(), String> {
        let writing = async {
            self.writer.write_all(packet).await?;
            self.writer.flush().await
        };
        match timeout(ANSWER_TIMEOUT, writing).await {
            Ok(Ok(())) => {
                self.last_sent = Instant::now();
                Ok(())
            }
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => Err(format!("it took nothing for {} s", ANSWER_TIMEOUT.as_secs())),
        }
    }

    /// The next packet that came.
    fn receive(&mut self) -> Result<Option<Received>, String> {
        let decoded = packet::decode(&self.buffer, self.shared.broker.version);
        let decoded = decoded.map_err(|_| "its answer is none of MQTT".to_owned())?;
        Ok(decoded.map(|(received, length)| {
            self.buffer.drain(..length);
            received
        }))
    }

    fn take_all(&mut self) -> Result<(), String> {
        while let Some(received) = self.receive()? {
            match received {
                Received::Acknowledged { id, reason } => self.acknowledged(id, reason),
                Received::Pong => self.ping = None,
                Received::Disconnected(reason) => return Err(reason::ended(reason)),
                _ => {}
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, id: u16, reason: u8) {
        let Some(InFlight { job, .. }) = self.in_flight.take_if(|sent| sent.id == id) else {
            return;
        };
        let result = match reason::judge(reason) {
            None => Ok(()),
            Some((error, true)) => Err(Failure::Refused(error)),
            Some((error, false)) => Err(Failure::Never(error)),
        };
        self.shared.done(job, result);
    }

    fn closed(&self) -> String {
        let id = &self.shared.broker.client_id;
        format!("it closed the connection; does another client have the same client id '{id}'?")
    }

    /// When something has to be done at the latest.
    fn until(&self) -> Instant {
        let mut until = self.ping.unwrap_or(self.last_sent + self.keep_alive / 2);
        if let Some(sent) = &self.in_flight {
            until = until.min(sent.until);
        }
        match self.shared.stop() {
            Some(stop) => until.min(Instant::from_std(stop) + GOODBYE_TIMEOUT),
            None => until,
        }
    }

    /// It is time to ask whether the broker is there, or to believe that it is not.
    async fn late(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let silent = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let stop = self.shared.stop().map(|stop| Instant::from_std(stop) + GOODBYE_TIMEOUT);
        if silent(self.ping) || silent(self.in_flight.as_ref().map(|s| s.until)) || silent(stop) {
            return Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
        }
        if self.ping.is_none() && self.last_sent + self.keep_alive / 2 <= now {
            self.ping = Some(now + ANSWER_TIMEOUT);
            return self.write(&packet::PING).await;
        }
        Ok(())
    }
}

async fn open(shared: &Shared) -> Result<Box<dyn Stream>, String> {
    let broker = &shared.broker;
    let stream = TcpStream::connect((broker.host.as_str(), broker.port)).await;
    let stream = stream.map_err(|error| {
        format!("cannot reach it: {error}: is the broker running, and are name and port right?")
    })?;
    // Messages are small, and each is waited for. If it cannot be set they are only slower.
    let _ = stream.set_nodelay(true);
    let Some(config) = &shared.tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(broker.host.clone());
    let name = name.map_err(|_| "its name cannot stand in a certificate".to_owned())?;
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    let stream = stream.map_err(|error| {
        format!(
            "no TLS: {error}: is it the TLS port, is the address one of the certificate's, and is \
             the authority that signed it known (ca-file)?"
        )
    })?;
    Ok(Box::new(stream))
}

fn broken(error: &io::Error) -> String {
    format!("the connection broke: {error}")
}

/// An error as it is told: with the broker.
fn told(shared: &Shared, error: &str) -> String {
    format!("cannot publish at '{}': {error}", shared.broker.shown())
}
