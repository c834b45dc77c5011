//! Sinks that publish at QoS 0 and ask for no client identifier share a connection to their broker: what the rules of a
//! shard send in one turn leaves in one write, and ten thousand rules need no ten thousand connections.
//!
//! They share it with those of the same shard, server and login, no more than [`SEATS`], so that a connection that the
//! broker slows down or ends concerns few.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::polled::Poller;

use super::client::Client;

/// Sinks at one connection.
const SEATS: usize = 64;

/// The common connections of an engine.
#[derive(Default)]
pub(super) struct Company {
    tables: Mutex<Vec<Table>>,
}

struct Table {
    client: Arc<Client>,
    poller: Arc<dyn Poller>,
    n_users: usize,
}

/// One sink's part in a common connection.
pub(super) struct Seat {
    pub(super) client: Arc<Client>,
    company: Arc<Company>,
    has_left: AtomicBool,
}

impl Company {
    fn lock(&self) -> MutexGuard<'_, Vec<Table>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection like `own`, which becomes one itself when there is none.
    pub(super) fn join(self: &Arc<Self>, own: &Arc<Client>, poller: &Arc<dyn Poller>) -> Seat {
        let options = |client: &Client| {
            let options = &client.shared.options;
            (
                options.address(),
                options.login().map(|(name, password)| (name.to_owned(), password.to_owned())),
            )
        };
        let wanted = options(own);
        let mut tables = self.lock();
        let fits = |table: &&mut Table| {
            let is_near = std::ptr::addr_eq(Arc::as_ptr(&table.poller), Arc::as_ptr(poller));
            is_near && table.n_users < SEATS && options(&table.client) == wanted
        };
        let client = match tables.iter_mut().find(fits) {
            Some(table) => {
                table.n_users += 1;
                Arc::clone(&table.client)
            }
            None => {
                tables.push(Table { client: Arc::clone(own), poller: Arc::clone(poller), n_users: 1 });
                Arc::clone(own)
            }
        };
        Seat { client, company: Arc::clone(self), has_left: AtomicBool::new(false) }
    }
}

impl Seat {
    /// Leaves; whether the connection is to be closed because nobody else uses it.
    pub(super) fn leave(&self) -> bool {
        if self.has_left.swap(true, Relaxed) {
            return false;
        }
        let mut tables = self.company.lock();
        let Some(at) = tables.iter().position(|table| Arc::ptr_eq(&table.client, &self.client)) else {
            return false;
        };
        tables[at].n_users -= 1;
        let is_last = tables[at].n_users == 0;
        if is_last {
            tables.swap_remove(at);
        }
        is_last
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Nobody has closed: with the last seat the client is dropped, which ends it.
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::client::{Held, client_for};
    use crate::testing::{TokioPoller, cx};

    fn seated(company: &Arc<Company>, poller: &Arc<dyn Poller>, more: &str) -> Held {
        let props = format!(r#"{{"server":"tcp://127.0.0.1:1","topic":"t"{more}}}"#);
        let mut held = client_for("mqtt sink", &cx(&props)).unwrap();
        held.join(company, Some(poller));
        held
    }

    fn is_same(one: &Held, other: &Held) -> bool {
        Arc::ptr_eq(&one.shared, &other.shared)
    }

    #[tokio::test]
    async fn only_sinks_of_one_shard_server_and_login_that_need_no_name_share_a_connection() {
        let company = Arc::<Company>::default();
        let near: Arc<dyn Poller> = Arc::new(TokioPoller);
        let first = seated(&company, &near, "");
        assert!(is_same(&first, &seated(&company, &near, "")));
        assert!(!is_same(&first, &seated(&company, &(Arc::new(TokioPoller) as Arc<dyn Poller>), "")));
        for own in [
            r#","clientid":"me""#,
            r#","username":"a","password":"b""#,
            r#","protocolVersion":"5""#,
            r#","qos":1"#,
        ] {
            assert!(!is_same(&first, &seated(&company, &near, own)), "{own}");
        }
        assert!(is_same(&first, &seated(&company, &near, "")), "and they go on sharing");
    }

    #[tokio::test]
    async fn a_full_connection_takes_nobody_and_the_last_user_ends_it() {
        let company = Arc::<Company>::default();
        let near: Arc<dyn Poller> = Arc::new(TokioPoller);
        let all: Vec<Held> = (0..=SEATS).map(|_| seated(&company, &near, "")).collect();
        assert!(is_same(&all[0], &all[SEATS - 1]) && !is_same(&all[0], &all[SEATS]));
        for held in &all[..SEATS] {
            held.close().await;
            held.close().await;
        }
        assert_eq!(company.lock().len(), 1, "the other one lives");
        drop(all);
        assert_eq!(company.lock().len(), 0);
    }
}
