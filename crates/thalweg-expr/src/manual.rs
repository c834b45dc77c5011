//! Table: what the reference says of a function beyond its row: the kind of its result, a remark, and statements as
//! examples. Each statement is a test (`tests/suite/reference.rs`), in the form of `tests/golden`; a statement without a
//! stream of its own reads `stream demo ()`.

/// What the manual says of one function.
#[derive(Debug)]
pub struct Entry {
    /// The function.
    pub name: &'static str,
    /// The kind of the result.
    pub returns: &'static str,
    /// What else a user must know; may be empty.
    pub remark: &'static str,
    /// Statements with rows in and out.
    pub statements: &'static [&'static str],
}

const fn of(
    name: &'static str,
    returns: &'static str,
    remark: &'static str,
    statements: &'static [&'static str],
) -> Entry {
    Entry { name, returns, remark, statements }
}

/// One entry for each function and construct.
#[rustfmt::skip]
pub const MANUAL: &[Entry] = &[
    of("avg", "bigint or float", "Integers and floats together are computed in floats (S13). The mean of integers is cut off towards zero (S11).", &[
        r#"rule   SELECT room, avg(t) AS t FROM demo GROUP BY room, COUNTWINDOW(3)
demo {"room":"a","t":20.5}
demo {"room":"b","t":18.5}
demo {"room":"a","t":21.5}
out  [{"room":"a","t":21},{"room":"b","t":18.5}]"#,
    ]),
    of("count", "bigint", "`count(*)` counts rows, also those that hold nothing. Of no rows it is 0 (S17).", &[
        r#"rule   SELECT count(*) AS n, count(a) AS a FROM demo GROUP BY COUNTWINDOW(3)
demo {"a":1}
demo {"a":null}
demo {}
out  [{"a":1,"n":3}]"#,
    ]),
    of("max", "bigint or float or string", "Numbers are compared by value, texts by code point; both in one group are an error.", &[]),
    of("min", "bigint or float or string", "As `max`.", &[]),
    of("sum", "bigint or float", "Null is passed over; of nothing but nulls the sum is null. A sum beyond 64 bits goes on as a float (S12).", &[]),
    of("collect", "array", "Nulls are kept. `collect(*)` gives whole rows.", &[
        r#"rule   SELECT collect(*)[0]->a AS first, collect(a) AS a FROM demo GROUP BY COUNTWINDOW(2)
demo {"a":1}
demo {"a":null}
out  [{"a":[1,null],"first":1}]"#,
    ]),
    of("last_value", "any", "The second argument must be written as true or false.", &[
        r#"rule   SELECT last_value(a, true) AS value, last_value(a, false) AS plain FROM demo GROUP BY COUNTWINDOW(3)
demo {"a":1}
demo {"a":2}
demo {"a":null}
out  [{"value":2}]"#,
    ]),
    of("merge_agg", "object", "Only the first level is merged; what is no object is passed over. `merge_agg(*)` merges whole rows.", &[
        r#"rule   SELECT merge_agg(*) AS m FROM demo GROUP BY COUNTWINDOW(2)
demo {"a":1,"b":2}
demo {"a":3}
out  [{"m":{"a":3,"b":2}}]"#,
    ]),
    of("deduplicate", "array or object", "With all = false the result is the last row if its key is new in the group, else null: so each new key is told once (S18).", &[
        r#"rule   SELECT deduplicate(a, true) AS d FROM demo GROUP BY COUNTWINDOW(3)
demo {"a":1,"b":1}
demo {"a":1,"b":2}
demo {"a":2,"b":3}
out  [{"d":[{"a":1,"b":1},{"a":2,"b":3}]}]"#,
        r#"rule   SELECT deduplicate(a, false)->b AS b FROM demo GROUP BY COUNTWINDOW(3)
demo {"a":1,"b":1}
demo {"a":1,"b":2}
demo {"a":2,"b":3}
out  [{"b":3}]"#,
    ]),
    of("median", "bigint or float", "Nulls are passed over (S14).", &[]),
    of("stddev", "float", "", &[]),
    of("stddevs", "float", "Of one value null, as the sample says nothing about its spread (S16).", &[]),
    of("var", "float", "", &[]),
    of("vars", "float", "Of one value null (S16).", &[]),
    of("percentile_cont", "float", "p from 0 to 1; the same for all rows of a group (S15).", &[
        r#"rule   SELECT percentile_cont(a, 0.5) AS p, percentile_disc(a, 0.5) AS q FROM demo GROUP BY COUNTWINDOW(4)
demo {"a":10}
demo {"a":40}
demo {"a":20}
demo {"a":30}
out  [{"p":25,"q":20}]"#,
    ]),
    of("percentile_disc", "float", "p from 0 to 1; a value of the group, not one between two (S15).", &[]),
    of("inc_count", "bigint", "Upstream's planner calls it where it aggregates row by row; Thalweg does not need it and keeps it for rules that do.", &[
        r#"rule   SELECT inc_count(a) AS n FROM demo
demo {"a":1}
demo {"a":7}
out  [{"n":1}]
out  [{"n":2}]"#,
    ]),
    of("inc_avg", "float", "Upstream's planner calls it where it aggregates row by row; Thalweg does not need it and keeps it for rules that do.", &[]),
    of("inc_sum", "float", "Upstream's planner calls it where it aggregates row by row; Thalweg does not need it and keeps it for rules that do.", &[]),
    of("inc_max", "any", "Upstream's planner calls it where it aggregates row by row; Thalweg does not need it and keeps it for rules that do.", &[]),
    of("inc_min", "any", "Upstream's planner calls it where it aggregates row by row; Thalweg does not need it and keeps it for rules that do.", &[]),
    of("inc_collect", "array", "Upstream's planner calls it where it aggregates row by row; Thalweg does not need it and keeps it for rules that do.", &[]),
    of("inc_merge_agg", "object", "Upstream's planner calls it where it aggregates row by row; Thalweg does not need it and keeps it for rules that do.", &[]),
    of("inc_last_value", "any", "Upstream's planner calls it where it aggregates row by row; Thalweg does not need it and keeps it for rules that do.", &[]),
    of("abs", "bigint or float", "Integers stay exact (S23).", &[]),
    of("acos", "float", "", &[]),
    of("asin", "float", "", &[]),
    of("atan", "float", "", &[]),
    of("atan2", "float", "", &[]),
    of("bitand", "bigint", "", &[]),
    of("bitor", "bigint", "", &[]),
    of("bitxor", "bigint", "", &[]),
    of("bitnot", "bigint", "", &[]),
    of("ceiling", "float", "", &[]),
    of("floor", "float", "", &[]),
    of("cos", "float", "", &[]),
    of("cosh", "float", "", &[]),
    of("exp", "float", "", &[]),
    of("ln", "float", "Zero and negative numbers give null, counted as an error of the node (S7).", &[]),
    of("log", "float", "With two arguments the base comes first (S24). Outside the domain null, counted (S7).", &[]),
    of("mod", "float", "The remainder has the sign of x. By zero, or of what is no number, null (S22).", &[]),
    of("pi", "float", "", &[]),
    of("power", "float", "What is no number, as (-8)^0.5, is null, counted (S7).", &[]),
    of("rand", "float", "", &[
        r#"rule   SELECT rand() >= 0 AND rand() < 1 AS r FROM demo
demo {}
out  [{"r":true}]"#,
    ]),
    of("round", "float", "A negative number of places rounds to tens and hundreds.", &[]),
    of("sign", "bigint", "", &[]),
    of("sin", "float", "", &[]),
    of("sinh", "float", "", &[]),
    of("sqrt", "float", "Of a negative number null, counted (S7).", &[]),
    of("tan", "float", "", &[]),
    of("tanh", "float", "", &[]),
    of("cot", "float", "", &[]),
    of("radians", "float", "", &[]),
    of("degrees", "float", "", &[]),
    of("conv", "string", "Bases from 2 to 36; a negative source base reads, and a negative target base prints, signed numbers. The longest part that is a number is read.", &[]),
    of("concat", "string", "Other kinds are joined as text; numbers without exponent (S4).", &[]),
    of("endswith", "boolean", "", &[]),
    of("startswith", "boolean", "", &[]),
    of("indexof", "bigint", "Characters are counted, not bytes (S25).", &[]),
    of("length", "bigint", "", &[]),
    of("lower", "string", "", &[]),
    of("upper", "string", "", &[]),
    of("lpad", "string", "n is the number of blanks, not the final width.", &[]),
    of("rpad", "string", "n is the number of blanks, not the final width.", &[]),
    of("ltrim", "string", "", &[]),
    of("rtrim", "string", "", &[]),
    of("trim", "string", "", &[]),
    of("numbytes", "bigint", "", &[]),
    of("regexp_matches", "boolean", "RE2 syntax, found anywhere in the text: no look-around, no back-references.", &[]),
    of("regexp_replace", "string", "`$1` and `${name}` are the groups, `$$` is a dollar; `$1x` is the group named 1x.", &[]),
    of("regexp_substr", "string", "The empty text if nothing matches.", &[]),
    of("reverse", "string", "", &[]),
    of("substring", "string", "Characters are counted from 0 (S25). Past the end nothing is left; a start behind the end is an error.", &[]),
    of("split_value", "string", "An index beyond the parts is an error; a number that is not whole counts as 0.", &[]),
    of("format", "string", "Half to even, unlike `round` (S26). The locale needs its region: `en_US`, not `en`. What is no number is written as 0.", &[]),
    of("cardinality", "bigint", "", &[]),
    of("array_cardinality", "bigint", "", &[]),
    of("array_create", "array", "", &[]),
    of("array_position", "bigint", "", &[]),
    of("array_last_position", "bigint", "", &[]),
    of("element_at", "any", "An index outside of the list is an error; a name that an object does not have gives null.", &[]),
    of("array_contains", "boolean", "Numbers are equal by value, 1 and 1.0 too (S1).", &[]),
    of("array_contains_any", "boolean", "", &[]),
    of("array_remove", "array", "", &[]),
    of("array_intersect", "array", "", &[]),
    of("array_union", "array", "", &[]),
    of("array_except", "array", "", &[]),
    of("array_max", "bigint or float or string", "", &[]),
    of("array_min", "bigint or float or string", "", &[]),
    of("repeat", "array", "", &[]),
    of("sequence", "array of bigints", "", &[]),
    of("array_flatten", "array", "", &[]),
    of("array_distinct", "array", "", &[]),
    of("array_map", "array", "The name in quotes and in lower case: a built-in that can be called with one argument. Its null rule does not hold here (S32).", &[
        r#"rule   SELECT array_map('upper', a) AS a FROM demo
demo {"a":["x","y"]}
out  [{"a":["X","Y"]}]"#,
    ]),
    of("array_join", "string", "", &[]),
    of("array_shuffle", "array", "", &[
        r#"rule   SELECT array_sort(array_shuffle(a)) AS a FROM demo
demo {"a":[3,1,2]}
out  [{"a":[1,2,3]}]"#,
    ]),
    of("array_sort", "array", "Numbers by value, then texts by code point, then everything else (S30).", &[]),
    of("array_concat", "array", "", &[]),
    of("kvpair_array_to_obj", "object", "", &[]),
    of("keys", "array of strings", "In order of the names (S36).", &[]),
    of("values", "array", "In order of the names (S36).", &[]),
    of("items", "array of arrays", "In order of the names (S36).", &[]),
    of("object", "object", "", &[]),
    of("zip", "object", "", &[]),
    of("object_concat", "object", "", &[]),
    of("object_construct", "object", "", &[]),
    of("erase", "object", "The second argument is one name or a list of names; with an empty list the result is null (S5).", &[]),
    of("object_size", "bigint", "", &[]),
    of("object_pick", "object", "Names as arguments or as a list; `a.x` reaches into the inner object and keeps it one.", &[]),
    of("obj_to_kvpair_array", "array of objects", "", &[]),
    of("now", "string", "In the configured zone. With 1 to 6 digits the fraction of the second follows (S37).", &[
        r#"rule   SELECT now() AS t, now(3) AS f FROM demo
demo {}
out  [{"f":"2024-02-29 13:14:00.000","t":"2024-02-29 13:14:00"}]"#,
    ]),
    of("cur_date", "string", "In the configured zone (S44).", &[
        r#"rule   SELECT cur_date() AS d FROM demo
demo {}
out  [{"d":"2024-02-29"}]"#,
    ]),
    of("cur_time", "string", "In the configured zone.", &[
        r#"rule   SELECT cur_time() AS t FROM demo
demo {}
out  [{"t":"13:14:00"}]"#,
    ]),
    of("format_time", "string", "Letters: `YYYY` `YY`, `M` `MM` `MMM` `MMMM`, `d` `dd`, `EEE` `EEEE`, `HH`, `h` `hh`, `a`, `m` `mm`, `s` `ss`, `S…` (a dot and as many digits), `z`, `Z`, `X` `XX` `XXX`, `G`. Text in single quotes and characters behind a backslash stand for themselves. Another run of letters is an error that names it (S39).", &[]),
    of("date_calc", "string", "Units: ns, us, ms, s, m, h; several in a row, a sign in front.", &[]),
    of("date_diff", "bigint", "Nanoseconds (S41).", &[]),
    of("day_name", "string", "", &[]),
    of("day_of_month", "bigint", "", &[]),
    of("day_of_week", "bigint", "Sunday is 0, Saturday 6.", &[]),
    of("day_of_year", "bigint", "", &[]),
    of("hour", "bigint", "", &[]),
    of("minute", "bigint", "", &[]),
    of("second", "bigint", "", &[]),
    of("microsecond", "bigint", "", &[]),
    of("month", "bigint", "", &[]),
    of("month_name", "string", "", &[]),
    of("last_day", "string", "", &[]),
    of("from_days", "string", "1 is 1970-01-01 and 0 is null (S42).", &[]),
    of("from_unix_time", "string", "Seconds, not milliseconds. 0 is null (S42).", &[]),
    of("md5", "string", "", &[]),
    of("sha1", "string", "", &[]),
    of("sha256", "string", "", &[]),
    of("sha384", "string", "", &[]),
    of("sha512", "string", "", &[]),
    of("crc32", "string", "", &[]),
    of("cast", "any", "Text to bigint takes Go's forms: 0x1F, 0b101, 012 for 10, 1_000 (S60). Text to bytea is read as base64 if it is that, else taken as it is (S61). A number is a datetime in epoch milliseconds.", &[
        r#"rule   SELECT cast(a, 'bigint') + 1 AS a FROM demo
demo {"a":"41"}
out  [{"a":42}]"#,
    ]),
    of("convert_tz", "string", "Names of the IANA database; the empty name is UTC.", &[]),
    of("to_seconds", "bigint", "", &[]),
    of("encode", "string", "The method is base64 and must be written.", &[]),
    of("decode", "bytea", "The method is base64 and must be written; padding is needed.", &[]),
    of("compress", "bytea", "The methods: zlib, gzip, flate, zstd.", &[]),
    of("decompress", "bytea", "The methods: zlib, gzip, flate, zstd.", &[]),
    of("trunc", "float", "Cuts off and does not round (S21).", &[]),
    of("chr", "string", "Of a text of one character that character.", &[]),
    of("hex2dec", "bigint", "", &[]),
    of("dec2hex", "string", "", &[]),
    of("to_json", "string", "Members in order of their names.", &[]),
    of("parse_json", "any", "", &[]),
    of("json_path_query", "any", "`$`, `.key`, `[\"key\"]`, `[i]`, `[i,j]`, `[from:to:step]`, `.*`, `..key`, `[?(@.x > 2)]`. The path must be written. What is not there is an error (S46).", &[
        r#"rule   SELECT json_path_query(a, '$.b[?(@.c > 1)].d') AS d FROM demo
demo {"a":{"b":[{"c":1,"d":"x"},{"c":2,"d":"y"}]}}
out  [{"d":["y"]}]"#,
    ]),
    of("json_path_query_first", "any", "The first item of what `json_path_query` finds, which must be a list with something in it.", &[]),
    of("json_path_exists", "boolean", "A null and an empty list count as not there (S47).", &[]),
    of("unnest", "rows", "In SELECT only, one such call in a statement. Null, missing and the empty list give no rows (S54). Members of objects become columns and win over columns of their name; other items stand in the column `unnest` or in the call's alias.", &[
        r#"rule   SELECT unnest(a), b FROM demo
demo {"a":[1,2],"b":3}
demo {"a":[],"b":4}
demo {"a":[{"c":5}],"b":6}
out  [{"b":3,"unnest":1}]
out  [{"b":3,"unnest":2}]
out  [{"b":6,"c":5}]"#,
    ]),
    of("extract", "rows", "In SELECT only. Members become columns and win over columns of their name.", &[
        r#"rule   SELECT extract(d), c FROM demo
demo {"d":{"k1":"v1","c":9},"c":5}
out  [{"c":9,"k1":"v1"}]"#,
    ]),
    of("changed_cols", "columns", "In SELECT only. The column's name is the prefix and the name of the argument. With ignore_null = true a null is no change.", &[
        r#"rule   SELECT changed_cols('c_', true, a, b) FROM demo
demo {"a":1,"b":2}
demo {"a":1,"b":3}
demo {"a":1}
demo {"a":2,"b":4}
out  [{"c_a":1,"c_b":2}]
out  [{"c_b":3}]
out  [{}]
out  [{"c_a":2,"c_b":4}]"#,
    ]),
    of("row_number", "bigint", "In SELECT only. OVER numbers the rows of each partition, in the order asked for.", &[
        r#"rule   SELECT k, a, row_number() OVER (PARTITION BY k ORDER BY a DESC) AS n FROM demo GROUP BY COUNTWINDOW(3)
demo {"k":"x","a":1}
demo {"k":"y","a":5}
demo {"k":"x","a":2}
out  [{"a":1,"k":"x","n":2},{"a":5,"k":"y","n":1},{"a":2,"k":"x","n":1}]"#,
    ]),
    of("lag", "any", "n is fixed by the statement. Nulls are passed over unless ignore_null is false: a null row gives what the row before would have given.", &[
        r#"rule   SELECT a - lag(a, 1, 0) OVER (PARTITION BY k) AS d FROM demo
demo {"k":"x","a":1}
demo {"k":"y","a":5}
demo {"k":"x","a":3}
out  [{"d":1}]
out  [{"d":5}]
out  [{"d":2}]"#,
        r#"rule   SELECT lag(a) OVER (WHEN a > 1) AS r FROM demo
demo {"a":1}
demo {"a":2}
demo {"a":1}
demo {"a":3}
out  [{}]
out  [{}]
out  [{"r":2}]
out  [{"r":2}]"#,
    ]),
    of("latest", "any", "OVER may partition it and say when it looks.", &[
        r#"rule   SELECT latest(t, 0) AS t, b FROM demo
demo {"b":1}
demo {"t":20,"b":2}
demo {"b":3}
out  [{"b":1,"t":0}]
out  [{"b":2,"t":20}]
out  [{"b":3,"t":20}]"#,
    ]),
    of("changed_col", "any", "1 and 1.0 are no change (S52).", &[
        r#"rule   SELECT a FROM demo WHERE isnull(changed_col(true, a)) = false
demo {"a":1}
demo {"a":1}
demo {"a":2}
out  [{"a":1}]
out  [{"a":2}]"#,
    ]),
    of("had_changed", "boolean", "`had_changed(true, *)` compares whole rows.", &[
        r#"rule   SELECT a, b FROM demo WHERE had_changed(true, a, b)
demo {"a":1,"b":1}
demo {"a":1,"b":1}
demo {"a":1,"b":2}
out  [{"a":1,"b":1}]
out  [{"a":1,"b":2}]"#,
    ]),
    of("acc_sum", "float", "Null is passed over (S51). With begin and reset it counts from the row where begin is true up to the one where reset is true.", &[
        r#"rule   SELECT k, acc_sum(a) OVER (PARTITION BY k) AS s FROM demo
demo {"k":"x","a":1}
demo {"k":"y","a":10}
demo {"k":"x","a":2}
out  [{"k":"x","s":1}]
out  [{"k":"y","s":10}]
out  [{"k":"x","s":3}]"#,
    ]),
    of("acc_count", "bigint", "`acc_count(*)` counts every row.", &[
        r#"rule   SELECT acc_count(*) AS n, acc_count(a, a > 1, a > 5) AS run FROM demo
demo {"a":1}
demo {"a":2}
demo {"a":6}
demo {"a":1}
out  [{"n":1,"run":0}]
out  [{"n":2,"run":1}]
out  [{"n":3,"run":2}]
out  [{"n":4,"run":0}]"#,
    ]),
    of("acc_avg", "float", "0 before the first value; null is passed over (S51).", &[]),
    of("acc_min", "float", "0 before the first value; null is passed over (S51).", &[]),
    of("acc_max", "float", "0 before the first value; null is passed over (S51).", &[]),
    of("window_start", "bigint", "null where there is no window.", &[
        r#"stream demo (a BIGINT, ts BIGINT) TIMESTAMP="ts"
option isEventTime=true
option lateTolerance=0
rule   SELECT sum(a) AS s, window_start() AS f, window_end() AS t, window_trigger() AS at FROM demo GROUP BY TUMBLINGWINDOW(ss, 10)
demo {"a":1,"ts":3000}
demo {"a":2,"ts":9000}
demo {"a":3,"ts":10000}
out  [{"at":10000,"f":3000,"s":3,"t":10000}]"#,
    ]),
    of("window_end", "bigint", "null where there is no window.", &[
        r#"rule   SELECT window_end() - window_start() AS ms FROM demo GROUP BY TUMBLINGWINDOW(ss, 10)
at 1s demo {}
at 10s out [{"ms":10000}]"#,
    ]),
    of("window_trigger", "bigint", "null where there is no window.", &[
        r#"rule   SELECT window_trigger() - window_end() AS ms FROM demo GROUP BY TUMBLINGWINDOW(ss, 10)
at 1s demo {}
at 10s out [{"ms":0}]"#,
    ]),
    of("event_time", "bigint", "In event time that of the TIMESTAMP column, else the time of arrival. In an aggregate query the moment at which the window fired.", &[
        r#"stream demo (a BIGINT, ts BIGINT) TIMESTAMP="ts"
option isEventTime=true
option lateTolerance=0
rule   SELECT a, event_time() AS t FROM demo
demo {"a":1,"ts":1000}
demo {"a":2,"ts":2000}
out  [{"a":1,"t":1000}]
out  [{"a":2,"t":2000}]"#,
    ]),
    of("last_hit_count", "bigint", "In SELECT, WHERE and OVER (WHEN …), and not where rows are grouped or joined except in WHEN.", &[
        r#"rule   SELECT a FROM demo WHERE a > 1 AND last_hit_count() < 2
demo {"a":5}
demo {"a":1}
demo {"a":6}
demo {"a":7}
out  [{"a":5}]
out  [{"a":6}]"#,
        r#"rule   SELECT last_hit_count() AS c FROM demo
demo {}
demo {}
out  [{"c":0}]
out  [{"c":1}]"#,
    ]),
    of("last_hit_time", "bigint", "As `last_hit_count`.", &[
        r#"rule   SELECT a FROM demo WHERE event_time() - last_hit_time() >= 10000
at 1s demo {"a":1}
at 5s demo {"a":2}
at 12s demo {"a":3}
at 1s out [{"a":1}]
at 12s out [{"a":3}]"#,
    ]),
    of("last_agg_hit_count", "bigint", "In HAVING, and in SELECT of an aggregate query without GROUP BY columns.", &[
        r#"rule   SELECT sum(a) AS s FROM demo GROUP BY COUNTWINDOW(1) HAVING sum(a) > 1 AND last_agg_hit_count() < 2
demo {"a":5}
demo {"a":1}
demo {"a":6}
demo {"a":7}
out  [{"s":5}]
out  [{"s":6}]"#,
    ]),
    of("last_agg_hit_time", "bigint", "As `last_agg_hit_count`.", &[
        r#"rule   SELECT sum(a) AS s, last_agg_hit_time() > 0 AS again FROM demo GROUP BY COUNTWINDOW(2)
demo {"a":1}
demo {"a":2}
demo {"a":3}
demo {"a":4}
out  [{"again":false,"s":3}]
out  [{"again":true,"s":7}]"#,
    ]),
    of("get_keyed_state", "any", "Rules only read; the state is set over REST with `PUT /keyed_state/{key}` and a JSON value. The default is not cast. The rule runs where waiting is allowed.", &[
        r#"rule   SELECT a > get_keyed_state('limit', 'bigint', 80) AS high FROM demo
demo {"a":90}
out  [{"high":true}]"#,
    ]),
    of("isnull", "boolean", "An empty list, object or text is not null.", &[]),
    of("coalesce", "any", "All arguments are computed.", &[
        r#"rule   SELECT coalesce(a, b, 0) AS x FROM demo
demo {"b":2}
demo {}
out  [{"x":2}]
out  [{"x":0}]"#,
    ]),
    of("newuuid", "string", "Version 1, from the time, as upstream.", &[
        r#"rule   SELECT length(newuuid()) AS n FROM demo
demo {}
out  [{"n":36}]"#,
    ]),
    of("tstamp", "bigint", "", &[
        r#"rule   SELECT tstamp() AS t FROM demo
demo {}
out  [{"t":1709212440000}]"#,
    ]),
    of("rule_id", "string", "", &[
        r#"rule   SELECT rule_id() AS r FROM demo
demo {}
out  [{"r":"rule_1"}]"#,
    ]),
    of("rule_start", "bigint", "", &[
        r#"rule   SELECT tstamp() - rule_start() AS ms FROM demo
at 2s demo {}
at 2s out [{"ms":2000}]"#,
    ]),
    of("mqtt", "string", "Only `topic` and `messageid`.", &[
        r#"rule   SELECT endswith(mqtt(topic), 'demo') AS t FROM demo
demo {}
out  [{"t":true}]"#,
    ]),
    of("meta", "any", "A plain name is a key of the metadata, not a column; `meta(stream.key)` where several streams are read. In an aggregate query the metadata of the group's first row.", &[
        r#"rule   SELECT meta(qos) AS q, meta(demo.messageId) AS id, meta(*)->qos AS all FROM demo
demo {}
out  [{"all":1,"id":1,"q":1}]"#,
    ]),
    of("props", "string", "Names in any case. An unknown name is an error that names it (S58).", &[
        r#"rule   SELECT props('et') AS now FROM demo
demo {}
out  [{"now":"1709212440000"}]"#,
    ]),
    of("delay", "any", "A rule that calls it runs on a thread where waiting is allowed; other rules are not held up. Rows that come in together leave together.", &[
        r#"rule   SELECT delay(250, a) AS a FROM demo
at 1s demo {"a":1}
at 1250ms out [{"a":1}]"#,
    ]),
    of("bypass", "any", "For the planner of upstream; of no use in a statement.", &[]),
    of("echo", "any", "", &[
        r#"rule   SELECT echo(a) AS a FROM demo
demo {"a":[1]}
out  [{"a":[1]}]"#,
    ]),
    of("countPlusOne", "bigint", "", &[
        r#"rule   SELECT countPlusOne(a) AS n FROM demo GROUP BY COUNTWINDOW(2)
demo {"a":1}
demo {"a":2}
out  [{"n":3}]"#,
    ]),
    of("accumulateWordCount", "bigint", "Counts in the rows that are projected. The separator must be written in quotes.", &[
        r#"rule   SELECT accumulateWordCount(s, ' ') AS n FROM demo
demo {"s":"a b"}
demo {"s":"c"}
out  [{"n":2}]
out  [{"n":3}]"#,
    ]),
    of("geohashEncode", "string", "", &[]),
    of("geohashEncodeInt", "bigint", "SQL has no unsigned numbers: the 64 bits print as a signed number, so they are negative east of Greenwich; adding 2^64 gives the unsigned one.", &[]),
    of("geohashDecode", "object", "", &[]),
    of("geohashDecodeInt", "object", "", &[]),
    of("geohashBoundingBox", "object", "", &[]),
    of("geohashBoundingBoxInt", "object", "", &[]),
    of("geohashNeighbor", "string", "", &[]),
    of("geohashNeighborInt", "bigint", "", &[]),
    of("geohashNeighbors", "array of strings", "", &[]),
    of("geohashNeighborsInt", "array of bigints", "", &[]),
    of("resize", "bytea", "The functions resize and thumbnail need the cargo feature `image`, which is on unless a build leaves it out.", &[
        r#"rule   SELECT resize(decode(png, 'base64'), 2, 1, true) AS pixels FROM demo
demo {"png":"iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAADUlEQVR4nGP4zwAE/wEHAAH/4iOeWQAAAABJRU5ErkJggg=="}
out  [{"pixels":"/wAAAAD/"}]"#,
    ]),
    of("thumbnail", "bytea", "An image that fits already stays as it is.", &[
        r#"rule   SELECT length(encode(thumbnail(decode(png, 'base64'), 1, 1), 'base64')) > 0 AS small FROM demo
demo {"png":"iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAADUlEQVR4nGP4zwAE/wEHAAH/4iOeWQAAAABJRU5ErkJggg=="}
out  [{"small":true}]"#,
    ]),
    // Parts of the grammar that are written like calls (functions.md 16).
    of("dedup_trigger", "array of objects", "In SELECT only, without window and join: three columns and a number, all in one unit. Of ranges that ended more than `expire` before `now` nothing is remembered. Nothing new is null.", &[
        r#"rule   SELECT id, dedup_trigger(st, en, nw, 99999) AS parts FROM demo
demo {"id":1,"st":100,"en":200,"nw":200}
demo {"id":2,"st":80,"en":260,"nw":260}
out  [{"id":1,"parts":[{"end_key":"200","start_key":"100"}]}]
out  [{"id":2,"parts":[{"end_key":"100","start_key":"80"},{"end_key":"260","start_key":"200"}]}]"#,
    ]),
    of("tumblingwindow", "window", "Windows of one length, one behind the other, aligned to the clock of the configured zone.", &[
        r#"rule   SELECT count(*) AS n FROM demo GROUP BY TUMBLINGWINDOW(ss, 10)
at 1s demo {}
at 9s demo {}
at 12s demo {}
at 10s out [{"n":2}]
at 20s out [{"n":1}]"#,
    ]),
    of("hoppingwindow", "window", "Windows of one length that begin at a fixed distance; a row is in each that covers it.", &[
        r#"rule   SELECT count(*) AS n FROM demo GROUP BY HOPPINGWINDOW(ss, 10, 5)
at 1s demo {}
at 6s demo {}
at 5s out [{"n":1}]
at 10s out [{"n":2}]"#,
    ]),
    of("slidingwindow", "window", "A window for each row: the row and what came before it within the length; with a delay it waits for what follows.", &[
        r#"rule   SELECT count(*) AS n FROM demo GROUP BY SLIDINGWINDOW(ss, 10)
at 1s demo {}
at 9s demo {}
at 30s demo {}
at 1s out [{"n":1}]
at 9s out [{"n":2}]
at 30s out [{"n":1}]"#,
    ]),
    of("sessionwindow", "window", "A window ends when no row has come for the timeout, or at its greatest length.", &[
        r#"rule   SELECT count(*) AS n FROM demo GROUP BY SESSIONWINDOW(ss, 60, 5)
at 1s demo {}
at 3s demo {}
at 8s out [{"n":2}]"#,
    ]),
    of("countwindow", "window", "A window of so many rows; with an interval it fires every so many rows.", &[
        r#"rule   SELECT sum(a) AS s FROM demo GROUP BY COUNTWINDOW(2)
demo {"a":1}
demo {"a":2}
demo {"a":3}
out  [{"s":3}]"#,
    ]),
    of("statewindow", "window", "A window from the row where the first condition is true to the one where the second is; with one condition, as long as it is true.", &[
        r#"rule   SELECT count(*) AS n FROM demo GROUP BY STATEWINDOW(a = 1, a = 3)
demo {"a":0}
demo {"a":1}
demo {"a":2}
demo {"a":3}
out  [{"n":3}]"#,
    ]),
];
