//! The connections that nodes of live rules have opened for themselves (`rest-api.md` 7, `forceAll`).

use thalweg_core::connector::ConnectionStatus;

use super::Rules;
use crate::connection::Shown;
use crate::rule::build::OwnConnection;

impl Rules {
    /// All of them, by rule and node. They are looked for when somebody asks: nothing is kept for this.
    pub fn own_connections(&self) -> Vec<Shown> {
        let mut all = Vec::new();
        for entry in self.live() {
            let Ok(definition) = entry.record().definition(&self.defaults) else { continue };
            let nodes = entry.figures().nodes;
            for OwnConnection { node, id, kind, props } in self.builder.own_connections(&definition) {
                let metrics = nodes.iter().find(|known| *known.name == *node);
                let connection = metrics.and_then(|node| node.rare.connection.as_ref());
                let status = connection.map_or(ConnectionStatus::Connecting, |known| known.status.clone());
                all.push(Shown { id, kind, props, is_named: false, status, users: 1 });
            }
        }
        all
    }
}
