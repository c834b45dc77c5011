//! Start and stop; the traffic is tested by `mqtt/tests`, which run against this broker and mosquitto.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use super::Broker;

#[test]
fn a_stopped_broker_frees_its_port() {
    let broker = Broker::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, broker.port()));
    let client = TcpStream::connect(addr).unwrap();
    broker.stop();
    assert!(TcpStream::connect(addr).is_err());
    drop(client);
    Broker::start(addr).unwrap();
}

#[test]
fn a_taken_port_is_told() {
    let broker = Broker::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let error = Broker::start((Ipv4Addr::LOCALHOST, broker.port()).into()).unwrap_err();
    assert!(error.to_string().starts_with("cannot listen for MQTT on 127.0.0.1:"), "{error}");
}
