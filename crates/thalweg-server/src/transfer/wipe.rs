//! Removes what is defined, before a full import.

use std::sync::Arc;

use futures_util::StreamExt;
use thalweg_engine::store::{Change, Store, Table};
use thalweg_engine::{EngineError, ProfileKind};
use tracing::warn;

use super::import::delete_schema;
use crate::rest::blocking;
use crate::server::App;
use crate::uploads;

/// How many rules are stopped at once.
const AT_ONCE: usize = 16;

/// Rules, streams, tables, plugins, services, schemas, scripts, profiles, connections, and the records of uploads. The files of
/// uploads stay, and so does what pip has installed and keyed state. What cannot be removed is logged.
///
/// # Errors
/// The store cannot be read or written.
pub(super) async fn wipe(app: &Arc<App>) -> Result<(), EngineError> {
    let rules = app.engine.rules();
    let deleting = futures_util::stream::iter(rules.ids()).map(|id| async move {
        rules.delete(&id).await.map_err(|why| why.prefixed(&format!("rule {id}: ")))
    });
    deleting.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect::<Result<(), _>>()?;
    for (kind, ids) in app.engine.connections().all_stored()? {
        for id in ids.keys() {
            if let Err(why) = app.engine.delete_connection(id).await {
                warn!(kind, id, why = why.message, "a connection is not removed before an import");
            }
        }
    }
    let app = Arc::clone(app);
    blocking(move || {
        app.engine.catalog().clear()?;
        for plugin in app.plugins.list() {
            told("plugin", &plugin.name, app.plugins.delete(&plugin.name));
        }
        for name in app.services.list() {
            told("service", &name, app.services.delete(&name));
        }
        for key in app.schemas.exported().into_keys() {
            told("schema", &key, delete_schema(&app, &key));
        }
        #[cfg(feature = "javascript")]
        for name in app.scripts.list() {
            told("script", &name, app.scripts.delete(&name));
        }
        let profiles = app.engine.profiles();
        for kind in [ProfileKind::Source, ProfileKind::Sink] {
            for (of, keys) in profiles.all_stored(kind) {
                for key in keys.keys() {
                    profiles.remove(kind, &of, key)?;
                }
            }
        }
        forget_records(app.engine.store().as_ref())
    })
    .await
}

fn told<E: std::fmt::Display>(what: &str, name: &str, removed: Result<(), E>) {
    if let Err(why) = removed {
        warn!(what, name, %why, "something is not removed before an import");
    }
}

fn forget_records(store: &dyn Store) -> Result<(), EngineError> {
    let mut changes = uploads::forget_all(store)?;
    let plugins = store.keys(Table::Plugin, "")?;
    changes.extend(plugins.into_iter().map(|name| Change::Delete(Table::Plugin, name)));
    Ok(store.write(&changes)?)
}
