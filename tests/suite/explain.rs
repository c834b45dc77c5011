//! `thalweg explain` against a running engine, through the real binary.

use std::process::Command;

use serde_json::json;
use thalweg_tests::processes::{Engine, thalweg};

/// Exit status, stdout and stderr of `thalweg explain …`.
fn explain(url: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(thalweg().expect("the binary was there"));
    let output = command.arg("explain").args(words).args(["--url", url]).output().expect("it can be run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn rules_and_statements_are_explained_with_exit_statuses_of_their_own() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let api = engine.api();
    api.sql("CREATE STREAM s () WITH (DATASOURCE=\"s\", TYPE=\"memory\", SHARED=\"true\")");
    api.rule("r1", "SELECT upper(o->q) AS u, upper(o->q) || 'x' AS v FROM s WHERE a > 1", json!({"nop": {}}));
    api.rule("r2", "SELECT b FROM s WHERE a > 1", json!({"nop": {}}));
    let expected = "\
Plan
  3_project Project Fields:[ upper(o->q) AS u?, (upper(o->q) || \"x\") AS v? ]
    - Compute upper(o->q)
      2_filter Filter Condition:{ (a > 1) }
        s Scan [a, o->q]

Read by the decoder
  s: a, o->q

Asked at the source
  s: (a > 1)

Computed once per row
  upper(o->q): read by 3_project (2 times)

Shared streams, with the other rules that read them
  s: r2

Asked once for several rules
  s: (a > 1): r2
";
    assert_eq!(explain(api.url(), &["rule", "r1"]), (Some(0), expected.to_owned(), String::new()));
    let (status, out, _) = explain(api.url(), &["SELECT c FROM s WHERE a > 1", "--raw"]);
    assert_eq!(status, Some(0));
    assert!(out.starts_with("{\"op\":\"ProjectPlan_0\""), "X-7: {out}");
    assert!(out.ends_with("{\"op\":\"SharedCondition\",\"info\":\"s: (a > 1): r1, r2\"}\n"), "{out}");
    let refused = "thalweg: explain rules error: Rule gone is not found.\n";
    assert_eq!(explain(api.url(), &["rule", "gone"]), (Some(1), String::new(), refused.to_owned()));
    assert_eq!(explain(api.url(), &["rules"]).0, Some(2));
    assert_eq!(explain("http://127.0.0.1:1", &["rule", "r1"]).0, Some(3));
}
