//! Templates over data as text: the worked examples of `connectors.md` 4.4, and the rules around them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::json::{Numbers, parse};
use thalweg_core::{Fields, Timestamp, Value};
use thalweg_template::{Context, Data, Template};

/// The result, or `error: …`.
fn render_value(template: &str, data: Value) -> String {
    let template = match Template::parse(template) {
        Ok(template) => template,
        Err(error) => return format!("error: {}", error.message),
    };
    let prop = |name: &str| (name == "plant").then(|| "p1".to_owned());
    let cx = Context { now: Timestamp(1_753_350_000_500), zone: Tz::UTC, prop: &prop };
    let rows: Option<Vec<Arc<Fields>>> = match &data {
        Value::List(items) => items
            .iter()
            .map(|item| if let Value::Map(row) = item { Some(Arc::clone(row)) } else { None })
            .collect(),
        _ => None,
    };
    let data = match (&data, &rows) {
        (Value::Map(row), _) => Data::Row(row),
        (_, Some(rows)) => Data::Rows(rows),
        (other, _) => Data::Value(other),
    };
    template.render_text(data, &cx).unwrap_or_else(|error| format!("error: {error}"))
}

fn render(template: &str, data: &str) -> String {
    render_value(template, parse(data.as_bytes(), Numbers::Float).unwrap())
}

fn check(template: &str, data: &str, expected: &str) {
    assert_eq!(render(template, data), expected, "{template} over {data}");
}

#[test]
fn worked_examples_of_4_4() {
    check(
        r#"{"content":{{json .}}}"#,
        r#"{"ab":"hello1","n":3.5}"#,
        r#"{"content":{"ab":"hello1","n":3.5}}"#,
    );
    check("{{json .}}", r#"[{"a":1,"b":"x"},{"a":2}]"#, r#"[{"a":1,"b":"x"},{"a":2}]"#);
    check(
        r#"{"room":"{{.room}}","hot":{{if gt .t 30.0}}true{{else}}false{{end}}}"#,
        r#"{"room":"k1","t":31.5}"#,
        r#"{"room":"k1","hot":true}"#,
    );
    check(
        "{{range $i, $r := .}}{{if $i}};{{end}}{{$r.id}}={{$r.v}}{{end}}",
        r#"[{"id":"p","v":1.5},{"id":"q","v":2}]"#,
        "p=1.5;q=2",
    );
    check("{{(index . 0).id}}/{{len .}}", r#"[{"id":"p"},{"id":"q"}]"#, "p/2");
    check(
        "{{.ts}} {{int64 .ts}} {{toJson .ts}}",
        r#"{"ts":1753350000123}"#,
        "1.753350000123e+12 1753350000123 1753350000123",
    );
    check(r#"{{.id | upper}}-{{.v | printf "%.2f"}}"#, r#"{"id":"ab","v":2.345}"#, "AB-2.35");
    check("{{with .sub}}{{.x}}{{else}}none{{end}}", r#"{"id":1}"#, "none");
    check("{{range .list}}[{{.}}]{{else}}empty{{end}}", r#"{"list":[]}"#, "empty");
    check(
        "{{$n := len .list}}{{range $i,$e := .list}}{{$e}}{{if lt (add1 $i) $n}},{{end}}{{end}}",
        r#"{"list":[1,2,3]}"#,
        "1,2,3",
    );
    check(
        r#"{{default "na" .x}} {{coalesce .x .y "z"}} {{ternary "on" "off" .b}}"#,
        r#"{"b":true}"#,
        "na z on",
    );
    check("{{b64enc .s}}", r#"{"s":"hi"}"#, "aGk=");
    check("{{base64 .}}", r#"{"a":1}"#, "eyJhIjoxfQ==");
    check(r#"{{get . "a b"}} {{index . "a b"}}"#, r#"{"a b":7}"#, "7 7");
    check(
        r#"{{pick . "a" "c" | toJson}} {{omit . "a" | toJson}}"#,
        r#"{"a":1,"b":2,"c":3}"#,
        r#"{"a":1,"c":3} {"b":2,"c":3}"#,
    );
    check(r#"{"s":{{toJson .s}}}"#, r#"{"s":"a\"b<c>"}"#, r#"{"s":"a\"b\u003cc\u003e"}"#);
    check(r#"{{index (splitList "/" .topic) 1}}"#, r#"{"topic":"plant/7/pump"}"#, "7");
    check(
        r#"{{dateInZone "2006-01-02T15:04:05Z" (int64 .t) "UTC"}}"#,
        r#"{"t":1753350000}"#,
        "2025-07-24T09:40:00Z",
    );
    check(r#"{{dict "x" 1 "y" .v | toJson}}"#, r#"{"v":2}"#, r#"{"x":1,"y":2}"#);
    check(r#"{{define "x"}}<{{.}}>{{end}}{{template "x" .a}}"#, r#"{"a":1}"#, "<1>");
}

#[test]
fn t_4_8_numbers_compare_by_value_as_decided() {
    check(
        "{{eq .a 1}} {{lt .a 2}} {{ge 1 .a}} {{ne .a 1.5}} {{eq .a 3 1}}",
        r#"{"a":1}"#,
        "true true true true true",
    );
    check(
        r#"{{eq .a "1"}}"#,
        r#"{"a":1}"#,
        r#"error: template: sink:1:2: executing "sink" at <eq>: error calling eq: incompatible types for comparison"#,
    );
}

#[test]
fn mistakes_in_the_text_are_found_when_parsing() {
    check("{{.a", "{}", "error: template: sink:1: unclosed action");
    check("x\n{{nope .a}}", "{}", "error: template: sink:2: function \"nope\" not defined");
    check("{{env \"HOME\"}}", "{}", "error: template: sink:1: function \"env\" not defined");
    check("{{if .a}}x", "{}", "error: template: sink:1: unexpected EOF");
    check("{{end}}", "{}", "error: template: sink:1: unexpected {{end}}");
    check("{{$x}}", "{}", "error: template: sink:1: undefined variable \"$x\"");
    check("{{.a | 1}}", "{}", "error: template: sink:1: non executable command in pipeline stage 2");
    check("{{if}}x{{end}}", "{}", "error: template: sink:1: missing value for if");
    check("{{(.a}}", "{}", "error: template: sink:1: unclosed left paren");
    check("{{\"a}}", "{}", "error: template: sink:1: unterminated quoted string");
    check("{{break}}", "{}", "error: template: sink:1: {{break}} outside {{range}}");
    check("{{/* a }}", "{}", "error: template: sink:1: unclosed comment");
    assert_eq!(Template::parse("{{uper .a}}").unwrap_err().help.unwrap(), "did you mean upper?");
}

#[test]
fn t_4_2_syntax() {
    check("a {{- .x -}} b", r#"{"x":1}"#, "a1b");
    check("a {{- /* c */ -}} b{{/* d */}}", "{}", "ab");
    check("{{$x := 1}}{{if true}}{{$x = 2}}{{$y := 3}}{{end}}{{$x}}", "{}", "2");
    check("{{if .a}}1{{else if .b}}2{{else}}3{{end}}", r#"{"b":1}"#, "2");
    check("{{with .a}}1{{else with .b}}{{.}}{{else}}3{{end}}", r#"{"b":5}"#, "5");
    check(
        "{{range .}}{{if eq .a 2}}{{continue}}{{end}}{{if eq .a 4}}{{break}}{{end}}{{.a}}{{end}}",
        r#"[{"a":1},{"a":2},{"a":3},{"a":4}]"#,
        "13",
    );
    check("{{range $k, $v := .}}{{$k}}={{$v}} {{end}}", r#"{"b":1,"a":2}"#, "a=2 b=1 ");
    check("{{range 3}}{{.}}{{end}}", "{}", "012");
    check("{{range .l}}{{$.k}}{{.}}{{end}}", r#"{"l":[1,2],"k":"x"}"#, "x1x2");
    check("{{block \"b\" .a}}[{{.}}]{{end}}{{template \"b\" 2}}", r#"{"a":1}"#, "[1][2]");
    check("{{`raw\\n`}}{{\"q\\t\\\"\"}}{{'a'}}{{0x10}}{{-1.5e1}}{{true}}", "{}", "raw\\nq\t\"9716-15true");
    check("{{(dict \"a\" (dict \"b\" 3)).a.b}}", "{}", "3");
    check("{{.a.b | printf \"%s-%s\" \"x\" | upper}}", r#"{"a":{"b":"y"}}"#, "X-Y");
    check("{{not .a}} {{and 1 0 .x.y}} {{or 0 \"\" \"z\"}}", "{}", "true 0 z");
}

#[test]
fn t_4_6_absent_and_null_print_no_value() {
    check(
        "{{.x}} {{.n}} {{.x.y.z}} {{.n.y}}",
        r#"{"n":null}"#,
        "<no value> <no value> <no value> <no value>",
    );
    check(
        "{{.a.b}}",
        r#"{"a":1}"#,
        r#"error: template: sink:1:2: executing "sink" at <.a.b>: can't evaluate field b in type interface {}"#,
    );
    check(
        "{{.x}}",
        r#"[{"x":1}]"#,
        r#"error: template: sink:1:2: executing "sink" at <.x>: can't evaluate field x in type []map[string]interface {}"#,
    );
}

#[test]
fn t_4_7_floats_print_as_percent_v_and_t_4_11_maps_in_key_order() {
    check(
        "{{.a}} {{.b}} {{.c}} {{.d}}",
        r#"{"a":20,"b":999999,"c":1000000,"d":0.00001}"#,
        "20 999999 1e+06 1e-05",
    );
    check("{{.}}", r#"{"b":1,"a":[1,"x",null]}"#, "map[a:[1 x <nil>] b:1]");
    check("{{toRawJson .s}} {{toJson .s}}", r#"{"s":"<a&b>\n"}"#, r#""<a&b>\n" "\u003ca\u0026b\u003e\n""#);
    check(
        "{{toPrettyJson .}}",
        r#"{"a":[1,{}],"b":{"c":"x:,y"}}"#,
        "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": \"x:,y\"\n  }\n}",
    );
    let bytes = Value::map(Fields::from([
        ("b".into(), Value::Bytes(b"hi".to_vec().into())),
        ("i".into(), Value::Int(1_000_000)),
    ]));
    assert_eq!(render_value("{{.b}} {{toJson .b}} {{.i}}", bytes), "[104 105] \"aGk=\" 1000000");
}

#[test]
fn t_4_9_arithmetic() {
    check(
        "{{add 1.7 2.6}} {{mul 2 3.9}} {{div 7 2}} {{mod 7 4}} {{sub 1 3}} {{max 1 5 2}} {{min 3 1}}",
        "{}",
        "3 6 3 3 -2 5 1",
    );
    check(
        "{{addf 1.5 2}} {{divf 7 2}} {{addf 0.1 0.2}} {{mulf 0.1 3}} {{subf 0.3 0.1}}",
        "{}",
        "3.5 3.5 0.3 0.3 0.2",
    );
    check(
        "{{round 3.14159 2}} {{floor 1.7}} {{ceil 1.2}} {{int \"42\"}} {{float64 \"1.5\"}}",
        "{}",
        "3.14 1 2 42 1.5",
    );
    check(
        "{{div 1 0}}",
        "{}",
        "error: template: sink:1:2: executing \"sink\" at <div>: error calling div: runtime error: integer divide by zero",
    );
}

#[test]
fn printf_prints_as_gos() {
    check(r#"{{printf "%d" .a}}"#, r#"{"a":3}"#, "%!d(float64=3)");
    check(
        r#"{{printf "%5d|%-5s|%05.1f|%+d|%x|%q|%t|%v|%%" 42 "ab" 3.14159 7 255 "q" true nil}}"#,
        "{}",
        "   42|ab   |003.1|+7|ff|\"q\"|true|<nil>|%",
    );
    check(
        r#"{{printf "%s %d" "a"}} {{printf "a" 1}} {{printf "%"}}"#,
        "{}",
        "a %!d(MISSING) a%!(EXTRA int=1) %!(NOVERB)",
    );
    check(
        r#"{{printf "%.0f %e %g %.3g" .a .a .a .a}}"#,
        r#"{"a":1234567.5}"#,
        "1234568 1.234568e+06 1.2345675e+06 1.23e+06",
    );
    check(r#"{{print 1 2 "a" 3}} {{println "x" 1}}"#, "{}", "1 2a3 x 1\n");
}

#[test]
fn t_4_10_truth_and_bounds() {
    check(
        "{{if .z}}1{{end}}{{if .e}}2{{end}}{{if .l}}3{{end}}{{if .m}}4{{end}}{{if .x}}5{{end}}",
        r#"{"z":0,"e":"","l":[],"m":{}}"#,
        "",
    );
    check(
        "{{index .l 0}}",
        r#"{"l":[]}"#,
        "error: template: sink:1:2: executing \"sink\" at <index>: error calling index: slice index out of range",
    );
}

#[test]
fn text_functions() {
    check(
        r#"{{title "ab cd"}} {{trim " x "}} {{trimAll "-" "--a-"}} {{trimPrefix "a" "ab"}} {{trimSuffix "b" "ab"}}"#,
        "{}",
        "Ab Cd x a b a",
    );
    check(
        r#"{{trunc 2 "äöü"}} {{trunc -2 "äöü"}} {{substr 1 2 "äöü"}} {{replace "a" "b" "aXa"}} {{repeat 2 "ab"}}"#,
        "{}",
        "äö öü ö bXb abab",
    );
    check(
        r#"{{contains "b" "abc"}} {{hasPrefix "a" "abc"}} {{hasSuffix "a" "abc"}} {{(split "/" "a/b")._1}}"#,
        "{}",
        "true true false b",
    );
    check(
        r#"{{join "-" .l}} {{quote "a" 1}} {{squote "a"}} {{empty ""}} {{list 1 2 | toJson}}"#,
        r#"{"l":[1,null,"x"]}"#,
        r#"1-x "a" "1" 'a' true [1,2]"#,
    );
    check(
        r#"{{regexMatch "^a+$" "aa"}} {{regexReplaceAll "a(b)" "ab-ab" "${1}x"}} {{urlquery "a b&c"}}"#,
        "{}",
        "true bx-bx a+b%26c",
    );
    // Patterns are Go's: \w is ASCII, and a brace that begins no repetition is itself.
    check(
        r#"{{regexMatch "^\\w$" "é"}} {{regexMatch "{\"a" .t}} {{regexFind "[0-9]+" "a12"}}"#,
        r#"{"t":"{\"a\":1}"}"#,
        "false true 12",
    );
    check(
        r#"{{upper .a}}"#,
        r#"{"a":1}"#,
        "error: template: sink:1:2: executing \"sink\" at <upper>: error calling upper: wrong type for value; expected string; got float64",
    );
    check(
        r#"{{html "<a&\"'>"}} {{js "a'b"}} {{b64dec "aGk="}} {{(fromJson "{\"a\":1}").a}}"#,
        "{}",
        "&lt;a&amp;&#34;&#39;&gt; a\\'b hi 1",
    );
}

#[test]
fn lists_and_dictionaries_leave_the_row_as_it_is() {
    check(
        r#"{{first .l}} {{last .l}} {{rest .l}} {{initial .l}} {{append .l 4}} {{prepend .l 0}} {{has 2 .l}} {{uniq (list 1 1 2)}} {{reverse .l}}"#,
        r#"{"l":[1,2,3]}"#,
        "1 3 [2 3] [1 2] [1 2 3 4] [0 1 2 3] true [1 2] [3 2 1]",
    );
    check(
        r#"{{sortAlpha (list "b" "a")}} {{keys .}} {{values .}} {{hasKey . "a"}} {{slice .l 1 2}}"#,
        r#"{"l":[1,2],"a":1}"#,
        "[a b] [a l] [1 [1 2]] true [2]",
    );
    check(r#"{{$x := set . "a" 2}}{{.a}} {{$x.a}} {{(unset . "a").a}}"#, r#"{"a":1}"#, "1 2 <no value>");
}

#[test]
fn t_4_12_dates() {
    check(
        r#"{{unixEpoch now}} {{date "2006-01-02 15:04:05.000 Mon Jan _2 3PM MST -07:00 Z07:00" now}}"#,
        "{}",
        "1753350000 2025-07-24 09:40:00.500 Thu Jul 24 9AM UTC +00:00 Z",
    );
    check(
        r#"{{dateInZone "15:04 MST -0700" (int64 .t) "Europe/Berlin"}} {{date "15:04" .t}}"#,
        r#"{"t":0}"#,
        "01:00 CET +0100 09:40",
    );
    check(
        r#"{{unixEpoch (toDate "2006-01-02T15:04:05Z07:00" "2025-07-24T11:40:00+02:00")}}"#,
        "{}",
        "1753350000",
    );
    check(
        r#"{{toDate "2006-01-02" "2025-07-24" | date "02/01/06"}} {{dateModify "-1h" now | date "15:04"}}"#,
        "{}",
        "24/07/25 08:40",
    );
}

#[test]
fn t_4_4_properties_come_from_the_caller() {
    check(r#"{{prop "plant"}} {{prop "et"}}"#, "{}", "p1 1753350000500");
    check(
        r#"{{prop "nope"}}"#,
        "{}",
        "error: template: sink:1:2: executing \"sink\" at <prop>: error calling prop: property \"nope\" is not set",
    );
}

#[test]
fn uuids_are_random_and_of_version_4() {
    let (a, b) = (render("{{uuidv4}}", "{}"), render("{{uuidv4}}", "{}"));
    assert_ne!(a, b);
    assert_eq!((a.len(), &a[14..15], a.matches('-').count()), (36, "4", 4));
}

#[test]
fn plain_text_has_no_action() {
    assert!(Template::is_plain("a { b"));
    assert!(!Template::is_plain("a {{.b}}"));
}

#[test]
fn deep_and_endless_templates_are_refused() {
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(2_000), ")".repeat(2_000));
    check(&deep, "{}", "error: template: sink:1: nested too deeply");
    let inner = format!("{}{{{{template \"x\"}}}}{}", "{{if 1}}".repeat(45), "{{end}}".repeat(45));
    let nested = format!("{{{{define \"x\"}}}}{inner}{{{{end}}}}{{{{template \"x\"}}}}");
    assert!(render(&nested, "{}").ends_with("exceeded maximum template depth (100)"));
    check(&"{{if 1}}".repeat(2_000), "{}", "error: template: sink:1: nested too deeply");
    check(
        r#"{{define "x"}}{{template "x"}}{{end}}{{template "x"}}"#,
        "{}",
        "error: template: sink:1:16: executing \"sink\" at <template>: exceeded maximum template depth (100)",
    );
    check(
        r#"{{repeat 1000000000 "abc"}}"#,
        "{}",
        "error: template: sink:1:2: executing \"sink\" at <repeat>: error calling repeat: the result is longer than 1048576 bytes",
    );
}

#[test]
fn must_have_functions_exist() {
    let names = "json toJson toRawJson toPrettyJson fromJson base64 b64enc b64dec printf print println len index add add1 sub mul div mod max min addf subf mulf divf floor ceil round int int64 float64 toString upper lower title trim trimAll trimPrefix trimSuffix trunc substr replace contains hasPrefix hasSuffix split splitList join repeat quote squote default empty coalesce ternary list dict get hasKey keys values pick omit first last rest initial append prepend has uniq sortAlpha reverse now date dateInZone unixEpoch toDate urlquery uuidv4 regexMatch regexReplaceAll and or not eq ne lt le gt ge slice html js call prop";
    for name in names.split(' ') {
        assert!(Template::parse(&format!("{{{{{name}}}}}")).is_ok(), "{name}");
    }
}

mod random {
    use super::render;
    use proptest::prelude::*;

    const SOUP: &[&str] = &[
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        ".",
        ".a",
        ".l",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        ",",
        "if",
        "else",
        "end",
        "range",
        "with",
        "define",
        "template",
        "block",
        "break",
        "\"x\"",
        "`",
        "'a'",
        "1",
        "1.5",
        "-",
        "nil",
        "true",
        "index",
        "len",
        "printf",
        "\"%d %s\"",
        "upper",
        "date",
        "\"2006é\"",
        "toDate",
        "substr",
        "trunc",
        "é",
        "/*",
        "*/",
        "dict",
        "json",
        "round",
        "untilStep",
        "dig",
        "slice",
        "ternary",
        "split",
    ];

    proptest! {
        #[test]
        fn token_soup_never_panics(words in prop::collection::vec(prop::sample::select(SOUP), 0..25)) {
            render(&words.join(" "), r#"{"a":1,"l":[1,"x"]}"#);
            render(&format!("{{{{{}}}}}", words.join(" ")), r#"{"a":"é","l":[]}"#);
            render(&words.concat(), "{}");
        }

        #[test]
        fn any_function_with_any_arguments_never_panics(name in prop::sample::select(vec!["substr", "trunc", "slice", "index", "untilStep", "until", "round", "div", "mod", "printf", "toDate", "date", "dateModify", "repeat", "splitn", "indent", "chunk", "dig", "regexSplit", "add", "mulf", "subf", "b64dec", "fromJson", "urlquery", "title"]), args in prop::collection::vec(prop::sample::select(vec!["1", "-1", "9223372036854775807", "-9223372036854775808", "1.5", "-0.0", "1e300", "\"é%*.*dx\"", "\"-07:00.000\"", "\"\"", "nil", ".", ".l", "true", "(list 1 2)"]), 0..5)) {
            render(&format!("{{{{{name} {}}}}}", args.join(" ")), r#"{"a":1,"l":[1,"x"]}"#);
        }
    }
}
