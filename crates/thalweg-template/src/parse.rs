//! Tokens to a tree, with Go's error texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::diagnostic::{line_and_column, nearest};
use thalweg_core::{Diagnostic, Span, Value};

use crate::funcs;
use crate::lex::{Kind, Token, lex};
use crate::tree::{Arg, ArgKind, Bodies, Command, Node, Pipe};

/// Nested blocks and parentheses.
const MAX_DEPTH: usize = 50;

type Parsed<T> = Result<T, Diagnostic>;

/// The bodies of a template.
pub(crate) fn parse(name: &str, text: &str) -> Parsed<Bodies> {
    let tokens = lex(text);
    let variables = vec![Arc::from("$")];
    let mut parser =
        Parser { name, text, tokens, at: 0, variables, bodies: BTreeMap::new(), ranges: 0, depth: 0 };
    let (body, end) = parser.body()?;
    if let Some((word, span)) = end {
        return Err(parser.wrong(span, format!("unexpected {{{{{word}}}}}")));
    }
    parser.bodies.insert(Arc::from(""), body.into());
    Ok(parser.bodies)
}

struct Parser<'a> {
    name: &'a str,
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    /// Declared so far, innermost last.
    variables: Vec<Arc<str>>,
    bodies: Bodies,
    /// Ranges around the current place.
    ranges: usize,
    depth: usize,
}

/// The word that ended a body, `end` or `else`, whose action is not yet closed.
type End = Option<(String, Span)>;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn accept(&mut self, mark: &'static str) -> bool {
        let is_there = self.peek().kind == Kind::Mark(mark);
        self.at += usize::from(is_there);
        is_there
    }

    /// Go's text, with its name and line, and our place.
    fn wrong(&self, span: Span, what: impl std::fmt::Display) -> Diagnostic {
        let (line, _) = line_and_column(self.text, span.start as usize);
        Diagnostic::plain(format!("template: {}:{line}: {what}", self.name)).at(span)
    }

    fn unexpected(&self, token: &Token, context: &str) -> Diagnostic {
        let shown = &self.text[token.span.start as usize..token.span.end as usize];
        match &token.kind {
            Kind::Wrong(what) => {
                let mistake = self.wrong(token.span, what);
                match what.as_str() {
                    "unclosed action" => mistake.help("}} is missing"),
                    what if what.starts_with("unterminated") => mistake.help("the closing quote is missing"),
                    what if what.ends_with("'}'") => mistake.help("an action ends with }}"),
                    _ => mistake,
                }
            }
            Kind::End => {
                let mistake = self.wrong(token.span, "unexpected EOF");
                mistake.help("{{end}} is missing for an {{if}}, {{range}} or {{with}}")
            }
            Kind::Close | Kind::Text(_) | Kind::Open => {
                self.wrong(token.span, format!("unexpected {shown:?} in {context}"))
            }
            _ => self.wrong(token.span, format!("unexpected <{shown}> in {context}")),
        }
    }

    fn deeper<T>(&mut self, span: Span, part: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.wrong(span, "nested too deeply"));
        }
        self.depth += 1;
        let result = part(self);
        self.depth -= 1;
        result
    }

    /// Nodes up to `end`, `else` or the end of the text.
    fn body(&mut self) -> Parsed<(Vec<Node>, End)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::Text(text) => nodes.push(Node::Text(text.into())),
                Kind::Open => {
                    if let Kind::Word(word) = &self.peek().kind
                        && (word == "end" || word == "else")
                    {
                        let word = word.clone();
                        let span = self.next().span;
                        return Ok((nodes, Some((word, span))));
                    }
                    let node = self.deeper(token.span, Self::action)?;
                    nodes.extend(node);
                }
                Kind::End => return Ok((nodes, None)),
                _ => return Err(self.unexpected(&token, "input")),
            }
        }
    }

    fn close(&mut self, context: &str) -> Parsed<()> {
        let token = self.next();
        match token.kind {
            Kind::Close => Ok(()),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn action(&mut self) -> Parsed<Option<Node>> {
        let start = self.peek().span;
        let word = match &self.peek().kind {
            Kind::Word(word) => word.clone(),
            _ => String::new(),
        };
        match word.as_str() {
            "if" | "with" | "range" => self.block(&word).map(Some),
            "define" => self.define().map(|()| None),
            "template" | "block" => self.call(&word).map(Some),
            "break" | "continue" => {
                self.at += 1;
                self.close(&word)?;
                if self.ranges == 0 {
                    return Err(self.wrong(start, format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                Ok(Some(if word == "break" { Node::Break } else { Node::Continue }))
            }
            _ => {
                let pipe = self.pipe("command")?;
                self.close("command")?;
                Ok(Some(Node::Action(pipe)))
            }
        }
    }

    /// `if`, `with` or `range`, from its word to its `end`.
    fn block(&mut self, word: &str) -> Parsed<Node> {
        self.at += 1;
        let n_variables = self.variables.len();
        let pipe = self.pipe(word)?;
        self.close(word)?;
        let is_range = usize::from(word == "range");
        self.ranges += is_range;
        let (body, end) = self.body()?;
        self.ranges -= is_range;
        let (then, otherwise) = (body.into_boxed_slice(), self.otherwise(word, end)?);
        self.variables.truncate(n_variables);
        Ok(match word {
            "if" => Node::If { test: pipe, then, otherwise },
            "with" => Node::With { value: pipe, then, otherwise },
            _ => Node::Range { over: pipe, body: then, otherwise },
        })
    }

    /// What follows the body of a block: `end`, `else … end`, or `else if …`, which is a block inside `else`.
    fn otherwise(&mut self, word: &str, end: End) -> Parsed<Box<[Node]>> {
        let Some((end, span)) = end else {
            let token = self.peek().clone();
            return Err(self.unexpected(&token, word));
        };
        if end == "end" {
            self.close("end")?;
            return Ok(Box::default());
        }
        if word != "range" && self.peek().kind == Kind::Word(word.to_owned()) {
            let inner = self.deeper(span, |parser| parser.block(word))?;
            return Ok(Box::new([inner]));
        }
        self.close("else")?;
        let (body, end) = self.body()?;
        match end {
            Some((end, _)) if end == "end" => self.close("end")?,
            Some((_, span)) => return Err(self.wrong(span, "expected end; found {{else}}")),
            None => {
                let token = self.peek().clone();
                return Err(self.unexpected(&token, word));
            }
        }
        Ok(body.into_boxed_slice())
    }

    fn define(&mut self) -> Parsed<()> {
        let span = self.next().span;
        if self.depth > 1 {
            return Err(self.wrong(span, "unexpected {{define}}"));
        }
        let name = self.body_name("define clause")?;
        self.close("define clause")?;
        self.named_body(name)
    }

    /// The body of a `define` or `block`, in which only `$` is known.
    fn named_body(&mut self, name: Arc<str>) -> Parsed<()> {
        let outer = std::mem::replace(&mut self.variables, vec![Arc::from("$")]);
        let ranges = std::mem::take(&mut self.ranges);
        let (body, end) = self.body()?;
        (self.variables, self.ranges) = (outer, ranges);
        match end {
            Some((end, _)) if end == "end" => self.close("end")?,
            Some((_, span)) => return Err(self.wrong(span, "unexpected {{else}} in define clause")),
            None => {
                let token = self.peek().clone();
                return Err(self.unexpected(&token, "define clause"));
            }
        }
        self.bodies.insert(name, body.into());
        Ok(())
    }

    /// `template "name" [pipe]`, or `block "name" pipe … end`, which defines what it calls.
    fn call(&mut self, word: &str) -> Parsed<Node> {
        let span = self.next().span;
        let name = self.body_name(&format!("{word} clause"))?;
        let data = if self.peek().kind == Kind::Close { None } else { Some(self.pipe(word)?) };
        if word == "block" && data.is_none() {
            return Err(self.wrong(span, "missing value for block clause"));
        }
        self.close(word)?;
        if word == "block" {
            self.named_body(Arc::clone(&name))?;
        }
        Ok(Node::Call { name, data, span })
    }

    fn body_name(&mut self, context: &str) -> Parsed<Arc<str>> {
        let token = self.next();
        match &token.kind {
            Kind::Literal(Value::Str(name)) => Ok(Arc::clone(name)),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn pipe(&mut self, context: &str) -> Parsed<Pipe> {
        let start = self.peek().span;
        let (variables, assigns) = self.declared(context == "range")?;
        let mut commands = Vec::new();
        loop {
            let command = self.command(context)?;
            if commands.is_empty()
                || matches!(command.args[0].kind, ArgKind::Function(_))
                || command.args[0].is_callable()
            {
                commands.push(command);
            } else {
                let stage = commands.len() + 1;
                return Err(
                    self.wrong(command.span, format!("non executable command in pipeline stage {stage}"))
                );
            }
            if !self.accept("|") {
                break;
            }
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        let end = self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)].span;
        Ok(Pipe { variables, assigns, commands, span: start.to(end) })
    }

    /// `$x :=`, `$x =`, and `$i, $e :=` of a range.
    fn declared(&mut self, is_range: bool) -> Parsed<(Vec<Arc<str>>, bool)> {
        let kind = |at: usize| self.tokens.get(self.at + at).map(|token| &token.kind);
        let name = |at: usize| match kind(at) {
            Some(Kind::Variable(name)) => Some(Arc::<str>::from(name.as_str())),
            _ => None,
        };
        let Some(first) = name(0) else { return Ok((Vec::new(), false)) };
        let mut names = vec![first];
        let mut at = 1;
        if is_range
            && kind(1) == Some(&Kind::Mark(","))
            && let Some(second) = name(2)
        {
            names.push(second);
            at = 3;
        }
        let assigns = match kind(at) {
            Some(Kind::Mark(":=")) => false,
            Some(Kind::Mark("=")) => true,
            _ => return Ok((Vec::new(), false)),
        };
        let span = self.peek().span;
        if let Some(unknown) = names.iter().find(|name| assigns && !self.variables.contains(name)) {
            return Err(self.wrong(span, format!("undefined variable {unknown:?}")));
        }
        self.at += at + 1;
        Ok((names, assigns))
    }

    fn command(&mut self, context: &str) -> Parsed<Command> {
        let start = self.peek().span;
        let mut args = Vec::new();
        let mut end = start;
        loop {
            let token = self.peek();
            if matches!(token.kind, Kind::Close | Kind::Mark("|") | Kind::Mark(")")) {
                break;
            }
            if !args.is_empty() && !token.spaced {
                let token = token.clone();
                return Err(self.unexpected(&token, "operand"));
            }
            let arg = self.arg()?;
            end = arg.span;
            args.push(arg);
        }
        if args.is_empty() {
            let token = self.peek().clone();
            return Err(match token.kind {
                Kind::Wrong(_) | Kind::End => self.unexpected(&token, context),
                _ => self.wrong(token.span, format!("missing value for {context}")),
            });
        }
        Ok(Command { args, span: start.to(end) })
    }

    fn arg(&mut self) -> Parsed<Arg> {
        let token = self.next();
        let mut path = Vec::new();
        let kind = match &token.kind {
            Kind::Dot => ArgKind::Dot,
            Kind::Field(name) => {
                path.push(Arc::from(name.as_str()));
                ArgKind::Dot
            }
            Kind::Variable(name) if self.variables.iter().any(|known| **known == **name) => {
                ArgKind::Variable(Arc::from(name.as_str()))
            }
            Kind::Variable(name) => {
                return Err(self.wrong(token.span, format!("undefined variable {name:?}")));
            }
            Kind::Literal(value) => ArgKind::Literal(value.clone()),
            Kind::Word(word) => self.word(word, token.span)?,
            Kind::Mark("(") => {
                let pipe = self.deeper(token.span, |parser| parser.pipe("parenthesized pipeline"))?;
                let close = self.next();
                if close.kind != Kind::Mark(")") {
                    return Err(self.unexpected(&close, "parenthesized pipeline"));
                }
                ArgKind::Pipe(Box::new(pipe))
            }
            _ => return Err(self.unexpected(&token, "operand")),
        };
        let mut span = token.span;
        if let ArgKind::Pipe(_) = kind {
            span = span.to(self.tokens[self.at - 1].span);
        }
        while let Kind::Field(name) = &self.peek().kind {
            if self.peek().spaced {
                break;
            }
            let name = Arc::from(name.as_str());
            if let ArgKind::Literal(_) = kind {
                let shown = &self.text[span.start as usize..span.end as usize];
                return Err(self.wrong(span, format!("unexpected . after term {shown:?}")));
            }
            path.push(name);
            span = span.to(self.next().span);
        }
        Ok(Arg { kind, path, span })
    }

    fn word(&self, word: &str, span: Span) -> Parsed<ArgKind> {
        match word {
            "true" => return Ok(ArgKind::Literal(Value::Bool(true))),
            "false" => return Ok(ArgKind::Literal(Value::Bool(false))),
            "nil" => return Ok(ArgKind::Literal(Value::Null)),
            _ => {}
        }
        if let Some(function) = funcs::find(word) {
            return Ok(ArgKind::Function(function));
        }
        let keywords =
            ["if", "with", "range", "define", "template", "block", "end", "else", "break", "continue"];
        if keywords.contains(&word) {
            return Err(self.wrong(span, format!("unexpected <{word}> in operand")));
        }
        let diagnostic = self.wrong(span, format!("function {word:?} not defined"));
        Err(
            match funcs::left_out(word)
                .map(str::to_owned)
                .or_else(|| nearest(word, funcs::names()).map(|name| format!("did you mean {name}?")))
            {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            },
        )
    }
}

impl Arg {
    /// Whether Go lets it stand behind `|`: fields and variables might hold functions there. Ours fail when rendered.
    fn is_callable(&self) -> bool {
        !self.path.is_empty()
    }
}
