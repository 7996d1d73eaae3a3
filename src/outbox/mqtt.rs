//! Messages published at a broker, over the connections that the process has.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::courier::Outcome;
use super::entry::Mqtt;
use super::error::with_causes;
use crate::mqtt::{Broker, Failure, Link, MqttError, Outgoing};

/// The connections that were used, kept for the next message.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: Mutex<HashMap<Broker, Arc<Link>>>,
}

impl Links {
    fn get(&self, broker: &Broker) -> Result<Arc<Link>, MqttError> {
        if let Some(link) = self.links.lock().get(broker) {
            return Ok(link.clone());
        }
        let link = Link::open(broker)?;
        self.links.lock().insert(broker.clone(), link.clone());
        Ok(link)
    }

    /// Publishes `body`. Only what the broker acknowledged counts as delivered.
    pub(super) fn publish(&self, mqtt: &Mqtt, body: String, stop: &dyn Fn() -> bool) -> Outcome {
        let link = match self.get(&mqtt.broker) {
            Ok(link) => link,
            // A file of certificates may come back.
            Err(error) => return Outcome::away(with_causes(&error)),
        };
        let message = Outgoing {
            topic: mqtt.topic.clone(),
            payload: body,
            content_type: mqtt.message.channel().content_type(),
            retain: mqtt.retain,
        };
        let told = |error| format!("cannot publish on '{}': {error}", mqtt.topic);
        match link.deliver(message, mqtt.timeout, stop) {
            Ok(()) => Outcome::Delivered(None),
            Err(Failure::Away(error)) => Outcome::away(error),
            Err(Failure::Refused(error)) => Outcome::retry(told(error)),
            Err(Failure::Never(error)) => Outcome::Failed(told(error)),
            Err(Failure::Cancelled) => Outcome::Cancelled,
        }
    }
}
