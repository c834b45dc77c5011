//! A script as expressions see it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_core::{Column, Diagnostic, RowError};
use thalweg_expr::function::{ArgShape, CallCx, CallSite, Frame, RemoteFunction};

use crate::host::{Entry, Scripts};
use crate::logs::Log;
use crate::vm::{Calls, Vm};

/// The function that one statement has found under a name. Each of its calls has an interpreter of its own, made when
/// it is first called.
pub(crate) struct ScriptFunction {
    scripts: Arc<Scripts>,
    /// As it was when the statement was read; its kind stays, whatever becomes of the script.
    entry: Arc<Entry>,
    host: String,
    sites: Mutex<Vec<Site>>,
}

/// A call in a rule.
struct Site {
    rule: String,
    node: String,
    call_id: u32,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    vm: Option<Vm>,
    /// The version of the script in it.
    version: u64,
}

impl ScriptFunction {
    pub(crate) fn new(scripts: Arc<Scripts>, entry: Arc<Entry>) -> Self {
        // By name: a script that hangs holds up the rules that use it, and no others.
        let host = format!("javascript-{}", entry.script.id);
        Self { scripts, entry, host, sites: Mutex::default() }
    }

    fn site(&self, cx: &CallCx<'_>) -> Arc<Mutex<State>> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sites
            .iter()
            .find(|site| site.call_id == cx.call_id && site.node == cx.node && site.rule == cx.rule);
        if let Some(site) = known {
            return Arc::clone(&site.state);
        }
        let state = Arc::default();
        let (rule, node) = (cx.rule.to_owned(), cx.node.to_owned());
        sites.push(Site { rule, node, call_id: cx.call_id, state: Arc::clone(&state) });
        state
    }

    /// The script that calls are made with: the newest of the name, as long as it is of the same kind.
    fn newest(&self) -> Arc<Entry> {
        let newest = self.scripts.get(&self.entry.script.id);
        let newest = newest.filter(|newest| newest.script.is_agg == self.entry.script.is_agg);
        newest.unwrap_or_else(|| Arc::clone(&self.entry))
    }
}

impl State {
    /// The interpreter with this script in it.
    fn ready(&mut self, entry: &Entry, scripts: &Scripts, rule: &str) -> Result<&mut Vm, String> {
        if self.version != entry.version {
            self.vm = None;
        }
        if self.vm.is_none() {
            let log = Log::of(rule, &entry.script.id);
            let vm = Vm::new(&entry.script, &scripts.limits, log).map_err(|why| why.to_string())?;
            self.vm = Some(vm);
            self.version = entry.version;
        }
        self.vm.as_mut().ok_or_else(|| "no interpreter".to_owned())
    }
}

impl fmt::Debug for ScriptFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JavaScript function {}", self.entry.script.id)
    }
}

impl RemoteFunction for ScriptFunction {
    fn name(&self) -> &str {
        &self.entry.script.id
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn is_aggregate(&self) -> Result<bool, Diagnostic> {
        Ok(self.entry.script.is_agg)
    }

    /// JavaScript takes any number of arguments of any kind, and so does upstream (functions.md 19).
    fn validate(&self, _args: &[ArgShape]) -> Result<(), Diagnostic> {
        Ok(())
    }

    fn call(&self, frame: &Frame<'_>, out: &mut Column, cx: &CallCx<'_>) {
        let state = self.site(cx);
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, groups): (Vec<u32>, Option<Vec<Vec<u32>>>) = match frame.groups {
            None => (frame.rows.iter().map(|row| row as u32).collect(), None),
            Some((groups, n_groups)) => {
                let mut rows_of = vec![Vec::new(); n_groups];
                for (row, group) in frame.rows.iter().zip(groups) {
                    if let Some(rows) = rows_of.get_mut(*group as usize) {
                        rows.push(row as u32);
                    }
                }
                (Vec::new(), Some(rows_of))
            }
        };
        let calls = groups.as_ref().map_or(Calls::Rows(&rows), |groups| Calls::Groups(groups));
        match state.ready(&self.newest(), &self.scripts, cx.rule) {
            Ok(vm) => vm.run(frame.args, &calls, out, cx.now.0),
            Err(why) => {
                let text = format!("call func {} error: {why}", self.entry.script.id);
                (0..calls.len()).for_each(|_| out.push_error(RowError::text(&text)));
            }
        }
    }

    fn forget(&self, site: &CallSite<'_>) {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        sites.retain(|known| {
            (known.call_id, known.node.as_str(), known.rule.as_str()) != (site.call_id, site.node, site.rule)
        });
    }
}
