//! Addresses of interfaces: `tcp://host:port`, `http://host:port/path`.

/// An address in its parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Address {
    pub(crate) scheme: String,
    /// Host and, if written, port.
    pub(crate) host: String,
    /// As it was written.
    pub(crate) text: String,
    /// The same without a password, for messages.
    pub(crate) shown: String,
}

impl Address {
    /// Takes an address apart.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("invalid address {text:?}: it must be a url such as tcp://host:port or http://host:port")
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_sound = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_sound(host) || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) || !is_sound(text) {
            return Err(wrong());
        }
        let shown = match host.rsplit_once('@') {
            Some((login, bare)) => text.replacen(&format!("{login}@{bare}"), &format!("***@{bare}"), 1),
            None => text.to_owned(),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, bare)| bare).to_owned();
        Ok(Self { scheme: scheme.to_ascii_lowercase(), host, text: text.to_owned(), shown })
    }

    /// The port, if one is written.
    pub(crate) fn port(&self) -> Option<u16> {
        self.host.rsplit_once(':')?.1.parse().ok()
    }

    /// Refuses an address without a port.
    pub(crate) fn with_port(self) -> Result<Self, String> {
        match self.port() {
            Some(_) => Ok(self),
            None => Err(format!("invalid address {:?}: the port is missing", self.text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_and_sockets_need_a_port() {
        let address = Address::parse("tcp://localhost:50051/x").unwrap();
        assert_eq!(
            (&*address.scheme, &*address.host, address.port()),
            ("tcp", "localhost:50051", Some(50051))
        );
        assert!(Address::parse("http://a").unwrap().with_port().is_err());
        assert_eq!(Address::parse("tcp://[::1]:9").unwrap().port(), Some(9));
        assert_eq!(Address::parse("http://me:secret@h/x").unwrap().shown, "http://***@h/x");
        for wrong in ["", "localhost:80", "http://", "tcp:///x", "http://a b", "ht tp://a"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
