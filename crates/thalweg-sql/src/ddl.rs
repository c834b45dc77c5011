//! CREATE, SHOW, DESCRIBE, EXPLAIN and DROP (chapter 5).

use sqlparser::parser::Parser;
use thalweg_core::json::{self, Numbers};
use thalweg_core::{DataType, Diagnostic, ErrorCode, Value};

use crate::ast::{ColumnDef, CreateSource, ExprKind, Name, SourceKind, Statement};
use crate::grammar::{Grammar, Parsed, syntax};
use crate::lex::{Kind, quote};

/// An option of CREATE and what its value must be (D-4).
struct OptionRow(&'static str, OptionKind);

#[derive(Clone, Copy, PartialEq, Eq)]
enum OptionKind {
    Text,
    /// Stored in lower case.
    Lower,
    Bool,
    Int,
}

/// In the order of upstream's error text.
const OPTIONS: &[OptionRow] = &[
    OptionRow("DATASOURCE", OptionKind::Text),
    OptionRow("FORMAT", OptionKind::Text),
    OptionRow("KEY", OptionKind::Text),
    OptionRow("CONF_KEY", OptionKind::Text),
    OptionRow("SHARED", OptionKind::Bool),
    OptionRow("STRICT_VALIDATION", OptionKind::Bool),
    OptionRow("TYPE", OptionKind::Text),
    OptionRow("TIMESTAMP", OptionKind::Text),
    OptionRow("TIMESTAMP_FORMAT", OptionKind::Text),
    OptionRow("RETAIN_SIZE", OptionKind::Int),
    OptionRow("SCHEMAID", OptionKind::Text),
    OptionRow("EXTRA", OptionKind::Text),
    OptionRow("VERSION", OptionKind::Lower),
    OptionRow("TEMP", OptionKind::Bool),
    OptionRow("KIND", OptionKind::Lower),
    OptionRow("DELIMITER", OptionKind::Text),
];

const TYPES: &[(&str, DataType)] = &[
    ("BIGINT", DataType::BigInt),
    ("FLOAT", DataType::Float),
    ("STRING", DataType::String),
    ("DATETIME", DataType::DateTime),
    ("BOOLEAN", DataType::Boolean),
    ("BYTEA", DataType::Bytea),
];

impl Grammar {
    /// A statement that is no query, or `None` if none starts here.
    pub(crate) fn definition(&self, p: &mut Parser<'_>) -> Parsed<Option<Statement>> {
        let first = self.at(p);
        let verb =
            ["CREATE", "SHOW", "DESCRIBE", "EXPLAIN", "DROP"].into_iter().find(|verb| first.is_word(verb));
        let Some(verb) = verb else { return Ok(None) };
        p.advance_token();
        if verb == "SHOW" {
            return self.show(p).map(Some);
        }
        let kind = self.source_kind(p, ["STREAM", "TABLE"], "keyword stream or table")?;
        if verb == "CREATE" {
            return self.create(p, kind).map(|it| Some(Statement::Create(Box::new(it))));
        }
        let name = self.name(p, if kind == SourceKind::Stream { "stream name" } else { "table name" })?;
        self.end_of_definition(p, "semicolon or EOF")?;
        Ok(Some(match verb {
            "DESCRIBE" => Statement::Describe(kind, name),
            "EXPLAIN" => Statement::Explain(kind, name),
            _ => Statement::Drop(kind, name),
        }))
    }

    fn show(&self, p: &mut Parser<'_>) -> Parsed<Statement> {
        let kind = self.source_kind(p, ["STREAMS", "TABLES"], "keyword streams or tables")?;
        self.end_of_definition(p, "semecolon or EOF")?;
        Ok(Statement::Show(kind))
    }

    fn source_kind(&self, p: &mut Parser<'_>, [stream, table]: [&str; 2], what: &str) -> Parsed<SourceKind> {
        if self.accept_word(p, stream) {
            return Ok(SourceKind::Stream);
        }
        if self.accept_word(p, table) {
            return Ok(SourceKind::Table);
        }
        let lexeme = self.at(p);
        let message = format!("found {}, expected {what}.", quote(&lexeme.found.to_uppercase()));
        let near = thalweg_core::diagnostic::nearest(&lexeme.found, [stream, table]);
        let diagnostic = syntax(message).at(lexeme.span);
        Err(match near {
            Some(word) => diagnostic.help(format!("did you mean {word}?")),
            None => diagnostic,
        })
    }

    /// D-9: text after `;` is ignored, other text is an error.
    fn end_of_definition(&self, p: &Parser<'_>, what: &str) -> Parsed<()> {
        let next = self.at(p);
        if next.kind == Kind::End || next.is_symbol(";") { Ok(()) } else { Err(self.found(p, what)) }
    }

    fn create(&self, p: &mut Parser<'_>, kind: SourceKind) -> Parsed<CreateSource> {
        let name = self.name(p, "stream name")?;
        self.expect(p, "(", "lparen after stream name")?;
        let columns = self.columns(p, 0)?;
        if !self.accept_word(p, "WITH") {
            let found = &self.at(p).found;
            let found = if columns.is_empty() { found.clone() } else { found.to_uppercase() };
            let message = format!("found {}, expected is with.", quote(&found));
            return Err(syntax(message)
                .at(self.at(p).span)
                .help("WITH (options) belongs behind the columns"));
        }
        if !self.accept(p, "(") {
            let message = format!("found {}, expect stream options.", quote(&self.at(p).found));
            return Err(self.mistake(self.at(p), message));
        }
        let options = self.options(p)?;
        self.end_of_definition(p, "semicolon or EOF")?;
        let create = CreateSource { kind, name, columns, options };
        check(&create)?;
        Ok(create)
    }

    /// Columns up to the closing parenthesis. A last comma is allowed (G-5).
    fn columns(&self, p: &mut Parser<'_>, depth: usize) -> Parsed<Vec<ColumnDef>> {
        let mut columns = Vec::new();
        while !self.accept(p, ")") {
            if !self.at(p).is_name() {
                let message = format!("found {}, expect stream field name.", quote(&self.at(p).found));
                return Err(self.mistake(self.at(p), message));
            }
            let name = self.name(p, "name")?;
            let data_type = self.data_type(p, depth)?;
            let default =
                if self.accept_keyword(p, "DEFAULT") { Some(self.default(p, &data_type)?) } else { None };
            columns.push(ColumnDef { name, data_type, default });
            if !self.accept(p, ",") && !self.at(p).is_symbol(")") {
                let message = format!("found {}, expect comma or rparen.", quote(&self.at(p).found));
                return Err(self.mistake(self.at(p), message));
            }
        }
        Ok(columns)
    }

    fn data_type(&self, p: &mut Parser<'_>, depth: usize) -> Parsed<DataType> {
        if depth > 50 {
            return Err(syntax("the type is nested too deeply").at(self.at(p).span));
        }
        let lexeme = self.at(p);
        if let Some((_, simple)) = TYPES.iter().find(|(name, _)| lexeme.is_word(name)) {
            p.advance_token();
            return Ok(simple.clone());
        }
        if self.accept_word(p, "ARRAY") {
            return self.element(p, depth + 1);
        }
        if self.accept_word(p, "STRUCT") {
            self.expect(p, "(", "lparen after stream name")?;
            let columns = self.columns(p, depth + 1)?;
            if columns.is_empty() {
                return Err(self.found(p, "is with").help("a STRUCT needs at least one column"));
            }
            let field = |column: ColumnDef| (column.name.text, column.data_type);
            return Ok(DataType::Struct(columns.into_iter().map(field).collect()));
        }
        let types = "BIGINT | FLOAT | STRING | DATETIME | BOOLEAN | BYTEA | ARRAY | STRUCT";
        let message = format!("found {}, expect valid stream field types({types}).", quote(&lexeme.found));
        let names = TYPES.iter().map(|(name, _)| *name).chain(["ARRAY", "STRUCT"]);
        let near =
            other_name(&lexeme.found).or_else(|| thalweg_core::diagnostic::nearest(&lexeme.found, names));
        let diagnostic = syntax(message).at(lexeme.span);
        Err(match near {
            Some(name) => diagnostic.help(format!("did you mean {name}?")),
            None => diagnostic,
        })
    }

    /// `(type)` of an ARRAY. Without it upstream skips a token and complains at the next.
    fn element(&self, p: &mut Parser<'_>, depth: usize) -> Parsed<DataType> {
        if !self.accept(p, "(") {
            p.advance_token();
            let message = format!("found {}, expect comma or rparen.", quote(&self.at(p).found));
            return Err(syntax(message)
                .at(self.at(p).span)
                .help("ARRAY needs an element type: ARRAY(BIGINT)"));
        }
        let element = self.data_type(p, depth)?;
        if !self.accept(p, ")") {
            let message =
                format!("found {}, expect rparen in array type definition.", quote(&self.at(p).found));
            return Err(self.mistake(self.at(p), message));
        }
        Ok(DataType::Array(Box::new(element)))
    }

    /// T-9: a literal of the column's type, for the four plain types.
    fn default(&self, p: &mut Parser<'_>, data_type: &DataType) -> Parsed<Value> {
        let start = self.at(p).span;
        let literal = self.operand(p)?;
        let value = match (data_type, literal.kind) {
            (DataType::BigInt, ExprKind::Literal(value @ Value::Int(_))) => Some(value),
            (DataType::Float, ExprKind::Literal(Value::Int(value))) => Some(Value::Float(value as f64)),
            (DataType::Float, ExprKind::Literal(value @ Value::Float(_))) => Some(value),
            (DataType::String, ExprKind::Literal(value @ Value::Str(_))) => Some(value),
            (DataType::Boolean, ExprKind::Literal(value @ Value::Bool(_))) => Some(value),
            _ => None,
        };
        let help = "a literal of the column's type; only BIGINT, FLOAT, STRING and BOOLEAN have defaults";
        value.ok_or_else(|| syntax("invalid default value").at(start).help(help))
    }

    /// `NAME = value` up to the closing parenthesis; commas are optional (G-5).
    fn options(&self, p: &mut Parser<'_>) -> Parsed<Vec<(Name, std::sync::Arc<str>)>> {
        let mut options = Vec::new();
        loop {
            if self.accept(p, ",") {
                continue;
            }
            if self.accept(p, ")") {
                return Ok(options);
            }
            let lexeme = self.at(p);
            let upper = lexeme.found.to_uppercase();
            let Some(OptionRow(name, kind)) = OPTIONS.iter().find(|row| lexeme.is_word(row.0)) else {
                return Err(unknown_option(&upper).at(lexeme.span));
            };
            p.advance_token();
            if !self.accept(p, "=") {
                let message = format!("found {}, expect equals(=) in options.", quote(&self.at(p).found));
                return Err(self.mistake(self.at(p), message));
            }
            let value = self.option_value(p, name, *kind)?;
            options.push((Name { text: (*name).into(), span: lexeme.span }, value.into()));
        }
    }

    /// D-2: text in either quotes, a bare number, a bare TRUE or FALSE.
    fn option_value(&self, p: &mut Parser<'_>, name: &str, kind: OptionKind) -> Parsed<String> {
        let negative = self.accept(p, "-");
        let lexeme = self.take(p);
        let is_number = matches!(lexeme.kind, Kind::Int | Kind::Number);
        let is_bool = lexeme.is_keyword("TRUE") || lexeme.is_keyword("FALSE");
        if !(is_number || (!negative && (is_bool || lexeme.kind == Kind::Text))) {
            let message =
                format!("found {}, expect string or boolean value in option.", quote(&lexeme.found));
            return Err(self.mistake(lexeme, message));
        }
        let text = if negative { format!("-{}", lexeme.found) } else { lexeme.found.clone() };
        let wrong = |what: &str| {
            let message = format!("found {}, expect {what} value in {name} option.", quote(&text));
            Err(syntax(message).at(lexeme.span))
        };
        match kind {
            OptionKind::Bool if !["true", "false"].contains(&text.to_lowercase().as_str()) => {
                wrong("TRUE/FALSE")
            }
            OptionKind::Int if text.parse::<i64>().is_err() => wrong("number"),
            OptionKind::Bool | OptionKind::Lower => Ok(text.to_lowercase()),
            OptionKind::Text | OptionKind::Int => Ok(if is_bool { text.to_lowercase() } else { text }),
        }
    }
}

fn unknown_option(found: &str) -> Diagnostic {
    let names: Vec<&str> = OPTIONS.iter().map(|row| row.0).collect();
    let diagnostic = syntax(format!("found {}, unknown option keys({}).", quote(found), names.join("|")));
    let underscored = OPTIONS.iter().map(|row| row.0).find(|name| name.replace('_', "") == found);
    match underscored.or_else(|| thalweg_core::diagnostic::nearest(found, names)) {
        Some(name) => diagnostic.help(format!("did you mean {name}?")),
        None => diagnostic,
    }
}

/// Names of types in other dialects of SQL.
fn other_name(found: &str) -> Option<&'static str> {
    Some(match found.to_uppercase().as_str() {
        "INT" | "INTEGER" | "SMALLINT" | "LONG" => "BIGINT",
        "DOUBLE" | "REAL" | "DECIMAL" | "NUMERIC" => "FLOAT",
        "VARCHAR" | "CHAR" | "TEXT" => "STRING",
        "BOOL" => "BOOLEAN",
        "TIMESTAMP" => "DATETIME",
        "BYTES" | "BLOB" => "BYTEA",
        _ => return None,
    })
}

impl CreateSource {
    /// The value of an option; the last one written wins.
    pub fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().rev().find(|(option, _)| option.text.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_ref())
    }
}

/// What can be said about a definition without knowing the world: D-3, D-4 (EXTRA, KEY), D-5.
fn check(create: &CreateSource) -> Parsed<()> {
    let stream = |message: String| Diagnostic::new(ErrorCode::Stream, message);
    let name = &create.name;
    if !name.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') || name.text.is_empty() {
        let allowed = "only alphanumeric, hyphens and underscores are allowed";
        return Err(
            stream(format!("id '{}' contains invalid characters: {allowed}", name.text)).at(name.span)
        );
    }
    let option = |name: &str| create.option(name).unwrap_or_default();
    if option("KIND") == "lookup" && option("TYPE") == "memory" && option("KEY").is_empty() {
        return Err(syntax("Option \"key\" is required for memory lookup table."));
    }
    if !option("EXTRA").is_empty() && !is_json_object(option("EXTRA")) {
        return Err(stream("invalid extra option, expect JSON string".to_owned()));
    }
    if !option("FORMAT").eq_ignore_ascii_case("binary") {
        return Ok(());
    }
    let message = match create.columns.as_slice() {
        _ if create.kind == SourceKind::Table => "'binary' format is not supported for table",
        [] => return Ok(()),
        [one] if one.data_type == DataType::Bytea => return Ok(()),
        [_] => "'binary' format stream can have only 'bytea' type field",
        _ => "'binary' format stream can have only one field",
    };
    Err(stream(message.to_owned()))
}

fn is_json_object(text: &str) -> bool {
    matches!(json::parse(text.as_bytes(), Numbers::Float), Ok(Value::Map(_)))
}
