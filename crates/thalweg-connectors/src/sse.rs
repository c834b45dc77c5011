//! The sse sink: every result goes to all who listen at a path of the data port (D10).

use std::sync::Arc;

use async_trait::async_trait;
use thalweg_core::connector::{
    BuildCx, Built, ConnectionStatus, Connector, Sink, SinkPayload, SinkPort, Written,
};
use thalweg_core::error::IoError;
use thalweg_core::spec::{PropKind, PropSpec, Roles, check};

use crate::outlet::{Outlet, Outlets};
use crate::property::refused;

/// The row in the table of connectors.
pub(crate) const CONNECTOR: Connector = Connector {
    name: "sse",
    summary: "Sends every result to all who listen at a path of the data port.",
    props: PROPS,
    takes_rows: false,
    connect: None,
    source: None,
    sink: Some(build),
    lookup: None,
};

const PROPS: &[PropSpec] = &[
    PropSpec::new("path", PropKind::Text, Roles::SINK, "Where to listen; begins with a slash."),
    PropSpec::new("endpoint", PropKind::Text, Roles::SINK, "Another name of path."),
    PropSpec::new("datasource", PropKind::Text, Roles::SINK, "Another name of path."),
];

struct SseSink {
    outlet: Arc<Outlet>,
}

fn build(cx: &BuildCx) -> Built<Box<dyn Sink>> {
    check("sse sink", PROPS, Roles::SINK, &cx.props)?;
    let mut path = None;
    for name in ["path", "endpoint", "datasource"] {
        path = path.or(cx.props.text(name)?.filter(|path| !path.is_empty()));
    }
    let path = path.ok_or_else(|| refused("sse sink: property \"path\" is required"))?;
    if !path.starts_with('/') {
        let text = format!("sse sink: property \"path\" must start with /, not {path}");
        return Err(refused(text));
    }
    Ok(Box::new(SseSink { outlet: cx.shared.get::<Outlets>().open(path) }))
}

#[async_trait]
impl Sink for SseSink {
    async fn open(&mut self, port: Arc<dyn SinkPort>) -> Result<(), IoError> {
        port.status(ConnectionStatus::Connected);
        Ok(())
    }

    async fn write(&mut self, payloads: &[SinkPayload]) -> Written {
        for payload in payloads {
            if let SinkPayload::Bytes { payload, .. } = payload {
                self.outlet.send(payload.clone());
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
    async fn d10_messages_reach_those_who_listen_at_the_path() {
        let cx = cx(r#"{"path":"/out"}"#);
        let mut sink = build(&cx).unwrap();
        let mut events = cx.shared.get::<Outlets>().listen("/out").expect("the sink has made the place");
        let payload = SinkPayload::Bytes { payload: "[]".into(), props: None };
        assert_eq!(sink.write(&[payload]).await.accepted, 1);
        assert_eq!(events.try_recv().unwrap(), "[]");
    }

    #[test]
    fn d10_a_path_is_needed_and_begins_with_a_slash() {
        for (props, part) in [("{}", "is required"), (r#"{"endpoint":"out"}"#, "must start with /")] {
            let error = build(&cx(props)).err().expect("it is wrong");
            assert!(error.message.contains(part), "{props}: {}", error.message);
        }
    }
}
