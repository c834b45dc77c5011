//! Number and kinds of arguments, judged when a statement is planned, in upstream's words. Only literals are judged
//! (functions.md 1.2); what the table calls a literal must be one.

use thalweg_core::{Diagnostic, ErrorCode, Value};

use super::{Arg, ArgKind, ArgShape, Function, literal_args};

impl Function {
    /// Whether these arguments are acceptable.
    ///
    /// # Errors
    /// `validate function <name> error: <what is wrong>`, and the index of the argument, if one is.
    pub fn check_args(&self, args: &[ArgShape]) -> Result<(), (Diagnostic, Option<usize>)> {
        let wrong = |cause: &str| {
            let message = format!("validate function {} error: {cause}", self.name);
            Diagnostic::new(ErrorCode::SqlParse, message)
        };
        if let Some(feature) = self.missing_feature() {
            let mistake = wrong(&format!("this build has no cargo feature {feature}"));
            return Err((mistake.help("build thalweg-server with it"), None));
        }
        let Some((cause, index)) = self.mistake(args) else { return Ok(()) };
        let mistake = wrong(&cause);
        Err((mistake.help(format!("write {}", self.signature())), index))
    }

    /// How it is called: `substring(text, start[, end])`.
    pub fn signature(&self) -> String {
        let (mut text, mut n_open) = (format!("{}(", self.name), 0);
        for (index, arg) in self.args.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            if arg.optional {
                n_open += 1;
                text.push('[');
            }
            text.push_str(comma);
            text.push_str(arg.name);
            text.push_str(if arg.repeated { ", …" } else { "" });
        }
        text + &"]".repeat(n_open) + ")"
    }

    fn mistake(&self, args: &[ArgShape]) -> Option<(String, Option<usize>)> {
        let (required, repeats) = (self.min_args(), self.max_args().is_none());
        if args.len() < required || self.max_args().is_some_and(|most| args.len() > most) {
            return Some((self.wrong_count(args.len(), required, repeats), None));
        }
        let mut kinds = args.iter().enumerate().filter_map(|(i, shape)| {
            let arg = self.args.get(i).or(self.args.last())?;
            let expected = refusal(arg, shape)?;
            Some((format!("Expect {expected} type for parameter {}", i + 1), Some(i)))
        });
        kinds.next().or_else(|| {
            literal_args::mistake(self.name, args).map(|cause| {
                let number =
                    cause.rsplit_once("for parameter ").and_then(|(_, number)| number.parse::<usize>().ok());
                (cause.to_owned(), number.and_then(|number| number.checked_sub(1)))
            })
        })
    }

    /// Upstream words this differently for nearly every function.
    fn wrong_count(&self, found: usize, required: usize, repeats: bool) -> String {
        let most = self.args.len();
        match self.name {
            "resize" => format!("The resize function must have at least 3 parameters, but got {found}"),
            name if name == "thumbnail" || name.starts_with("geohash") => {
                format!("The {name} function supports {most} parameters, but got {found}")
            }
            "echo" | "countPlusOne" => {
                format!("{} function only supports {most} parameter but got {found}", self.name)
            }
            "accumulateWordCount" => {
                format!("wordCount function only supports {most} parameter but got {found}")
            }
            "substring" => "the arguments for substring should be 2 or 3".to_owned(),
            "round" | "log" => "Expect 1 or 2 arguments only".to_owned(),
            "array_join" | "sequence" => format!("Expect two or three arguments but found {found}."),
            "lag" => format!("expect one two or three args but got {found}"),
            "latest" => format!("expect one or two args but got {found}"),
            name if name.starts_with("acc_") => "Expect 1 or 3 arguments only".to_owned(),
            _ if repeats => format!("Expect at least {required} arguments but found {found}."),
            _ if most == required => format!("Expect {required} arguments but found {found}."),
            _ => format!("Expect {required} to {most} arguments but found {found}."),
        }
    }
}

/// What the argument should have been.
fn refusal(arg: &Arg, shape: &ArgShape) -> Option<&'static str> {
    let needs_literal = matches!(arg.kind, ArgKind::LiteralInt | ArgKind::LiteralText | ArgKind::LiteralBool);
    let fits = match (shape, arg.kind) {
        (ArgShape::Literal(Value::Null), _) | (_, ArgKind::Any) => true,
        (ArgShape::Literal(value), ArgKind::Number) => matches!(value, Value::Int(_) | Value::Float(_)),
        (ArgShape::Literal(value), ArgKind::Int | ArgKind::LiteralInt) => matches!(value, Value::Int(_)),
        (ArgShape::Literal(value), ArgKind::Text | ArgKind::LiteralText) => matches!(value, Value::Str(_)),
        (ArgShape::Literal(value), ArgKind::Bool | ArgKind::LiteralBool) => matches!(value, Value::Bool(_)),
        (ArgShape::Literal(value), ArgKind::Array | ArgKind::Object) => !matches!(value, Value::Bool(_)),
        (ArgShape::Literal(value), ArgKind::Time) => !matches!(value, Value::Bool(_)),
        _ => !needs_literal,
    };
    let expected = match arg.kind {
        ArgKind::Any => "any",
        ArgKind::Number => "number - float or int",
        ArgKind::Int | ArgKind::LiteralInt => "int",
        ArgKind::Text | ArgKind::LiteralText => "string",
        ArgKind::Bool | ArgKind::LiteralBool => "bool",
        ArgKind::Array => "array",
        ArgKind::Object => "object",
        ArgKind::Time => "datetime",
    };
    (!fits).then_some(expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::builtin;

    #[test]
    fn a_signature_shows_what_may_be_left_out_and_what_repeated() {
        let signature = |name: &str| builtin(name).expect("it is in the table").signature();
        assert_eq!(signature("pi"), "pi()");
        assert!(signature("substring").ends_with("])"), "{}", signature("substring"));
        assert!(signature("concat").ends_with(", …)"), "{}", signature("concat"));
    }

    #[test]
    fn mistakes_are_worded_as_upstream_does() {
        let text = |text: &str| ArgShape::Literal(Value::text(text));
        let column = || ArgShape::Column { source: None, name: "a".into() };
        for (name, args, expected) in [
            ("substring", vec![column()], "the arguments for substring should be 2 or 3"),
            ("round", vec![column(), column(), column()], "Expect 1 or 2 arguments only"),
            ("upper", vec![ArgShape::Literal(Value::Int(5))], "Expect string type for parameter 1"),
            ("pi", vec![column()], "Expect 0 arguments but found 1."),
            ("count", vec![], "Expect 1 arguments but found 0."),
            ("lag", vec![], "expect one two or three args but got 0"),
            ("abs", vec![text("x")], "Expect number - float or int type for parameter 1"),
            ("sum", vec![text("x")], "Expect number - float or int type for parameter 1"),
            ("last_value", vec![column()], "Expect 2 arguments but found 1."),
        ] {
            let function = builtin(name).expect("it is in the table");
            let message = function.check_args(&args).map_err(|(mistake, _)| mistake.message);
            assert_eq!(message, Err(format!("validate function {name} error: {expected}")));
        }
        assert!(builtin("abs").expect("it is in the table").check_args(&[column()]).is_ok());
    }
}
