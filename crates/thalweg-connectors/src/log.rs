//! The log sink: one info line for each message (D5).

use std::sync::Arc;

use async_trait::async_trait;
use thalweg_core::connector::{
    BuildCx, Built, ConnectionStatus, Connector, Sink, SinkPayload, SinkPort, Written,
};
use thalweg_core::error::IoError;

/// The row in the table of connectors.
pub(crate) const CONNECTOR: Connector = Connector {
    name: "log",
    summary: "Writes every result to the log.",
    props: &[],
    takes_rows: false,
    connect: None,
    source: None,
    sink: Some(build),
    lookup: None,
};

struct LogSink {
    rule: Arc<str>,
}

fn build(cx: &BuildCx) -> Built<Box<dyn Sink>> {
    Ok(Box::new(LogSink { rule: Arc::clone(&cx.rule) }))
}

#[async_trait]
impl Sink for LogSink {
    async fn open(&mut self, port: Arc<dyn SinkPort>) -> Result<(), IoError> {
        port.status(ConnectionStatus::Connected);
        Ok(())
    }

    async fn write(&mut self, payloads: &[SinkPayload]) -> Written {
        for payload in payloads {
            if let SinkPayload::Bytes { payload, .. } = payload {
                let text = String::from_utf8_lossy(payload);
                tracing::info!(rule = %self.rule, "sink result for rule {}: {text}", self.rule);
            }
        }
        Written::all(payloads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NoPort, cx};

    #[tokio::test]
    async fn every_message_is_accepted() {
        let mut sink = build(&cx("{}")).unwrap();
        sink.open(Arc::new(NoPort)).await.unwrap();
        let payload = SinkPayload::Bytes { payload: "{\"a\":1}".into(), props: None };
        assert_eq!(sink.write(&[payload.clone(), payload]).await.accepted, 2);
    }
}
