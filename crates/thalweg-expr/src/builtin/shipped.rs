//! Table: the functions that upstream ships as plugins (functions.md 19), without those that need a model file. Their
//! names are case-sensitive, and a plugin of the same name goes before them: see `registry.rs`.

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, RowError, Value};

use super::aggregate::fold::{Fold, accumulator};
use super::args::only_text;
use super::image;
use crate::analytic::Analytic;
use crate::expr::EvalCx;
use crate::function::{Arg, ArgKind, Doc, Family, Function, FunctionKind, Nulls};

/// The table.
pub(super) const TABLE: &[Function] = &[
    Function {
        name: "echo",
        aliases: &[],
        args: super::ANY,
        kind: FunctionKind::Row(|args, _| Ok(args[0].clone())),
        nulls: Nulls::Own,
        doc: Doc {
            family: Family::External,
            summary: "The value as it is.",
            examples: &[("echo(\"x\")", "\"x\""), ("echo(null)", "-")],
        },
    },
    Function {
        name: "countPlusOne",
        aliases: &[],
        args: super::ANY,
        kind: FunctionKind::Aggregate(accumulator::<CountPlusOne>),
        nulls: Nulls::Own,
        doc: Doc {
            family: Family::External,
            summary: "One more than there are rows, null or not.",
            examples: &[("countPlusOne([1, 2, 3])", "4"), ("countPlusOne([null])", "2")],
        },
    },
    Function {
        name: "accumulateWordCount",
        aliases: &[],
        args: &[Arg::new("text", ArgKind::Any), Arg::new("separator", ArgKind::LiteralText)],
        kind: FunctionKind::Analytic(|| Box::new(Words::default())),
        nulls: Nulls::Own,
        doc: Doc {
            family: Family::External,
            summary: "Into how many pieces the separator has cut all texts so far.",
            examples: &[(
                "accumulateWordCount([\"a b\", \"c\", \"\", \"d e f\"], [\" \", \" \", \" \", \" \"])",
                "[2,3,4,7]",
            )],
        },
    },
    Function {
        name: "resize",
        aliases: &[],
        args: &[
            Arg::new("image", ArgKind::Any),
            Arg::new("width", ArgKind::Number),
            Arg::new("height", ArgKind::Number),
            Arg::new("raw", ArgKind::Any).optional().repeated(),
        ],
        kind: FunctionKind::Row(image::resize),
        nulls: Nulls::Own,
        doc: Doc {
            family: Family::External,
            summary: "The PNG, JPEG or GIF image in another size, in its format; one side 0 keeps the shape. With raw = true \
                      three bytes a pixel: red, green, blue.",
            examples: &[("resize(\"no image\", 64, 0)", "ERR")],
        },
    },
    Function {
        name: "thumbnail",
        aliases: &[],
        args: &[
            Arg::new("image", ArgKind::Any),
            Arg::new("max_width", ArgKind::Number),
            Arg::new("max_height", ArgKind::Number),
        ],
        kind: FunctionKind::Row(image::thumbnail),
        nulls: Nulls::Own,
        doc: Doc {
            family: Family::External,
            summary: "The PNG or JPEG image, made small enough for the given size; its shape stays.",
            examples: &[("thumbnail(\"no image\", 64, 64)", "ERR")],
        },
    },
];

/// Upstream's example of an aggregate.
#[derive(Debug, Clone, Default)]
struct CountPlusOne(u64);

impl Fold for CountPlusOne {
    const NAME: &'static str = "countPlusOne";

    fn add(&mut self, _args: &[Cell<'_>], _cx: &EvalCx<'_>) {
        self.0 += 1;
    }

    fn merge(&mut self, later: &Self) {
        self.0 += later.0;
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        out.push_int(self.0 as i64 + 1);
    }

    fn save(&self, out: &mut StateWriter) {
        out.u64(self.0);
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        from.u64().map(Self)
    }
}

/// Upstream's example of a function with state.
#[derive(Debug, Default)]
struct Words(u64);

impl Analytic for Words {
    fn next(&mut self, args: &[Value], valid: bool, _cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
        let (text, separator) = (only_text(&args[0])?, only_text(&args[1])?);
        if valid {
            // As Go cuts: nothing between the letters is a piece each.
            let n_pieces = match separator {
                "" => text.chars().count(),
                separator => text.split(separator).count(),
            };
            self.0 += n_pieces as u64;
        }
        Ok(Value::Int(self.0 as i64))
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("words", 1);
        out.u64(self.0);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("words", 1)?;
        self.0 = from.u64()?;
        Ok(())
    }
}
