//! The nop sink: swallows everything (D6). Encoding still runs, so that benchmarks measure it.

use std::sync::Arc;

use async_trait::async_trait;
use thalweg_core::connector::{
    BuildCx, Built, ConnectionStatus, Connector, Sink, SinkPayload, SinkPort, Written,
};
use thalweg_core::error::IoError;
use thalweg_core::spec::{PropKind, PropSpec, Roles, check};

use crate::property::flag;

/// The row in the table of connectors.
pub(crate) const CONNECTOR: Connector = Connector {
    name: "nop",
    summary: "Swallows every result; for benchmarks.",
    props: PROPS,
    takes_rows: false,
    connect: None,
    source: None,
    sink: Some(build),
    lookup: None,
};

const PROPS: &[PropSpec] =
    &[PropSpec::new("log", PropKind::Bool, Roles::SINK, "Write the message to the log.").default("false")];

struct NopSink {
    log: bool,
    rule: Arc<str>,
}

fn build(cx: &BuildCx) -> Built<Box<dyn Sink>> {
    check("nop sink", PROPS, Roles::SINK, &cx.props)?;
    Ok(Box::new(NopSink { log: flag(&cx.props, "log")?, rule: Arc::clone(&cx.rule) }))
}

#[async_trait]
impl Sink for NopSink {
    async fn open(&mut self, port: Arc<dyn SinkPort>) -> Result<(), IoError> {
        port.status(ConnectionStatus::Connected);
        Ok(())
    }

    fn swallows(&self) -> bool {
        !self.log
    }

    async fn write(&mut self, payloads: &[SinkPayload]) -> Written {
        if self.log {
            for payload in payloads {
                if let SinkPayload::Bytes { payload, .. } = payload {
                    tracing::info!(rule = %self.rule, "{}", String::from_utf8_lossy(payload));
                }
            }
        }
        Written::all(payloads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cx;

    #[tokio::test]
    async fn everything_is_swallowed() {
        let mut sink = build(&cx(r#"{"log":true}"#)).unwrap();
        let payload = SinkPayload::Bytes { payload: "x".into(), props: None };
        assert_eq!(sink.write(&[payload]).await.accepted, 1);
    }

    #[test]
    fn a_wrong_type_names_sink_and_property() {
        let error = build(&cx(r#"{"log":"yes"}"#)).err().expect("a text is no truth value");
        assert_eq!(error.message, "nop sink: property \"log\" must be true or false, not \"yes\"");
    }
}
