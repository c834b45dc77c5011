//! What functions of other processes keep for a rule: saved, given back, forgotten.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::json;
use thalweg_core::{Column, Diagnostic};
use thalweg_expr::function::ArgShape;
use thalweg_expr::{CallCx, CallSite, Expr, Frame, FunctionRef, RemoteFunction};
use thalweg_plan::Plan;

use super::*;
use crate::testing::{column, project, registry, scan, spec, stream};

/// Numbers the rows of each call, in a process that loses its memory now and then.
#[derive(Debug, Default)]
struct Numbering {
    counts: Mutex<HashMap<String, u8>>,
    fails: Mutex<bool>,
}

fn name(site: &CallSite<'_>) -> String {
    format!("{} {} {}", site.rule, site.node, site.call_id)
}

impl RemoteFunction for Numbering {
    fn name(&self) -> &str {
        "numbering"
    }

    fn host(&self) -> &str {
        "plugin"
    }

    fn is_aggregate(&self) -> Result<bool, Diagnostic> {
        Ok(false)
    }

    fn validate(&self, _args: &[ArgShape]) -> Result<(), Diagnostic> {
        Ok(())
    }

    fn call(&self, frame: &Frame<'_>, out: &mut Column, cx: &CallCx<'_>) {
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry(name(&cx.site())).or_default();
        for _ in frame.rows.iter() {
            *count += 1;
            out.push_int(i64::from(*count));
        }
    }

    fn save(&self, site: &CallSite<'_>) -> Result<Option<Vec<u8>>, String> {
        if *self.fails.lock().unwrap() {
            return Err("plugin numbering is busy".to_owned());
        }
        Ok(self.counts.lock().unwrap().get(&name(site)).map(|count| vec![*count]))
    }

    fn restore(&self, site: &CallSite<'_>, saved: &[u8]) -> Result<(), String> {
        let [count] = saved else { return Err("one byte is expected".to_owned()) };
        self.counts.lock().unwrap().insert(name(site), *count);
        Ok(())
    }

    fn forget(&self, site: &CallSite<'_>) {
        self.counts.lock().unwrap().remove(&name(site));
    }
}

/// `SELECT numbering(a) AS n FROM demo`
fn numbered(function: &Arc<Numbering>) -> RuleSpec {
    let demo = stream("demo", "mqtt", false);
    let mut plan: Plan = project(scan(&demo, &["a"]), "3_project", &[("n", 0)]);
    let function = FunctionRef::Remote(Arc::clone(function) as Arc<dyn RemoteFunction>);
    if let thalweg_plan::Kind::Project(columns) = &mut plan.root.kind
        && let thalweg_plan::logical::OutputColumn::One { expr, .. } = &mut columns[0]
    {
        *expr = Expr::Call { function, args: vec![column(0)], call_id: 4 };
    }
    spec("r", plan, &[&demo], json!({"log": {}}))
}

#[test]
fn what_a_remote_function_keeps_is_part_of_the_rules_snapshot_and_goes_with_the_rule() {
    let function = Arc::<Numbering>::default();
    let mut rig = Rig::new(registry(&[]), Timestamp(0));
    let rule = rig.add(numbered(&function)).unwrap();
    (0..2).for_each(|_| rig.feed("demo", b"{}"));
    assert_eq!(rig.texts(rule), [r#"[{"n":1}]"#, r#"[{"n":2}]"#]);
    let snapshot = rig.snapshot(rule).unwrap();
    assert_eq!(snapshot.nodes["call 4 3_project"], [2]);
    rig.stop(rule);
    assert!(function.counts.lock().unwrap().is_empty(), "the rule has ended");
    let again = rig.add_from(numbered(&function), Some(snapshot.clone())).unwrap();
    rig.feed("demo", b"{}");
    assert_eq!(rig.texts(again), [r#"[{"n":3}]"#]);
    rig.stop(again);
    let mut damaged = snapshot;
    damaged.nodes.insert("call 4 3_project".to_owned(), Vec::new());
    let error = rig.add_from(numbered(&function), Some(damaged)).unwrap_err();
    assert_eq!(error.message, "snapshot cannot be read: function numbering: one byte is expected");
}

#[test]
fn a_checkpoint_without_the_state_of_a_remote_function_is_none() {
    let function = Arc::<Numbering>::default();
    let mut rig = Rig::new(registry(&[]), Timestamp(0));
    let rule = rig.add(numbered(&function)).unwrap();
    *function.fails.lock().unwrap() = true;
    assert_eq!(rig.snapshot(rule), None, "the function does not give its state");
    *function.fails.lock().unwrap() = false;
    assert!(rig.snapshot(rule).is_some());
}
