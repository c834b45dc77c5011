//! Accumulators that outlive a message (12.8): taken rows, joined, saved, lost with their process.

use std::sync::Arc;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Cell, Column, ColumnRef, Selection, Timestamp, Value};
use thalweg_expr::function::{CallCx, Frame, RemoteFunction};
use thalweg_expr::registry::RemoteFunctions;
use thalweg_expr::{Accumulate, AccumulatorStep, Accumulators};

use crate::subject::*;

struct Calls {
    function: Arc<dyn RemoteFunction>,
    metrics: NodeMetrics,
}

fn cx(metrics: &NodeMetrics) -> CallCx<'_> {
    CallCx { rule: "rule1", node: "4_aggregate", call_id: 0, now: Timestamp(0), metrics }
}

impl Calls {
    fn new(bench: &Bench, name: &str) -> Self {
        let function = bench.host.resolve(&format!("{name}_joined")).unwrap().unwrap();
        Self { function, metrics: NodeMetrics::default() }
    }

    /// One step with these words for each accumulator: its results, errors in `<>`, and the memory.
    fn step(
        &self,
        groups: &[(u64, &[&str])],
        what: Accumulate<'_>,
        finish: bool,
        expected: Option<u64>,
    ) -> (Vec<String>, Option<u64>) {
        let words = groups.iter().flat_map(|(_, words)| words.iter());
        let column = Column::from_values(&words.map(Value::text).collect::<Vec<_>>());
        let of_rows = (0..).zip(groups).flat_map(|(group, (_, words))| words.iter().map(move |_| group));
        let of_rows: Vec<u32> = of_rows.collect();
        let ids: Vec<u64> = groups.iter().map(|(id, _)| *id).collect();
        let (args, rows) = ([ColumnRef::borrowed(&column)], Selection::all(of_rows.len()));
        let frame = Frame { args: &args, rows: &rows, groups: Some((&of_rows, ids.len())) };
        let step = AccumulatorStep { ids: &ids, what, finish, forget: false, drop: &[] };
        let mut out = Column::new();
        let memory = self.function.accumulate(&step, &frame, expected, &mut out, &cx(&self.metrics));
        let text = |row| match out.cell(row) {
            Cell::Error(error) => format!("<{error}>"),
            Cell::Str(text) => text.to_owned(),
            cell => format!("{cell:?}"),
        };
        ((0..out.len()).map(text).collect(), memory)
    }

    fn add(&self, groups: &[(u64, &[&str])]) -> Vec<String> {
        self.step(groups, Accumulate::Add, true, None).0
    }
}

#[test]
fn rows_are_added_and_accumulators_joined_in_frames_and_in_json() {
    let all = ["batch", "cols", "shm", "state", "acc", "ping"];
    let without_frames = ["batch", "state", "acc"];
    for caps in [&all[..], &without_frames] {
        let bench = Bench::new(&Sdk::Bundled);
        let name = bench.install(&Subject::kinds(Some(caps)));
        let calls = Calls::new(&bench, &name);
        assert_eq!(calls.function.accumulators(), Some(Accumulators { merge: true, retract: false }));
        assert_eq!(
            calls.step(&[(1, &["a"]), (2, &["b", "c"])], Accumulate::Add, false, None).0,
            ["Null", "Null"]
        );
        assert_eq!(calls.add(&[(2, &["d"]), (3, &[]), (1, &["e"])]), ["b c d", "", "a e"]);
        let parts = [vec![2, 1], vec![]];
        let joined = || calls.step(&[(4, &[]), (5, &[])], Accumulate::Merge(&parts), true, None).0;
        assert_eq!(joined(), ["b c d a e", ""]);
        let error = &calls.add(&[(6, &["f", "raise", "g"]), (7, &["h"])]);
        assert!(error[0].ends_with("told to>") && error[1] == "h", "{error:?}");
        assert_eq!(calls.add(&[(1, &["x"]), (2, &[])]), ["a e x", "b c d"], "what was joined is as it was");
        let missing = [vec![99]];
        let error = calls.step(&[(8, &[])], Accumulate::Merge(&missing), true, None).0;
        assert!(error[0].contains("accumulator 99 is not there any more"), "{error:?}");
    }
}

#[test]
fn functions_without_the_capability_take_whole_groups() {
    let old: [&[&str]; 3] = [&["batch", "cols", "acc"], &["batch", "cols", "state"], &[]];
    for caps in old {
        let bench = Bench::new(&Sdk::Bundled);
        let name = bench.install(&Subject::kinds(Some(caps)));
        let calls = Calls::new(&bench, &name);
        assert_eq!(calls.function.accumulators(), None, "{caps:?}");
        assert!(calls.add(&[(1, &["a"])])[0].contains("has no accumulators"), "{caps:?}");
    }
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::kinds(None));
    let tell = bench.host.resolve(&format!("{name}_tellall")).unwrap().unwrap();
    assert_eq!(tell.accumulators(), None);
}

#[test]
fn many_groups_travel_in_several_messages() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::kinds(None));
    let calls = Calls::new(&bench, &name);
    let words: Vec<String> = (0..9_000).map(|n| format!("w{n}")).collect();
    let lists: Vec<[&str; 1]> = words.iter().map(|word| [word.as_str()]).collect();
    let groups: Vec<(u64, &[&str])> = (1..).zip(&lists).map(|(id, list)| (id, &list[..])).collect();
    assert_eq!(calls.add(&groups), words);
    let twice: Vec<String> = words.iter().map(|word| format!("{word} {word}")).collect();
    assert_eq!(calls.add(&groups), twice);
}

#[test]
fn accumulators_are_part_of_what_is_saved_and_lost_with_their_process() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::kinds(None));
    let calls = Calls::new(&bench, &name);
    let (first, memory) = calls.step(&[(1, &["a"])], Accumulate::Add, true, None);
    assert_eq!(first, ["a"]);
    let metrics = NodeMetrics::default();
    let site = cx(&metrics);
    let saved = calls.function.save(&site.site()).unwrap().expect("it remembers");
    assert_eq!(calls.step(&[(1, &["b"])], Accumulate::Add, true, memory), (vec!["a b".to_owned()], memory));
    let killed = calls.step(&[(1, &["c", "kill"]), (2, &["d"])], Accumulate::Add, true, memory).0;
    assert!(killed.iter().all(|text| text.contains("which forgets what it remembered")), "{killed:?}");
    eventually("the next process is there", || bench.host.status(&name).unwrap().status == "running");
    let (after, next) = calls.step(&[(1, &["e"])], Accumulate::Add, true, memory);
    assert_eq!(after, Vec::<String>::new(), "nothing is done in another memory");
    assert!(next > memory, "{next:?}");
    assert_eq!(calls.step(&[(3, &["f"])], Accumulate::Add, true, next), (vec!["f".to_owned()], next));
    calls.function.restore(&site.site(), &saved).unwrap();
    assert_eq!(calls.add(&[(1, &["g"]), (3, &[])]), ["a g", ""], "as it was at the checkpoint");
}
