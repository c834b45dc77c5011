//! The simulator: rows written in the configuration, one each tick (S2), or looked up (9.1).

use std::sync::Arc;

use async_trait::async_trait;
use thalweg_core::connector::{
    BuildCx, Built, ConnectionStatus, Connector, LookupSource, Offer, Payload, PullSource, Pulled,
    RawMessage, SourceKind, SourcePort, WhenFull,
};
use thalweg_core::error::IoError;
use thalweg_core::json::{Numbers, from_json};
use thalweg_core::props::Props;
use thalweg_core::spec::{PropKind, PropSpec, Roles, check};
use thalweg_core::time::Clock;
use thalweg_core::value::{Fields, Value};

use crate::memory::row_matches;
use crate::property::refused;

/// The row in the table of connectors.
pub(crate) const CONNECTOR: Connector = Connector {
    name: "simulator",
    summary: "Plays rows written in its configuration.",
    props: PROPS,
    takes_rows: false,
    connect: None,
    source: Some(source),
    sink: None,
    lookup: Some(lookup),
};

const DATA: &str = r#"[{"temperature":22.5,"humidity":50}]"#;

const PROPS: &[PropSpec] = &[
    PropSpec::new("data", PropKind::List, Roles::ALL, "The rows.").default(DATA),
    PropSpec::new("interval", PropKind::Duration, Roles::SOURCE, "Time between two rows.").default("\"1s\""),
    PropSpec::new("loop", PropKind::Bool, Roles::SOURCE, "Start again after the last row.").default("true"),
];

struct Simulator {
    rows: Vec<Arc<Fields>>,
    /// The row to be played next; as an offset, where to go on after a restart.
    next: usize,
    has_begun: bool,
    endless: bool,
    clock: Arc<dyn Clock>,
}

fn source(cx: &BuildCx) -> Built<SourceKind> {
    check("simulator source", PROPS, Roles::SOURCE, &cx.props)?;
    let rows = rows("simulator source", &cx.props)?;
    let endless = cx.props.bool("loop")?.unwrap_or(true);
    let interval_ms = cx.props.millis("interval")?.unwrap_or(1_000);
    if interval_ms <= 0 {
        return Err(refused("simulator source: property \"interval\" must be more than 0"));
    }
    let source =
        Box::new(Simulator { rows, next: 0, has_begun: false, endless, clock: Arc::clone(&cx.clock) });
    Ok(SourceKind::Pull { source, interval_ms })
}

fn rows(owner: &str, props: &Props) -> Built<Vec<Arc<Fields>>> {
    let fallback = serde_json::from_str(DATA).unwrap_or_default();
    let data = props.get("data").filter(|data| !data.is_null()).unwrap_or(&fallback);
    let wrong = || refused(format!("{owner}: property \"data\" must be a list of at least one object"));
    let rows: Option<Vec<Arc<Fields>>> = match from_json(data, Numbers::Float) {
        Value::List(items) => items
            .iter()
            .map(|item| match item {
                Value::Map(fields) => Some(Arc::clone(fields)),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    rows.filter(|rows| !rows.is_empty()).ok_or_else(wrong)
}

#[async_trait]
impl PullSource for Simulator {
    async fn pull(&mut self, port: &Arc<dyn SourcePort>) -> Result<Pulled, IoError> {
        port.status(ConnectionStatus::Connected);
        if !std::mem::replace(&mut self.has_begun, true)
            && let Some(Value::Int(next)) = port.resume_from()
        {
            // A row that is not there any more: from the beginning.
            self.next = usize::try_from(next).ok().filter(|next| *next <= self.rows.len()).unwrap_or(0);
            if self.endless && self.next == self.rows.len() {
                self.next = 0;
            }
        }
        let Some(row) = self.rows.get(self.next) else {
            return Ok(Pulled::End);
        };
        loop {
            let payload = Payload::Rows(vec![Arc::clone(row)]);
            let offset = Some(Value::Int(self.next as i64 + 1));
            let message = RawMessage { payload, time: self.clock.now(), meta: None, offset };
            match port.offer(message, WhenFull::Refuse) {
                Offer::Accepted => break,
                Offer::Stopped => return Ok(Pulled::End),
                Offer::Full if port.room().await => {}
                Offer::Full => return Ok(Pulled::End),
            }
        }
        self.next += 1;
        if self.next == self.rows.len() {
            if !self.endless {
                return Ok(Pulled::End);
            }
            self.next = 0;
        }
        Ok(Pulled::More)
    }
}

struct SimulatorTable {
    rows: Vec<Arc<Fields>>,
}

fn lookup(cx: &BuildCx) -> Built<Arc<dyn LookupSource>> {
    check("simulator lookup", PROPS, Roles::LOOKUP, &cx.props)?;
    Ok(Arc::new(SimulatorTable { rows: rows("simulator lookup", &cx.props)? }))
}

#[async_trait]
impl LookupSource for SimulatorTable {
    async fn lookup(
        &self,
        _fields: &[Arc<str>],
        keys: &[Arc<str>],
        values: &[Value],
    ) -> Result<Vec<Arc<Fields>>, IoError> {
        // 9.1: all keys must match, and a row is found once.
        Ok(self.rows.iter().filter(|row| row_matches(row, keys, values)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestPort, cx, row};

    fn pull_source(props: &str) -> Box<dyn PullSource> {
        match source(&cx(props)).unwrap() {
            SourceKind::Pull { source, .. } => source,
            SourceKind::Push(_) => panic!("the simulator is pulled"),
        }
    }

    #[tokio::test]
    async fn without_loop_it_ends_after_the_last_row() {
        let mut source = pull_source(r#"{"data":[{"a":1},{"a":2}],"loop":false}"#);
        let port = TestPort::new();
        let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(&port);
        assert_eq!(source.pull(&as_port).await.unwrap(), Pulled::More);
        assert_eq!(source.pull(&as_port).await.unwrap(), Pulled::End);
        assert_eq!(port.next().await.rows, [row(r#"{"a":1}"#)]);
        assert_eq!(port.next().await.rows, [row(r#"{"a":2}"#)]);
    }

    #[tokio::test]
    async fn with_loop_it_starts_again() {
        let mut source = pull_source(r#"{"data":[{"a":1}]}"#);
        let port: Arc<dyn SourcePort> = TestPort::new();
        for _ in 0..3 {
            assert_eq!(source.pull(&port).await.unwrap(), Pulled::More);
        }
    }

    #[tokio::test]
    async fn after_a_restart_it_goes_on_behind_the_row_of_the_checkpoint() {
        let props = r#"{"data":[{"a":1},{"a":2},{"a":3}],"loop":false}"#;
        let port = TestPort::new();
        let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(&port);
        pull_source(props).pull(&as_port).await.unwrap();
        let again = TestPort::resuming(port.next().await.offset);
        let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(&again);
        let mut source = pull_source(props);
        assert_eq!(source.pull(&as_port).await.unwrap(), Pulled::More);
        assert_eq!(source.pull(&as_port).await.unwrap(), Pulled::End);
        assert_eq!(again.next().await.rows, [row(r#"{"a":2}"#)]);
        assert_eq!(again.next().await.rows, [row(r#"{"a":3}"#)]);
    }

    #[test]
    fn empty_data_is_refused() {
        // Trap 17: upstream crashes on empty data with loop.
        let error = source(&cx(r#"{"data":[]}"#)).err().expect("there is no row to play");
        assert_eq!(
            error.message,
            "simulator source: property \"data\" must be a list of at least one object"
        );
    }

    #[tokio::test]
    async fn a_lookup_matches_all_keys_by_value() {
        let table = lookup(&cx(r#"{"data":[{"id":1,"k":"x"},{"id":2,"k":"x"}]}"#)).unwrap();
        let keys = [Arc::from("id"), Arc::from("k")];
        let found = table.lookup(&[], &keys, &[Value::Int(1), Value::text("x")]).await.unwrap();
        assert_eq!(found, [row(r#"{"id":1,"k":"x"}"#)]);
    }
}
