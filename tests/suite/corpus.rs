//! The recorded corpus and the golden cases, in process, on all axes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thalweg_tests::case::{Case, Expect, recorded};
use thalweg_tests::golden;
use thalweg_tests::in_process::{AXES, Axis, CROWDED, Got, SPLIT, is_right, run};

fn here(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// Runs all cases on an axis; what differs, by id.
fn differing(cases: &[Case], axis: Axis) -> BTreeMap<String, String> {
    let mut wrong = BTreeMap::new();
    for case in cases {
        let got = run(case, axis);
        if !is_right(case, &got) {
            let text = format!(
                "{}\n     sql  {}\n     want {:?}\n     got  {got:?}",
                case.id, case.sql, case.expect
            );
            wrong.insert(case.id.clone(), text);
        }
    }
    wrong
}

/// Fails unless exactly the `known` cases differ on every axis.
fn hold(cases: &[Case], known: &[&str]) {
    let mut report = Vec::new();
    for axis in AXES {
        let wrong = differing(cases, *axis);
        for (id, text) in &wrong {
            if !known.contains(&id.as_str()) {
                report.push(format!("{axis:?}: {text}"));
            }
        }
        for id in known.iter().filter(|id| cases.iter().any(|case| case.id == **id)) {
            if !wrong.contains_key(*id) && axis.batch == 1 && !axis.is_restarted {
                report.push(format!("{axis:?}: {id} agrees now; take it off the list"));
            }
        }
    }
    assert!(report.is_empty(), "{} differ:\n{}", report.len(), report.join("\n"));
}

/// Cases that do not agree yet, with the reason; `THALWEG_BLESS=1` rewrites the list, and the diff is reviewed.
const DIFFERS: &str = "conformance/differs.txt";

#[test]
fn recorded_cases_agree_on_all_axes() {
    let cases = recorded(&here("conformance/cases")).expect("the corpus is there");
    assert!(cases.len() > 1_300);
    if std::env::var_os("THALWEG_BLESS").is_some() {
        let wrong: BTreeMap<_, _> = AXES.iter().flat_map(|axis| differing(&cases, *axis)).collect();
        let ids: Vec<&str> = wrong.keys().map(String::as_str).collect();
        std::fs::write(here(DIFFERS), ids.join("\n") + "\n").expect("the list can be written");
    }
    let known = std::fs::read_to_string(here(DIFFERS)).unwrap_or_default();
    let known: Vec<&str> = known.lines().filter_map(|line| line.split_whitespace().next()).collect();
    hold(&cases, &known);
}

/// The same cases under options that switch optimizer passes off.
fn without(passes: &[&str], cases: &[Case]) -> Vec<Case> {
    let off = serde_json::json!({"optimizeControl": {"disableOptimizeRules": passes}});
    let option = |case: &Case| {
        let strategy = case.options.get("planOptimizeStrategy").cloned().unwrap_or_default();
        let mut strategy = strategy.as_object().cloned().unwrap_or_default();
        strategy.extend(off.as_object().cloned().unwrap_or_default());
        strategy.into()
    };
    let mut cases = cases.to_vec();
    for case in &mut cases {
        let strategy = option(case);
        case.options.insert("planOptimizeStrategy".to_owned(), strategy);
    }
    cases
}

/// switching passes off changes no result.
#[test]
fn recorded_and_golden_cases_agree_without_any_pass() {
    let mut cases = recorded(&here("conformance/cases")).expect("the corpus is there");
    cases.extend(golden::cases(&here("golden")).expect("golden cases can be read"));
    let known = std::fs::read_to_string(here(DIFFERS)).unwrap_or_default();
    let passes: Vec<&str> = thalweg_plan::pass_names().collect();
    let mut report = Vec::new();
    for off in passes.chunks(1).chain([&passes[..]]) {
        for (id, text) in differing(&without(off, &cases), AXES[1]) {
            if !known.lines().any(|line| line.split_whitespace().next() == Some(&*id)) {
                report.push(format!("without {}: {text}", off.join(", ")));
            }
        }
    }
    assert!(report.is_empty(), "{} differ:\n{}", report.len(), report.join("\n"));
}

#[test]
fn golden_cases_agree_on_all_axes() {
    let cases = golden::cases(&here("golden")).expect("golden cases can be read");
    hold(&cases, &[]);
}

/// `contracts.md` 2, 9: whatever the rules of a shared stream share, none notices the others.
#[test]
fn golden_cases_agree_among_fifty_neighbours_on_the_same_stream() {
    let cases = golden::cases(&here("golden")).expect("golden cases can be read");
    let cases: Vec<Case> =
        cases.into_iter().filter(|case| !matches!(case.expect, Expect::Refused(_))).collect();
    let wrong = differing(&cases, CROWDED);
    let report: Vec<&str> = wrong.values().map(String::as_str).collect();
    assert!(report.is_empty(), "{} differ:\n{}", report.len(), report.join("\n"));
}

/// `contracts.md` 8: on a stream that is split, over two shards, a rule gives what it gives on the whole stream, or is
/// refused by the name of what cannot be had.
#[test]
fn recorded_and_golden_cases_agree_on_split_streams_or_are_refused() {
    let mut cases = recorded(&here("conformance/cases")).expect("the corpus is there");
    cases.extend(golden::cases(&here("golden")).expect("golden cases can be read"));
    let known = std::fs::read_to_string(here(DIFFERS)).unwrap_or_default();
    let is_known = |case: &Case| known.lines().any(|line| line.split_whitespace().next() == Some(&*case.id));
    let (mut report, mut refused, mut right) = (Vec::new(), BTreeMap::<String, usize>::new(), [0, 0]);
    for case in cases.iter().filter(|case| !matches!(case.expect, Expect::Refused(_)) && !is_known(case)) {
        match run(case, SPLIT) {
            got if is_right(case, &got) => {
                right[usize::from(case.sql.to_lowercase().contains("window"))] += 1
            }
            Got::Refused(text) if text.contains("is split") => *refused.entry(text).or_default() += 1,
            got => report.push(format!(
                "{}\n     sql  {}\n     want {:?}\n     got  {got:?}",
                case.id, case.sql, case.expect
            )),
        }
    }
    assert!(report.is_empty(), "{} differ:\n{}", report.len(), report.join("\n"));
    assert!(right[0] > 500 && right[1] > 50, "{right:?} are run at all, refused {refused:#?}");
}

/// Golden mistakes hold all that a user reads: message, place and advice of each.
#[test]
fn mistakes_are_explained_as_written() {
    let cases = golden::cases(&here("golden")).expect("golden cases can be read");
    let mut said = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let Expect::Refused(expected) = &case.expect else { continue };
        let expected = expected.clone().unwrap_or_default();
        let found = match run(case, AXES[0]) {
            Got::Refused(text) => text.replace(&format!("SQL {} ", case.sql), "SQL … "),
            Got::Sent(sent) => format!("accepted, and sent {sent:?}"),
        };
        assert!(!found.contains("accepted"), "{}: {} is no mistake: {found}", case.id, case.sql);
        if found != expected {
            wrong.push(format!("{}: {}\n  written {expected}\n  found   {found}", case.id, case.sql));
        }
        said.insert(case.id.clone(), found);
    }
    if std::env::var_os("THALWEG_BLESS").is_some() {
        golden::bless(&here("golden"), &said).expect("the files can be written");
    } else {
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
    assert!(said.len() >= N_MISTAKES, "{} mistakes", said.len());
}

/// Different mistakes that are promised to be explained.
const N_MISTAKES: usize = 150;
