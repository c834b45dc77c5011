//! Plans as text: `tests/golden/*.txt` hold SQL and the tree it must give. After a wanted change, run with
//! `THALWEG_BLESS=1` and look at the difference.
//!
//! ```text
//! # what it shows
//! CREATE STREAM …           any number, kept until the end of the file
//! option event_time         options of the next query only
//! SELECT …
//! ->
//! the tree with warnings (`? `), or `! ` and the mistakes, up to an empty line
//! ```

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod support;

use std::path::Path;

use support::World;
use thalweg_plan::{PlanOptions, explain, plan};
use thalweg_sql::parse_query;

#[test]
fn plans_are_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    for file in files {
        let expected = std::fs::read_to_string(&file).unwrap();
        let found = run(&expected);
        if found == expected {
            continue;
        }
        if std::env::var_os("THALWEG_BLESS").is_some() {
            std::fs::write(&file, found).unwrap();
        } else {
            let line = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
            let line = line.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
            let show = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
            wrong.push(format!(
                "{}:{}\n  recorded {}\n  found    {}",
                file.display(),
                line + 1,
                show(&expected),
                show(&found)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The file as it should be: the same input with what comes out now.
fn run(text: &str) -> String {
    let (mut world, mut options, mut out, mut is_output) =
        (World::new(), PlanOptions::default(), Vec::new(), false);
    for line in text.lines() {
        if is_output {
            is_output = !line.is_empty();
            if is_output {
                continue;
            }
        }
        out.push(line.to_owned());
        if line.starts_with("CREATE") {
            world.create(line).unwrap_or_else(|mistakes| panic!("{line}: {mistakes:?}"));
        } else if let Some(option) = line.strip_prefix("option ") {
            set(&mut options, option);
        } else if line.starts_with("SELECT") || line.starts_with("WITH") {
            out.push("->".to_owned());
            out.extend(planned(line, &options, &world).lines().map(str::to_owned));
            (options, is_output) = (PlanOptions::default(), true);
        }
    }
    out.join("\n") + "\n"
}

fn set(options: &mut PlanOptions, option: &str) {
    match option {
        "event_time" => options.event_time = true,
        "send_nil" => options.send_nil = true,
        "send_meta" => options.send_meta = true,
        "ignore_case" => options.ignore_case = true,
        other => match other.strip_prefix("without ") {
            Some(pass) => options.disabled_passes.push(pass.to_owned()),
            None => panic!("unknown option {other}"),
        },
    }
}

fn planned(sql: &str, options: &PlanOptions, world: &World) -> String {
    match parse_query(sql).and_then(|query| plan(&query, options, world)) {
        Ok(plan) => {
            let warnings = plan.warnings.iter().map(|warning| format!("? {}\n", warning.render(sql)));
            explain::tree(&plan) + &warnings.collect::<String>()
        }
        Err(mistakes) => mistakes.iter().map(|mistake| format!("! {}\n", mistake.render(sql))).collect(),
    }
}
