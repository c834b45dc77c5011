//! The HTTP client of services and downloads: connections kept alive, nothing taken from the environment, and a look at
//! the addresses of a host before anybody connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ureq::http;
use ureq::tls::{Certificate, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// How a client connects.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// For connecting, and for all of a request.
    pub timeout: Duration,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// How many connections are kept while nobody uses them.
    pub n_idle: usize,
}

/// A client that takes no proxy from the environment and looks where it connects to.
pub fn agent(client: &Client, allow_private_net: bool) -> ureq::Agent {
    let Client { timeout, insecure, n_idle } = *client;
    let settings = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .proxy(None)
        .user_agent("thalweg")
        .timeout_connect(Some(timeout))
        .timeout_global(Some(timeout))
        .max_idle_connections(n_idle)
        .max_idle_connections_per_host(n_idle)
        .tls_config(tls(insecure))
        .build();
    let guard = Guard { allow_private: allow_private_net, inner: DefaultResolver::default() };
    ureq::Agent::with_parts(settings, DefaultConnector::default(), guard)
}

/// Who may sign certificates: whoever the machine trusts, as upstream; where it says nothing, Mozilla's list.
fn tls(insecure: bool) -> TlsConfig {
    let mut tls = TlsConfig::builder().disable_verification(insecure);
    if !insecure {
        let trusted = rustls_native_certs::load_native_certs().certs;
        if !trusted.is_empty() {
            let trusted = trusted.iter().map(|trusted| Certificate::from_der(trusted).to_owned());
            tls = tls.root_certs(trusted.collect::<Vec<_>>().into());
        }
    }
    tls.build()
}

/// Looks at the addresses of a host before anybody connects (N6.7).
#[derive(Debug)]
struct Guard {
    allow_private: bool,
    inner: DefaultResolver,
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = match literal(uri) {
            Some(address) => {
                let mut one = self.empty();
                one.push(address);
                one
            }
            None => self.inner.resolve(uri, config, timeout)?,
        };
        match found.iter().find(|address| is_refused(address.ip(), self.allow_private)) {
            None => Ok(found),
            Some(refused) => Err(ureq::Error::Io(std::io::Error::new(
                std::io::ErrorKind::PermissionDenied,
                format!("ip {} is in internal network; see basic.enablePrivateNet", refused.ip()),
            ))),
        }
    }
}

/// The address of a host that is written in numbers: no resolver, no thread.
fn literal(uri: &http::Uri) -> Option<SocketAddr> {
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let port =
        uri.port_u16().or_else(|| if uri.scheme_str() == Some("https") { Some(443) } else { Some(80) })?;
    Some(SocketAddr::new(host.parse().ok()?, port))
}

fn is_refused(ip: IpAddr, allow_private: bool) -> bool {
    let ip = ip.to_canonical();
    let is_private = match ip {
        IpAddr::V4(ip) => {
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_unspecified()
                || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_multicast()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    };
    METADATA.contains(&ip) || (is_private && !allow_private)
}

/// Where clouds tell secrets to whoever asks from inside.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n6_7_metadata_addresses_are_always_refused_and_private_ones_on_request() {
        for (ip, open, guarded) in [
            ("169.254.169.254", true, true),
            ("::ffff:169.254.169.254", true, true),
            ("fd00:ec2::254", true, true),
            ("169.254.7.7", false, true),
            ("127.0.0.1", false, true),
            ("192.168.1.5", false, true),
            ("::1", false, true),
            ("fd00::1", false, true),
            ("8.8.8.8", false, false),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!((is_refused(ip, true), is_refused(ip, false)), (open, guarded), "{ip}");
        }
    }
}
