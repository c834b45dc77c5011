//! Every statement of the conformance cases: what upstream or `decisions.md` accepts parses, and what they refuse
//! while parsing is refused with upstream's text.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may panic")]

use std::path::Path;

use thalweg_core::Value;
use thalweg_core::json::{Numbers, parse as parse_json};
use thalweg_sql::{Statement, parse, parse_error, parse_expr, parse_query, print};

/// Causes that need to know functions, columns or clauses: the planner's part.
const PLANNED: &[&str] = &[
    "function ",
    "validate function ",
    "Not allowed to call aggregate functions",
    "Found OVER after non analytic function",
    "window functions can only be in select fields",
    "select clause shouldn't has",
    "select statement shouldn't has",
];

struct Case {
    id: String,
    sql: String,
    definitions: Vec<String>,
    /// Status and error of the creation.
    status: f64,
    stage: String,
    error: Option<String>,
}

fn text(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Map(fields) => match fields.get(key) {
            Some(Value::Str(text)) => Some(text.to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn get(value: &Value, key: &str) -> Value {
    match value {
        Value::Map(fields) => fields.get(key).cloned().unwrap_or_default(),
        _ => Value::Null,
    }
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/cases");
    let mut cases = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let lines = std::fs::read_to_string(file.unwrap().path()).unwrap();
        cases.extend(lines.lines().filter(|line| !line.trim().is_empty()).map(case));
    }
    cases
}

fn case(line: &str) -> Case {
    let json = parse_json(line.as_bytes(), Numbers::Float).unwrap();
    let Value::List(streams) = get(&json, "streams") else { panic!("streams of {line}") };
    let definitions = streams.iter().filter_map(|stream| {
        let name = text(stream, "name")?;
        Some(text(stream, "ddl")?.replace("{name}", &name).replace("{source}", "topic"))
    });
    let expect = get(&json, "expect");
    let Value::Float(status) = get(&expect, "create") else { panic!("status of {line}") };
    Case {
        id: text(&json, "id").unwrap(),
        sql: text(&json, "sql").unwrap(),
        definitions: definitions.collect(),
        status,
        stage: text(&expect, "stage").unwrap_or_default(),
        error: text(&expect, "error"),
    }
}

#[test]
fn accepted_statements_parse_and_print_to_what_parses_to_the_same_text() {
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case.status == 201.0) {
        for definition in &case.definitions {
            if let Err(mistakes) = parse(definition) {
                wrong.push(format!("{} {definition}: {}", case.id, parse_error(definition, &mistakes)));
            }
        }
        match parse_query(&case.sql) {
            Err(mistakes) => wrong.push(format!("{} {}", case.id, parse_error(&case.sql, &mistakes))),
            Ok(query) => {
                let printed = print::query(&query);
                let again = parse_query(&printed).map(|query| print::query(&query));
                if again.as_ref() != Ok(&printed) {
                    wrong.push(format!("{} {} prints as {printed}, then {again:?}", case.id, case.sql));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn refused_statements_have_upstreams_text() {
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case.status != 201.0) {
        // Some of upstream's causes end in a line break, which we leave out before its final dot.
        let Some(expected) = case.error.as_deref().map(without_break) else { continue };
        let expected = &expected;
        let found = match case.stage.as_str() {
            "stream" => definition_error(case),
            _ => query_error(case, expected),
        };
        match found {
            Some(found) if found.starts_with(expected.as_str()) => {}
            None => {}
            Some(found) => wrong.push(format!("{}\n  expected {expected}\n  found    {found}", case.id)),
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

fn without_break(error: &str) -> String {
    error.strip_suffix('.').map_or_else(|| error.to_owned(), |cause| format!("{}.", cause.trim_end()))
}

fn definition_error(case: &Case) -> Option<String> {
    // Which formats exist is the engine's part.
    let known = |error: &&String| !error.starts_with("option 'format=");
    case.error.as_ref().filter(known)?;
    let refused = case.definitions.iter().find_map(|definition| parse(definition).err());
    Some(refused.map_or_else(|| "accepted".to_owned(), |mistakes| mistakes[0].message.clone()))
}

/// What the parser says, or `None` if it accepts what only the planner can refuse.
fn query_error(case: &Case, expected: &str) -> Option<String> {
    let prefix = format!("Parse SQL {} error: ", case.sql);
    let cause = expected.strip_prefix(&prefix);
    let planned = match cause {
        Some(cause) => PLANNED.iter().any(|start| cause.starts_with(start)),
        None => !expected.starts_with("SQL "),
    };
    match parse_query(&case.sql) {
        Ok(_) if planned => None,
        Ok(_) => Some("accepted".to_owned()),
        Err(mistakes) => Some(parse_error(&case.sql, &mistakes)),
    }
}

fn check(text: &str, printed: &str) {
    let shown = match parse(text) {
        Ok(Statement::Query(query)) => print::query(&query),
        Ok(other) => format!("{other:?}"),
        Err(mistakes) => parse_error(text, &mistakes),
    };
    assert_eq!(shown, printed, "{text}");
}

fn check_expr(text: &str, printed: &str) {
    let shown = match parse_expr(text) {
        Ok(expr) => print::expr(&expr),
        Err(mistakes) => thalweg_core::diagnostic::report(text, &mistakes),
    };
    assert_eq!(shown, printed, "{text}");
}

#[test]
fn g_1_precedence_and_tight_postfix_forms() {
    check_expr("a or b and c = d + e * f", "a OR b AND c = d + e * f");
    check_expr("(a or b) and c", "(a OR b) AND c");
    check_expr("1|2&3", "1 | 2 & 3");
    check_expr("(1|2)&3", "(1 | 2) & 3");
    check_expr("8/(2/2)", "8 / (2 / 2)");
    check_expr("2*arr[1]", "2 * arr[1]");
    check_expr("2*o->p.q[1:][:2][]", "2 * o->p->q[1:][:2][:]");
    check_expr("(a+b)[0]", "(a + b)[0]");
    check_expr("a and not b = c or d", "a AND NOT b = c OR d");
    check_expr("a || b = c", "a || b = c");
}

#[test]
fn g_2_and_g_3_bounds_are_operands_and_lists_are_not_empty() {
    check_expr("a+1 between b and 5 and c", "a + 1 BETWEEN b AND 5 AND c");
    check_expr("a not between (1+1) and 5", "a NOT BETWEEN (1 + 1) AND 5");
    check_expr("a not in (1, b+2) or a in arr", "a NOT IN (1, b + 2) OR a IN arr");
    check_expr(
        "a in not b",
        "expect expression after IN, but got NOT (line 1, column 6; write x IN (a, b), or NOT x IN (a, b))",
    );
    check_expr(
        "a in ()",
        "expect elements for IN expression, but found \")\", expected expression. (line 1, column 7; a value is missing between ( and ))",
    );
}

#[test]
fn l_14_and_l_16_signs_null_tests_and_concatenation_are_accepted() {
    check_expr("- 3", "-3");
    check_expr("-9223372036854775808", "-9223372036854775808");
    check_expr("99999999999999999999", "9223372036854775807");
    check_expr("5 - -3", "5 - -3");
    check_expr("-a[0] * - (b)", "-a[0] * -b");
    check_expr("+x", "x");
    check_expr("- - x", "-(-x)");
    check_expr("a is not null and not b is null", "a IS NOT NULL AND NOT b IS NULL");
    check_expr("is is null", "`is` IS NULL");
    check_expr("a <> NULL", "a != NULL");
}

#[test]
fn l_10_time_units_are_names_outside_window_calls() {
    check("SELECT ss, ms AS dd FROM s", "SELECT ss, ms AS dd FROM s");
}

#[test]
fn g_4_a_case_takes_any_condition() {
    check_expr(
        "case when isNull(a) then 1 when (b) then 2 else 3 end",
        "CASE WHEN isNull(a) THEN 1 WHEN b THEN 2 ELSE 3 END",
    );
}

#[test]
fn g_7_joins_without_a_kind_are_inner_and_outer_is_noise() {
    check(
        "SELECT * FROM a JOIN b ON a.x=b.x LEFT OUTER JOIN c ON true GROUP BY COUNTWINDOW(2)",
        "SELECT * FROM a INNER JOIN b ON a.x = b.x LEFT JOIN c ON TRUE GROUP BY COUNTWINDOW(2)",
    );
    check(
        "SELECT a b FROM s",
        "Parse SQL SELECT a b FROM s error: found \"b\", expected FROM.. (line 1, column 10; an alias needs AS before it, and another column a comma: AS b or , b)",
    );
}

#[test]
fn g_8_topics_are_one_name_and_two_names_are_a_forgotten_as() {
    check("SELECT a FROM a/b/#", "SELECT a FROM a/b/#");
    check(
        "SELECT a FROM demo p",
        "fail to get stream demop, please check if stream is created (line 1, column 20; write demo AS p)",
    );
}

#[test]
fn beyond_upstream_subqueries_with_and_union_all() {
    let text = "WITH w AS (SELECT a FROM s) SELECT x.a FROM (SELECT * FROM w WHERE a > 1) AS x UNION ALL SELECT b FROM t ORDER BY b";
    check(text, text);
    check(
        "SELECT a FROM (SELECT a FROM s)",
        "Parse SQL SELECT a FROM (SELECT a FROM s) error: found \"(\", expected EOF.. (line 1, column 15; a sub-query needs an alias: (SELECT …) AS name)",
    );
    check("SELECT `with`, union FROM s", "SELECT `with`, `union` FROM s");
}

#[test]
fn windows_keep_filter_over_and_partition() {
    let text = "SELECT a FROM s GROUP BY (COUNTWINDOW(0)), (COUNTWINDOW(1) + 1)";
    check(text, text);
    let text = "SELECT a FROM s GROUP BY b, SLIDINGWINDOW(ss, 10, 2) FILTER(WHERE a > 1) OVER(WHEN a = 2 PARTITION BY c, d)";
    check(text, text);
    check(
        "SELECT a FROM s GROUP BY STATEWINDOW(a=1, ss > 2), COUNTWINDOW(1)",
        "SELECT a FROM s GROUP BY STATEWINDOW(a = 1, ss > 2)",
    );
    let text = "SELECT lag(a) OVER (PARTITION BY b WHEN c), row_number() OVER (PARTITION BY a ORDER BY b DESC) INVISIBLE FROM s";
    check(text, text);
}

#[test]
fn mistakes_name_place_and_advice() {
    check(
        "SELECT a FRM demo",
        "Parse SQL SELECT a FRM demo error: found \"FRM\", expected FROM.. (line 1, column 10; did you mean FROM?)",
    );
    check(
        "CREATE STWREAM s ()",
        "Parse SQL CREATE STWREAM s () error: found \"STWREAM\", expected keyword stream or table.. (line 1, column 8; did you mean STREAM?)",
    );
    check_expr(
        "a + _b",
        "found \"\", expected expression. (line 1, column 5; quote it with backticks: `_b`)",
    );
    check_expr(
        "a + order",
        "found \"ORDER\", expected expression. (line 1, column 5; ORDER is a reserved word; as a name quote it with backticks: `order`)",
    );
}

#[test]
fn every_part_knows_its_place() {
    let text = "SELECT -(a) + o.p->q AS `x y`, f(b)[1] FROM s JOIN a/b ON s.i IN (1, 2) GROUP BY COUNTWINDOW(2) OVER(WHEN true) LIMIT 1";
    let query = parse_query(text).unwrap();
    let select = &query.selects[0];
    let written = |span: thalweg_core::Span| &text[span.start as usize..span.end as usize];
    assert_eq!(written(select.span), text);
    assert_eq!(written(select.fields[0].expr.span), "-(a) + o.p->q");
    assert_eq!(written(select.fields[0].alias.as_ref().unwrap().span), "`x y`");
    assert_eq!(written(select.fields[1].expr.span), "f(b)[1]");
    assert_eq!(written(select.joins[0].span), "JOIN a/b ON s.i IN (1, 2)");
    assert_eq!(written(select.joins[0].on.as_ref().unwrap().span), "s.i IN (1, 2)");
    assert_eq!(written(select.window.as_ref().unwrap().span), "COUNTWINDOW(2) OVER(WHEN true)");
    assert!(parse_expr("(a)").unwrap().is_parenthesized && !parse_expr("a").unwrap().is_parenthesized);
}

#[test]
fn d_2_option_values_in_any_spelling() {
    let text = "create stream s () with (datasource='x' Format=\"json\", RETAIN_SIZE=3, shared=TRUE, KIND=\"SCAN\",);rest";
    let Ok(Statement::Create(create)) = parse(text) else { panic!("{:?}", parse(text)) };
    let options: Vec<String> =
        create.options.iter().map(|(name, value)| format!("{}={value}", name.text)).collect();
    assert_eq!(options.join(" "), "DATASOURCE=x FORMAT=json RETAIN_SIZE=3 SHARED=true KIND=scan");
}

#[test]
fn deep_and_long_statements_are_refused_and_do_not_overflow_the_stack() {
    let deep = |open: &str, close: &str| format!("{}a{}", open.repeat(5_000), close.repeat(5_000));
    for text in
        [deep("(", ")"), deep("-(", ")"), deep("NOT ", ""), deep("- ", ""), deep("f(", ")"), deep("a+(", ")")]
    {
        assert_eq!(
            parse_expr(&text).unwrap_err()[0].message,
            "the statement is nested too deeply",
            "{}",
            &text[..20]
        );
    }
    let text = deep("CASE WHEN ", " THEN 1 END");
    assert_eq!(parse_expr(&text).unwrap_err()[0].message, "the statement is nested too deeply");
    let text = deep("SELECT a FROM (", ") AS x");
    assert_eq!(parse_query(&text).unwrap_err()[0].message, "the statement is nested too deeply");
    let text = format!("CREATE STREAM s (a {}BIGINT{}) WITH ()", "ARRAY(".repeat(5_000), ")".repeat(5_000));
    assert_eq!(parse(&text).unwrap_err()[0].message, "the type is nested too deeply");
    let text = vec!["a = 1"; 50_000].join(" OR ");
    assert_eq!(parse_expr(&text).unwrap_err()[0].message, "the expression is too long");
    let text = format!("a{}", "[0]->b".repeat(40_000));
    assert_eq!(parse_expr(&text).unwrap_err()[0].message, "the expression is too long");
}

/// One megabyte of each, on the stack of a worker. The time limit is far above what it takes.
#[test]
fn a_megabyte_of_anything_is_refused_soon_with_a_short_text() {
    let parts = [
        "(", ")", "a ", "a,", "'", "\"", "`", ",", "0", "a", "SELECT ", "FROM ", "f(", "a=1 OR ", "-", "!",
        "温", "\0", "/*", "{", "[1", "e\u{301}",
    ];
    for part in parts {
        let body = part.repeat((1 << 20) / part.len());
        let is_typical = ["(", "a ", "'"].contains(&part);
        let starts =
            ["SELECT ", "", "SELECT a FROM s WHERE ", "CREATE STREAM s (", "CREATE STREAM s () WITH ("];
        for start in &starts[..if is_typical { 5 } else { 1 }] {
            let text = format!("{start}{body}");
            let work = move || {
                let begun = std::time::Instant::now();
                // A number of a million digits and the like are odd, but right.
                let mistakes = parse(&text).err().unwrap_or_default();
                (parse_error(&text, &mistakes).len(), begun.elapsed())
            };
            let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap();
            let (length, time) = worker.join().unwrap();
            assert!(length < 20_000, "{start}{part}…: a report of {length} bytes");
            assert!(time.as_secs() < 10, "{start}{part}…: {time:?}");
        }
    }
}

#[test]
fn a_zero_byte_a_lone_quote_and_look_alikes_are_named() {
    for (text, expected) in [
        (
            "SELECT a\0 FROM s",
            "found \"EOF\", expected FROM.. (line 1, column 9; the text ends at a zero character (U+0000))",
        ),
        (
            "SELECT a FROM s WHERE b = '",
            "found \"\\\"\", expected expression.. (line 1, column 27, at '; the text is not closed)",
        ),
        (
            "SELECT a FROM s WHERE b = ‘x’",
            "found \"\", expected expression.. (line 1, column 27; ‘ (U+2018) is not the plain sign; write ')",
        ),
        (
            "SELECT\u{a0}a FROM s",
            "found \"\", expected expression.. (line 1, column 7; an invisible character (U+00A0) stands here; write a plain blank)",
        ),
        (
            "SELECT а FROM s",
            "found \"\", expected expression.. (line 1, column 8; а (U+0430) looks like a Latin letter but is none)",
        ),
    ] {
        let report = parse_error(text, &parse(text).unwrap_err());
        assert_eq!(report, format!("Parse SQL {text} error: {expected}"));
    }
}

#[test]
fn long_enough_statements_are_accepted() {
    let fields: Vec<String> = (0..1_000).map(|i| format!("a{i} * 2 + 1 AS b{i}")).collect();
    parse_query(&format!("SELECT {} FROM s", fields.join(", "))).unwrap();
    let arms = "WHEN a = 1 AND b = 2 THEN 3 ".repeat(1_000);
    parse_expr(&format!("CASE {arms}END")).unwrap();
    parse_expr(&format!("{}a{}", "f(".repeat(45), ")".repeat(45))).unwrap();
    let text = vec!["a = 1"; 500].join(" OR ");
    assert_eq!(print::expr(&parse_expr(&text).unwrap()), text);
    let text = format!("a{}", "->b".repeat(1_000));
    assert_eq!(print::expr(&parse_expr(&text).unwrap()), text);
    let text = format!("{}a{}", "b + (".repeat(24), ")".repeat(24));
    parse_expr(&text).unwrap();
    let text = format!("a IN ({})", vec!["1"; 10_000].join(", "));
    assert_eq!(print::expr(&parse_expr(&text).unwrap()), text);
}

mod random {
    use proptest::prelude::*;
    use thalweg_sql::{parse, parse_expr, parse_query, print};

    const SOUP: &[&str] = &[
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP",
        "BY",
        "HAVING",
        "ORDER",
        "LIMIT",
        "AS",
        "a",
        "b",
        "`c d`",
        "_",
        "(",
        ")",
        "[",
        "]",
        ":",
        "->",
        ".",
        "*",
        "+",
        "-",
        "/",
        "%",
        "&",
        "|",
        "||",
        "^",
        "=",
        "!=",
        "<>",
        "<",
        "!",
        "AND",
        "OR",
        "NOT",
        "IN",
        "BETWEEN",
        "LIKE",
        "IS",
        "NULL",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "1",
        "1.5",
        "1.2.3",
        "'x'",
        "'",
        "TRUE",
        ",",
        ";",
        "COUNTWINDOW(",
        "ss",
        "OVER",
        "FILTER",
        "PARTITION",
        "JOIN",
        "LEFT",
        "ON",
        "UNION",
        "ALL",
        "WITH",
        "CREATE",
        "STREAM",
        "ARRAY",
        "STRUCT",
        "BIGINT",
        "EXCEPT",
        "REPLACE",
        "INVISIBLE",
        "温",
        "/*",
        "--",
        "\n",
        "\\",
    ];

    proptest! {
        #[test]
        fn token_soup_never_panics(words in prop::collection::vec(prop::sample::select(SOUP), 0..40), prefix in 0..4usize) {
            let prefix = ["", "SELECT ", "SELECT a FROM s ", "CREATE STREAM s ("][prefix];
            let text = format!("{prefix}{}", words.join(" "));
            let _ = parse(&text);
            let _ = parse_query(&text).map_err(|mistakes| mistakes[0].render(&text));
        }

        #[test]
        fn any_text_never_panics(text in ".{0,60}") {
            let _ = parse(&text);
            let _ = parse(&format!("SELECT {text}"));
        }

        #[test]
        fn what_parses_prints_to_what_parses_alike(words in prop::collection::vec(prop::sample::select(SOUP), 1..12)) {
            if let Ok(expr) = parse_expr(&words.join(" ")) {
                let printed = print::expr(&expr);
                let again = parse_expr(&printed).map(|expr| print::expr(&expr));
                prop_assert_eq!(again, Ok(printed));
            }
        }
    }
}
