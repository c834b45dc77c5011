//! One node as a line of text.

use thalweg_core::projection::{Want, Wanted, path_name};
use thalweg_core::{DataType, PathStep, Schema};

use super::expr;
use crate::logical::{Empty, JoinStep, Kind, Lookup, Node, OutputColumn, Scan, Window, WindowKind};

/// Our line: name, kind, and what it does.
pub(super) fn line(node: &Node) -> String {
    let name = if node.name.is_empty() { "-" } else { &node.name };
    let kind = match &node.kind {
        Kind::Scan(_) => "Scan",
        Kind::Watermark { .. } => "Watermark",
        Kind::Analytic(_) => "Analytic",
        Kind::WindowFilter(_) => "WindowFilter",
        Kind::Window(_) => "Window",
        Kind::Join(_) => "Join",
        Kind::LookupJoin(_) => "LookupJoin",
        Kind::Filter(_) => "Filter",
        Kind::Compute(_) => "Compute",
        Kind::AggFunc(_) => "AggFunc",
        Kind::Aggregate { .. } => "Aggregate",
        Kind::Having { .. } => "Having",
        Kind::RowNumber { .. } => "RowNumber",
        Kind::DedupTrigger(_) => "DedupTrigger",
        Kind::Sort(_) => "Sort",
        Kind::Limit(_) => "Limit",
        Kind::Project(_) => "Project",
        Kind::ProjectSet { .. } => "ProjectSet",
        Kind::Union => "Union",
        Kind::Outlets => "Outlets",
        Kind::SubQuery(_) => "SubQuery",
    };
    let info = match &node.kind {
        Kind::Scan(scan) => self::scan(scan),
        _ => info(node),
    };
    let line = format!("{name} {kind} {info}");
    line.trim_end().to_owned()
}

/// What the node does, for explain.
pub(super) fn info(node: &Node) -> String {
    let all = joined_schema(node);
    let condition =
        |condition: &thalweg_expr::Expr| format!("Condition:{{ {} }}", expr::expr(condition, &all));
    match &node.kind {
        Kind::Scan(scan) => {
            let mut columns: Vec<&str> = Vec::new();
            for wanted in &scan.projection.slots {
                let name = match &wanted.want {
                    Want::Column { path, .. } => path.first().map_or("", |name| name),
                    Want::Path { column, .. } => column,
                    Want::Everything => "*",
                    Want::Meta => continue,
                };
                if !columns.contains(&name) {
                    columns.push(name);
                }
            }
            format!("StreamName: {}, StreamFields:[ {} ]", scan.stream.name, columns.join(", "))
        }
        Kind::Watermark { late_tolerance, .. } => format!("LateTolerance: {late_tolerance}"),
        Kind::Analytic(calls) => {
            // Later calls may read earlier ones, which only the output names.
            let calls: Vec<String> = calls.iter().map(|call| expr::analytic(call, &node.schema)).collect();
            format!("Funcs:[ {} ]", calls.join(", "))
        }
        Kind::WindowFilter(filter) | Kind::Filter(filter) => condition(filter),
        Kind::Window(window) => self::window(window, &all),
        Kind::Join(steps) => steps.iter().map(|step| join(step, &node.schema)).collect::<Vec<_>>().join("; "),
        Kind::LookupJoin(lookup) => self::lookup(lookup, &all, &node.schema),
        Kind::Compute(values) => {
            let values: Vec<String> = values.iter().map(|value| computed(value, &all)).collect();
            values.join(", ")
        }
        Kind::AggFunc(calls) => {
            let calls: Vec<String> = calls.iter().map(|call| expr::aggregate(call, &all)).collect();
            calls.join(", ")
        }
        Kind::Aggregate { keys, calls } => {
            let calls: Vec<String> = calls.iter().map(|call| expr::aggregate(call, &all)).collect();
            format!("Dimension:{{ {} }}, Calls:[ {} ]", expr::exprs(keys, &all), calls.join(", "))
        }
        Kind::Having { condition: having, grouped } => {
            let whole = if *grouped { "" } else { ", of the whole" };
            condition(having) + whole
        }
        Kind::RowNumber { partition_by, order_by } => {
            let (partition_by, order_by) = (expr::exprs(partition_by, &all), expr::keys(order_by, &all));
            format!("row_number PARTITION BY [ {partition_by} ] ORDER BY [ {order_by} ]")
        }
        Kind::DedupTrigger(dedup) => {
            let range = [&dedup.start, &dedup.end, &dedup.now].map(|value| expr::expr(value, &all));
            format!("[ {} ], expire: {}", range.join(", "), dedup.expire)
        }
        Kind::Sort(keys) => format!("SortFields:[ {} ]", expr::keys(keys, &all)),
        Kind::Limit(limit) => limit.to_string(),
        Kind::Project(columns) => {
            let columns: Vec<String> = columns.iter().map(|column| output(column, &all)).collect();
            format!("Fields:[ {} ]", columns.join(", "))
        }
        Kind::ProjectSet { set, function, limit } => {
            let limit = limit.map_or_else(String::new, |limit| format!(", limit: {limit}"));
            format!("{} of field {}{limit}", function.name(), set.0)
        }
        Kind::Union | Kind::Outlets => String::new(),
        Kind::SubQuery(query) => {
            let columns: Vec<String> =
                query.projection.slots.iter().map(|wanted| want(&wanted.want)).collect();
            let back = if query.back > 0 { format!(" back {}", query.back) } else { String::new() };
            format!("AS {} [{}]{back}", query.alias, columns.join(", "))
        }
    }
}

/// A value that is computed for others, at once or when the first of them needs it.
fn computed(value: &thalweg_expr::Expr, schema: &Schema) -> String {
    let text = expr::expr(value, schema);
    if is_lazy(value) { format!("{text} when needed") } else { text }
}

/// Whether a value that is computed for others waits for the first that needs it.
pub(super) fn is_lazy(value: &thalweg_expr::Expr) -> bool {
    matches!(value, thalweg_expr::Expr::Once(_))
}

/// The slots that a node's expressions read: those of its inputs, one after the other.
fn joined_schema(node: &Node) -> Schema {
    Schema { fields: node.inputs.iter().flat_map(|input| input.schema.fields.iter().cloned()).collect() }
}

fn want(want: &Want) -> String {
    match want {
        Want::Column { path, .. } => path.join("."),
        Want::Path { column, steps, .. } => path_name(column, steps),
        Want::Everything => "*".to_owned(),
        Want::Meta => "$meta".to_owned(),
    }
}

/// A slot of a projection with its type.
pub(super) fn wanted(wanted: &Wanted) -> String {
    let data_type = match &wanted.want {
        Want::Column { data_type, .. } => data_type.as_ref(),
        Want::Path { steps, data_type, .. } => data_type.as_ref().and_then(|whole| at_path(whole, steps)),
        Want::Everything | Want::Meta => None,
    };
    let declared = data_type.map_or_else(String::new, |data_type| format!(" {}", type_text(data_type)));
    let strict = if wanted.strict.is_some() { " strict" } else { "" };
    format!("{}{declared}{strict}", want(&wanted.want))
}

fn at_path<'t>(data_type: &'t DataType, steps: &[PathStep]) -> Option<&'t DataType> {
    steps.iter().try_fold(data_type, |data_type, step| match (data_type, step) {
        (DataType::Struct(columns), PathStep::Member(name)) => {
            columns.iter().rfind(|(column, _)| column == name).map(|(_, data_type)| data_type)
        }
        (DataType::Array(element), PathStep::Index(_)) => Some(&**element),
        _ => None,
    })
}

fn type_text(data_type: &DataType) -> String {
    match data_type {
        DataType::Array(element) => format!("array({})", type_text(element)),
        DataType::Struct(columns) => {
            let columns: Vec<String> =
                columns.iter().map(|(name, data_type)| format!("{name} {}", type_text(data_type))).collect();
            format!("struct({})", columns.join(", "))
        }
        plain => plain.name().to_owned(),
    }
}

fn scan(scan: &Scan) -> String {
    let columns: Vec<String> = scan.projection.slots.iter().map(wanted).collect();
    let mut text = format!("[{}]", columns.join(", "));
    if scan.alias != scan.stream.name {
        text = format!("AS {} {text}", scan.alias);
    }
    if let Some((slot, _)) = &scan.event_time {
        text.push_str(&format!(" time {}", slot.0));
    }
    if let Some(slot) = scan.late {
        text.push_str(&format!(" late {}", slot.0));
    }
    if let Some(retain) = scan.retain {
        text.push_str(&format!(" retain {retain}"));
    }
    text
}

fn window(window: &Window, schema: &Schema) -> String {
    let mut text = match &window.kind {
        WindowKind::Tumbling { unit, length } => {
            format!("windowType:TUMBLING_WINDOW, unit:{unit:?}, length:{length}")
        }
        WindowKind::Hopping { unit, length, hop } => {
            format!("windowType:HOPPING_WINDOW, unit:{unit:?}, length:{length}, interval:{hop}")
        }
        WindowKind::Sliding { length, delay, twice } => {
            let twice = if *twice { ", sent twice" } else { "" };
            format!("windowType:SLIDING_WINDOW, length:{length}, delay:{delay}{twice}")
        }
        WindowKind::Session { unit, max_duration, timeout } => {
            format!("windowType:SESSION_WINDOW, unit:{unit:?}, length:{max_duration}, timeout:{timeout}")
        }
        WindowKind::Count { length, step } => {
            format!("windowType:COUNT_WINDOW, length:{length}, interval:{step}")
        }
        WindowKind::State { begin, emit } => {
            let mut text = format!("windowType:STATE_WINDOW, begin:{}", expr::exprs(begin, schema));
            if !emit.is_empty() {
                text.push_str(&format!(", emit:{}", expr::exprs(emit, schema)));
            }
            text
        }
    };
    if !window.trigger.is_empty() {
        text.push_str(&format!(", when:{}", expr::exprs(&window.trigger, schema)));
    }
    for partition_by in window.partition_by.iter().filter(|by| !by.is_empty()) {
        text.push_str(&format!(", partition:[ {} ]", expr::exprs(partition_by, schema)));
    }
    if window.event_time {
        text.push_str(", event time");
    }
    if window.fold.is_some() {
        text.push_str(", incremental");
    }
    format!("{{ {text} }}")
}

fn join(step: &JoinStep, schema: &Schema) -> String {
    let on = step.on.as_ref().map_or_else(String::new, |on| format!(" ON {}", expr::expr(on, schema)));
    let hash = if step.equi.is_empty() { String::new() } else { format!(", {} equal", step.equi.len()) };
    format!("{:?} side {}{on}{hash}", step.kind, step.side)
}

fn lookup(lookup: &Lookup, input: &Schema, both: &Schema) -> String {
    let key = |(name, value): &(_, _)| format!("{name} = {}", expr::expr(value, input));
    let keys: Vec<String> = lookup.keys.iter().map(key).collect();
    let on = lookup.on.as_ref().map_or_else(String::new, |on| format!(", ON {}", expr::expr(on, both)));
    let columns: Vec<String> = lookup.projection.slots.iter().map(wanted).collect();
    format!("{:?} {} [{}] KEYS [ {} ]{on}", lookup.kind, lookup.alias, columns.join(", "), keys.join(", "))
}

fn output(column: &OutputColumn, schema: &Schema) -> String {
    match column {
        OutputColumn::One { name, expr: value, empty } => {
            let value = expr::expr(value, schema);
            let mark = match empty {
                Empty::KeepNull => "",
                Empty::Omit => "?",
                Empty::Null => "!",
            };
            if value == **name { format!("{name}{mark}") } else { format!("{value} AS {name}{mark}") }
        }
        OutputColumn::Spread { slots, except } => {
            let members: Vec<String> =
                slots.iter().map(|(name, slot)| expr::member(name, *slot, schema)).collect();
            let except =
                if except.is_empty() { String::new() } else { format!(" EXCEPT({})", except.join(", ")) };
            format!("{{{}}}{except}", members.join(", "))
        }
        OutputColumn::Keyed { expr: value } => format!("{{{}}}", expr::expr(value, schema)),
    }
}
