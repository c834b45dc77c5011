//! Down-sampling of sources that push (2.2): at each tick the last message goes on, or the last of each value of a
//! field, merged into one. It sits before the decoder, so what is left out costs nothing; nothing of it counts as lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_core::connector::{ConnectionStatus, Offer, Payload, RawMessage, SourcePort, WhenFull};
use thalweg_core::json::{self, Numbers};
use thalweg_core::polled::Poller;
use thalweg_core::time::BoxFuture;
use thalweg_core::{Fields, Timestamp, Value};
use tokio::time::{MissedTickBehavior, interval};

use super::options::Thinning;
use super::port::Inlet;

/// Stands between a source and its inlet.
pub(crate) struct Thinned {
    inlet: Arc<Inlet>,
    options: Thinning,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    latest: Option<Latest>,
    /// With mergeField: its values and the members of the last object of each, as text.
    merged: Vec<(Value, Vec<u8>)>,
}

/// The last message of the interval; with mergeField, all but its payload.
struct Latest {
    payload: Owned,
    time: Timestamp,
    meta: Option<Arc<Fields>>,
    offset: Option<Value>,
}

enum Owned {
    Bytes(Vec<u8>),
    Rows(Vec<Arc<Fields>>),
}

impl Thinned {
    pub(crate) fn new(inlet: Arc<Inlet>, options: Thinning) -> Arc<Self> {
        Arc::new(Self { inlet, options, kept: Mutex::default() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ticks for ever.
    pub(crate) async fn run(&self) {
        let mut ticks = interval(Duration::from_millis(self.options.interval));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.tick();
        }
    }

    /// Sends on what was kept (C2.6); nothing when nothing came.
    pub(crate) fn tick(&self) {
        let Kept { latest, merged } = std::mem::take(&mut *self.kept());
        let Some(Latest { payload, time, meta, offset }) = latest else { return };
        let whole = (!merged.is_empty()).then(|| merge(&merged));
        let payload = match (&whole, payload) {
            (Some(whole), _) => Payload::Bytes(whole),
            (None, Owned::Bytes(ref bytes)) => {
                let message = RawMessage { payload: Payload::Bytes(bytes), time, meta, offset };
                self.inlet.offer(message, WhenFull::DropOldest);
                return;
            }
            (None, Owned::Rows(rows)) => Payload::Rows(rows),
        };
        self.inlet.offer(RawMessage { payload, time, meta, offset }, WhenFull::DropOldest);
    }

    /// The value of the field and the members of the object (C2.7); absent and nested values share one slot.
    fn members(&self, payload: &[u8], field: &str) -> Result<(Value, Vec<u8>), String> {
        let Value::Map(object) =
            json::parse(payload, Numbers::Float).map_err(|error| error.message.to_string())?
        else {
            return Err("only an object can be merged".to_owned());
        };
        let key = match object.get(field) {
            Some(value @ (Value::Str(_) | Value::Float(_) | Value::Bool(_))) => value.clone(),
            _ => Value::Null,
        };
        let inside = payload.trim_ascii();
        Ok((key, inside.get(1..inside.len().saturating_sub(1)).unwrap_or_default().trim_ascii().to_vec()))
    }
}

/// One object of all members; of a name that comes again the decoder takes the last.
fn merge(merged: &[(Value, Vec<u8>)]) -> Vec<u8> {
    let members: Vec<&[u8]> =
        merged.iter().map(|(_, text)| &text[..]).filter(|text| !text.is_empty()).collect();
    [b"{", &members.join(&b","[..])[..], b"}"].concat()
}

impl SourcePort for Thinned {
    fn offer(&self, message: RawMessage<'_>, _when_full: WhenFull) -> Offer {
        if self.inlet.queue.is_stopped() {
            return Offer::Stopped;
        }
        let RawMessage { payload, time, meta, offset } = message;
        let mut kept = self.kept();
        let payload = match (payload, &self.options.merge_field) {
            (Payload::Bytes(bytes), Some(field)) => match self.members(bytes, field) {
                Ok((key, members)) => {
                    match kept.merged.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, text)) => *text = members,
                        None => kept.merged.push((key, members)),
                    }
                    Owned::Bytes(Vec::new())
                }
                Err(why) => {
                    drop(kept);
                    self.inlet.fault(&why);
                    self.inlet.dropped("decode", 1);
                    return Offer::Accepted;
                }
            },
            (Payload::Bytes(bytes), None) => Owned::Bytes(bytes.to_vec()),
            (Payload::Rows(rows), _) => Owned::Rows(rows),
        };
        kept.latest = Some(Latest { payload, time, meta, offset });
        Offer::Accepted
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.inlet.poller()
    }

    fn room(&self) -> BoxFuture<'_, bool> {
        self.inlet.room()
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        self.inlet.stopped()
    }

    fn is_parting(&self) -> bool {
        self.inlet.is_parting()
    }

    fn wants_meta(&self) -> bool {
        self.inlet.wants_meta()
    }

    fn status(&self, status: ConnectionStatus) {
        self.inlet.status(status);
    }

    fn fault(&self, message: &str) {
        self.inlet.fault(message);
    }

    fn dropped(&self, cause: &'static str, count: u64) {
        self.inlet.dropped(cause, count);
    }

    fn resume_from(&self) -> Option<Value> {
        self.inlet.resume_from()
    }

    fn committed(&self) -> Option<Value> {
        self.inlet.committed()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::ManualClock;
    use tokio::sync::Notify;

    use super::*;
    use crate::queue::{Taken, Wake};

    fn thinned(merge_field: Option<&str>) -> Arc<Thinned> {
        let consumer: Arc<dyn Wake> = Arc::new(Notify::new());
        let inlet = Inlet::new(16, consumer, ManualClock::at(Timestamp(0)), (true, true), None);
        Thinned::new(inlet, Thinning { interval: 10, merge_field: merge_field.map(Arc::from) })
    }

    fn push(thinned: &Thinned, payloads: &[&str]) {
        for payload in payloads {
            let payload = Payload::Bytes(payload.as_bytes());
            let message = RawMessage { payload, time: Timestamp(1), meta: None, offset: None };
            assert_eq!(thinned.offer(message, WhenFull::Refuse), Offer::Accepted);
        }
    }

    /// What the inlet got with this tick.
    fn tick(thinned: &Thinned) -> Vec<String> {
        thinned.tick();
        let Taken::Bucket(bucket) = thinned.inlet.queue.take() else { return Vec::new() };
        let texts = bucket.into_batches().flat_map(|raw| {
            (0..raw.len()).map(|at| String::from_utf8_lossy(raw.payload(at)).into_owned()).collect::<Vec<_>>()
        });
        texts.collect()
    }

    #[test]
    fn c2_6_the_last_message_of_the_interval_goes_on_and_an_empty_interval_sends_nothing() {
        let thinned = thinned(None);
        assert!(tick(&thinned).is_empty());
        push(&thinned, &["1", "2", "3"]);
        assert_eq!(tick(&thinned), ["3"]);
        assert!(tick(&thinned).is_empty());
    }

    #[test]
    fn c2_7_the_last_of_each_value_of_a_field_are_merged() {
        let thinned = thinned(Some("id"));
        push(
            &thinned,
            &[r#"{"id":1,"a":1}"#, r#" {"id":2,"b":2} "#, r#"{"id":1,"c":3}"#, r#"{"d":4}"#, "{}"],
        );
        assert_eq!(tick(&thinned), [r#"{"id":1,"c":3,"id":2,"b":2}"#], "the last without id was empty");
        push(&thinned, &["no json", "[1]"]);
        assert!(tick(&thinned).is_empty());
        assert_eq!(thinned.inlet.metrics.rare().dropped.get("decode"), Some(&2), "and they are counted");
    }
}
