//! CREATE, SHOW, DESCRIBE, EXPLAIN and DROP (chapter 5).

use sqlparser::parser::Parser;
use thalweg_core::json::{self, Numbers};
use thalweg_core::{DataType, Diagnostic, ErrorCode, Span, Value};

use crate::ast::{ColumnDef, CreateSource, ExprKind, Name, SourceKind, Statement};
use crate::grammar::{Grammar, Parsed, syntax};
use crate::lex::{Kind, Lexeme, quote};
use crate::recover::Stop;

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
        let name =
            self.defined_name(p, if kind == SourceKind::Stream { "stream name" } else { "table name" })?;
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
            None => diagnostic.help(format!("{stream} or {table} belongs here")),
        })
    }

    /// D-9: text after `;` is ignored, other text is an error.
    fn end_of_definition(&self, p: &Parser<'_>, what: &str) -> Parsed<()> {
        let next = self.at(p);
        if next.kind == Kind::End || next.is_symbol(";") {
            return Ok(());
        }
        Err(self.found(p, what).help("nothing but ; may follow"))
    }

    fn defined_name(&self, p: &mut Parser<'_>, what: &str) -> Parsed<Name> {
        self.name(p, what).map_err(|mistake| match mistake.help {
            None => mistake.help("a name belongs here"),
            Some(_) => mistake,
        })
    }

    fn create(&self, p: &mut Parser<'_>, kind: SourceKind) -> Parsed<CreateSource> {
        let name = self.defined_name(p, "stream name")?;
        let open = self.at(p).span;
        if !self.accept(p, "(") {
            let is_part = ["/", "-", ".", "#", "+"].iter().any(|mark| self.at(p).is_symbol(mark));
            let help = match is_part {
                true => "names are letters, digits, _ and -; one with - stands in backticks",
                false => "the columns belong in parentheses, () for none",
            };
            return Err(self.found(p, "lparen after stream name").help(help));
        }
        let columns = self.all_columns(p, open);
        if self.is_noted(self.at(p)) && !self.at(p).is_word("WITH") {
            return Ok(CreateSource { kind, name, columns, options: Vec::new() });
        }
        if !self.accept_word(p, "WITH") {
            let found = &self.at(p).found;
            let found = if columns.is_empty() { found.clone() } else { found.to_uppercase() };
            let message = format!("found {}, expected is with.", quote(&found));
            return Err(syntax(message)
                .at(self.at(p).span)
                .help("WITH (options) belongs behind the columns, WITH () for none"));
        }
        if !self.accept(p, "(") {
            let message = format!("found {}, expect stream options.", self.at(p).shown());
            return Err(self
                .mistake(self.at(p), message)
                .help("write the options in parentheses behind WITH"));
        }
        let options = self.options(p);
        let create = CreateSource { kind, name, columns, options };
        if !self.is_noted(self.at(p)) {
            self.end_of_definition(p, "semicolon or EOF")?;
        }
        check(&create).into_iter().for_each(|mistake| self.note(mistake));
        Ok(create)
    }

    /// Columns up to the closing parenthesis. A last comma is allowed (G-5).
    fn columns(&self, p: &mut Parser<'_>, depth: usize) -> Parsed<Vec<ColumnDef>> {
        let mut columns = Vec::new();
        while !self.accept(p, ")") {
            columns.push(self.column(p, depth)?);
        }
        Ok(columns)
    }

    /// The columns of the statement itself, read on after mistakes. Ends before what is no column.
    fn all_columns(&self, p: &mut Parser<'_>, open: Span) -> Vec<ColumnDef> {
        let mut columns = Vec::new();
        while !self.accept(p, ")") {
            let next = self.at(p);
            if next.is_word("WITH") && self.ahead(p, 1).is_symbol("(") {
                let message = format!("found {}, expect comma or rparen.", next.shown());
                self.note(self.unclosed_list(open, syntax(message).at(next.span)));
                break;
            }
            if next.kind == Kind::End || next.is_symbol(";") {
                if !self.is_noted(next) {
                    let message = format!("found {}, expect stream field name.", next.shown());
                    self.note(self.unclosed_list(open, syntax(message).at(next.span)));
                }
                break;
            }
            let column = self.recovered(p, Stop::Definition, |p| self.column(p, 0));
            if column.is_err() && !self.accept(p, ",") && self.at(p).is_symbol("=") {
                p.advance_token();
            }
            columns.extend(column);
        }
        columns
    }

    fn unclosed_list(&self, open: Span, mistake: Diagnostic) -> Diagnostic {
        mistake.help(format!("the ( of {} is not closed", self.place(open)))
    }

    /// `name type [DEFAULT literal]` and the comma behind it.
    fn column(&self, p: &mut Parser<'_>, depth: usize) -> Parsed<ColumnDef> {
        if !self.at(p).is_name() {
            let message = format!("found {}, expect stream field name.", self.at(p).shown());
            return Err(self.mistake(self.at(p), message));
        }
        let name = self.name(p, "name")?;
        let data_type = self.data_type(p, depth)?;
        let default =
            if self.accept_keyword(p, "DEFAULT") { Some(self.default(p, &data_type)?) } else { None };
        if !self.accept(p, ",") && !self.at(p).is_symbol(")") {
            let next = self.at(p);
            let mistake = self.mistake(next, format!("found {}, expect comma or rparen.", next.shown()));
            let is_sql = ["NOT", "NULL", "PRIMARY", "UNIQUE", "COMMENT"];
            return Err(match next.kind {
                _ if is_sql.iter().any(|word| next.found.eq_ignore_ascii_case(word)) => {
                    mistake.help("a column has a name, a type and possibly a DEFAULT, nothing else")
                }
                _ if next.kind == Kind::End || next.is_word("WITH") && self.ahead(p, 1).is_symbol("(") => {
                    mistake.help(format!(
                        "a ) is missing after {}",
                        self.behind(p).map_or("", |it| self.written(it))
                    ))
                }
                Kind::Symbol if next.found == "(" => mistake.help("types have no length here"),
                Kind::Word | Kind::Quoted if mistake.help.is_none() => {
                    mistake.help(format!("a comma is missing before {}", self.written(next)))
                }
                _ => mistake,
            });
        }
        Ok(ColumnDef { name, data_type, default })
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
            if !self.accept(p, "(") {
                let help = "a STRUCT names its columns: STRUCT(name BIGINT, …)";
                return Err(self.found(p, "lparen after stream name").help(help));
            }
            let columns = self.columns(p, depth + 1)?;
            if columns.is_empty() {
                return Err(self.found(p, "is with").help("a STRUCT needs at least one column"));
            }
            let field = |column: ColumnDef| (column.name.text, column.data_type);
            return Ok(DataType::Struct(columns.into_iter().map(field).collect()));
        }
        let types = "BIGINT | FLOAT | STRING | DATETIME | BOOLEAN | BYTEA | ARRAY | STRUCT";
        let message = format!("found {}, expect valid stream field types({types}).", lexeme.shown());
        let names = TYPES.iter().map(|(name, _)| *name).chain(["ARRAY", "STRUCT"]);
        let others = OTHER_NAMES.iter().flat_map(|(others, _)| others.iter().copied());
        let near = thalweg_core::diagnostic::nearest(&lexeme.found, names.chain(others));
        let near = near.map(|near| other_name(near).unwrap_or(near)).filter(|_| lexeme.kind == Kind::Word);
        let diagnostic = syntax(message).at(lexeme.span);
        Err(match near {
            Some(name) => diagnostic.help(format!("did you mean {name}?")),
            None => diagnostic
                .help(format!("a type belongs behind {}", self.behind(p).map_or("", |it| self.written(it)))),
        })
    }

    /// `(type)` of an ARRAY. Without it upstream skips a token and complains at the next.
    fn element(&self, p: &mut Parser<'_>, depth: usize) -> Parsed<DataType> {
        if !self.accept(p, "(") {
            p.advance_token();
            let message = format!("found {}, expect comma or rparen.", self.at(p).shown());
            return Err(syntax(message)
                .at(self.at(p).span)
                .help("ARRAY needs an element type: ARRAY(BIGINT)"));
        }
        let element = self.data_type(p, depth)?;
        if !self.accept(p, ")") {
            let message = format!("found {}, expect rparen in array type definition.", self.at(p).shown());
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
    fn options(&self, p: &mut Parser<'_>) -> Vec<(Name, std::sync::Arc<str>)> {
        let open = self.behind(p).map_or(self.at(p).span, |open| open.span);
        let mut options = Vec::new();
        while !self.accept(p, ")") {
            if self.accept(p, ",") {
                continue;
            }
            let (start, next) = (p.index(), self.at(p));
            if next.kind == Kind::End || next.is_symbol(";") {
                if !self.is_noted(next) {
                    let message = format!("found {}, expect rparen in options.", next.shown());
                    self.note(self.unclosed_list(open, syntax(message).at(next.span)));
                }
                break;
            }
            options.extend(self.recovered(p, Stop::Definition, |p| self.option(p)));
            if p.index() == start {
                p.advance_token();
                self.skip(p, p.index(), Stop::Definition);
            }
        }
        options
    }

    fn option(&self, p: &mut Parser<'_>) -> Parsed<(Name, std::sync::Arc<str>)> {
        let lexeme = self.at(p);
        let upper = lexeme.shown().trim_matches('"').to_uppercase();
        let Some(OptionRow(name, kind)) = OPTIONS.iter().find(|row| lexeme.is_word(row.0)) else {
            return Err(unknown_option(lexeme, &upper).at(lexeme.span));
        };
        p.advance_token();
        if !self.accept(p, "=") {
            let message = format!("found {}, expect equals(=) in options.", self.at(p).shown());
            let help = format!("write {name}=\"value\"");
            return Err(self.mistake(self.at(p), message).help(help));
        }
        let value = self.option_value(p, name, *kind)?;
        Ok((Name { text: (*name).into(), span: lexeme.span }, value.into()))
    }

    /// D-2: text in either quotes, a bare number, a bare TRUE or FALSE.
    fn option_value(&self, p: &mut Parser<'_>, name: &str, kind: OptionKind) -> Parsed<String> {
        let negative = self.accept(p, "-");
        let lexeme = self.at(p);
        let is_number = matches!(lexeme.kind, Kind::Int | Kind::Number);
        let is_bool = lexeme.is_keyword("TRUE") || lexeme.is_keyword("FALSE");
        if !(is_number || (!negative && (is_bool || lexeme.kind == Kind::Text))) {
            let message = format!("found {}, expect string or boolean value in option.", lexeme.shown());
            let mistake = self.mistake(lexeme, message);
            let is_name = matches!(lexeme.kind, Kind::Word | Kind::Quoted);
            return Err(match is_name {
                false if lexeme.is_symbol(")") || lexeme.is_symbol(",") || lexeme.kind == Kind::End => {
                    mistake.help(format!("a value is missing after {name}="))
                }
                true => mistake.help(format!("text is written in quotes: {name}=\"{}\"", lexeme.found)),
                false => mistake,
            });
        }
        p.advance_token();
        let text = if negative { format!("-{}", lexeme.found) } else { lexeme.found.clone() };
        let wrong = |what: &str| {
            let message = format!("found {}, expect {what} value in {name} option.", quote(&text));
            let example = if kind == OptionKind::Int { "\"10\"" } else { "\"true\"" };
            Err(syntax(message).at(lexeme.span).help(format!("such as {name}={example}")))
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

fn unknown_option(lexeme: &Lexeme, found: &str) -> Diagnostic {
    let names: Vec<&str> = OPTIONS.iter().map(|row| row.0).collect();
    let diagnostic = syntax(format!("found {}, unknown option keys({}).", quote(found), names.join("|")));
    let underscored = OPTIONS.iter().map(|row| row.0).find(|name| name.replace('_', "") == found);
    let is_word = lexeme.kind == Kind::Word;
    match underscored.or_else(|| thalweg_core::diagnostic::nearest(found, names)).filter(|_| is_word) {
        Some(name) => diagnostic.help(format!("did you mean {name}?")),
        None if matches!(lexeme.kind, Kind::Text | Kind::Quoted) => {
            diagnostic.help("names of options are written without quotes")
        }
        None if lexeme.kind == Kind::Word => diagnostic
            .help("what a source has beyond these belongs into a configuration key (CONF_KEY) or EXTRA"),
        None => diagnostic,
    }
}

/// Names of types in other dialects of SQL.
const OTHER_NAMES: &[(&[&str], &str)] = &[
    (&["INT", "INTEGER", "SMALLINT", "LONG", "INT64", "INT32"], "BIGINT"),
    (&["DOUBLE", "REAL", "DECIMAL", "NUMERIC", "NUMBER", "FLOAT64"], "FLOAT"),
    (&["VARCHAR", "CHAR", "TEXT"], "STRING"),
    (&["BOOL"], "BOOLEAN"),
    (&["TIMESTAMP", "DATE"], "DATETIME"),
    (&["BYTES", "BLOB", "BINARY"], "BYTEA"),
    (&["OBJECT", "MAP", "JSON"], "STRUCT"),
    (&["LIST"], "ARRAY"),
];

fn other_name(found: &str) -> Option<&'static str> {
    OTHER_NAMES.iter().find(|(others, _)| others.contains(&found)).map(|(_, name)| *name)
}

impl CreateSource {
    /// The value of an option; the last one written wins.
    pub fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().rev().find(|(option, _)| option.text.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_ref())
    }
}

/// What can be said about a definition without knowing the world: D-3, D-4 (EXTRA, KEY), D-5.
fn check(create: &CreateSource) -> Vec<Diagnostic> {
    let stream = |message: String| Diagnostic::new(ErrorCode::Stream, message);
    let (mut mistakes, name) = (Vec::new(), &create.name);
    let place = |option: &str| {
        let found = create.options.iter().rev().find(|(name, _)| name.text.eq_ignore_ascii_case(option));
        found.map_or(name.span, |(name, _)| name.span)
    };
    if !name.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') || name.text.is_empty() {
        let allowed = "only alphanumeric, hyphens and underscores are allowed";
        let message = format!("id '{}' contains invalid characters: {allowed}", name.text);
        mistakes.push(stream(message).at(name.span));
    }
    let option = |name: &str| create.option(name).unwrap_or_default();
    if option("KIND") == "lookup" && option("TYPE") == "memory" && option("KEY").is_empty() {
        let mistake = syntax("Option \"key\" is required for memory lookup table.").at(place("TYPE"));
        mistakes.push(mistake.help("KEY names the column by which rows are looked up"));
    }
    if !option("EXTRA").is_empty() && !is_json_object(option("EXTRA")) {
        let mistake = stream("invalid extra option, expect JSON string".to_owned()).at(place("EXTRA"));
        mistakes.push(mistake.help("an object in single quotes: EXTRA='{\"name\": \"value\"}'"));
    }
    if option("FORMAT").eq_ignore_ascii_case("binary")
        && let Some(message) = not_binary(create)
    {
        let help = "binary gives one column of bytes: (self BYTEA), or () and the column is called self";
        mistakes.push(stream(message.to_owned()).at(place("FORMAT")).help(help));
    }
    mistakes
}

/// D-5.
fn not_binary(create: &CreateSource) -> Option<&'static str> {
    match create.columns.as_slice() {
        _ if create.kind == SourceKind::Table => Some("'binary' format is not supported for table"),
        [] => None,
        [one] if one.data_type == DataType::Bytea => None,
        [_] => Some("'binary' format stream can have only 'bytea' type field"),
        _ => Some("'binary' format stream can have only one field"),
    }
}

fn is_json_object(text: &str) -> bool {
    matches!(json::parse(text.as_bytes(), Numbers::Float), Ok(Value::Map(_)))
}
