//! `thalweg plugin new`: a folder with a plugin that works and passes its own test.

use std::fs;
use std::path::{Path, PathBuf};

use thalweg_expr::registry::builtin;

use super::{Failure, Kind, NewArgs};

/// What is different for each kind.
struct Skeleton {
    code: &'static str,
    cases: &'static str,
    test: &'static str,
    /// The decorator's name.
    decorator: &'static str,
    /// The key of the description, and the group of entry points.
    kinds: &'static str,
    usage: &'static str,
}

fn skeleton(kind: Kind) -> Skeleton {
    match kind {
        Kind::Function => Skeleton {
            code: include_str!("skeleton/function.py"),
            cases: include_str!("skeleton/function_cases.json"),
            test: include_str!("skeleton/test_function.py"),
            decorator: "function",
            kinds: "functions",
            usage: "```sql\nSELECT __SYMBOL__(temperature) AS doubled FROM demo\n```",
        },
        Kind::Aggregate => Skeleton {
            code: include_str!("skeleton/aggregate.py"),
            cases: include_str!("skeleton/aggregate_cases.json"),
            test: include_str!("skeleton/test_aggregate.py"),
            decorator: "aggregate",
            kinds: "functions",
            usage: "```sql\nSELECT __SYMBOL__(temperature) AS spread FROM demo GROUP BY TUMBLINGWINDOW(ss, 10)\n```",
        },
        Kind::Source => Skeleton {
            code: include_str!("skeleton/source.py"),
            cases: include_str!("skeleton/source_cases.json"),
            test: include_str!("skeleton/test_source.py"),
            decorator: "source",
            kinds: "sources",
            usage: "```sql\nCREATE STREAM rows () WITH (TYPE=\"__SYMBOL__\", FORMAT=\"json\")\n```",
        },
        Kind::Sink => Skeleton {
            code: include_str!("skeleton/sink.py"),
            cases: include_str!("skeleton/sink_cases.json"),
            test: include_str!("skeleton/test_sink.py"),
            decorator: "sink",
            kinds: "sinks",
            usage: "An action of a rule:\n\n```json\n{\"__SYMBOL__\": {\"path\": \"/tmp/rows\"}}\n```",
        },
    }
}

/// Modules of the standard library that the SDK imports: a script of this name would stand in their way.
const TAKEN_MODULES: &[&str] = &[
    "argparse",
    "array",
    "ast",
    "base64",
    "bisect",
    "calendar",
    "collections",
    "copy",
    "datetime",
    "email",
    "enum",
    "errno",
    "fnmatch",
    "functools",
    "importlib",
    "inspect",
    "io",
    "itertools",
    "json",
    "keyword",
    "locale",
    "logging",
    "math",
    "mmap",
    "operator",
    "os",
    "pkgutil",
    "platform",
    "queue",
    "random",
    "re",
    "select",
    "selectors",
    "shutil",
    "signal",
    "site",
    "socket",
    "stat",
    "string",
    "struct",
    "subprocess",
    "sys",
    "tempfile",
    "textwrap",
    "threading",
    "time",
    "token",
    "tokenize",
    "traceback",
    "types",
    "typing",
    "unittest",
    "warnings",
    "weakref",
    "zipfile",
    "thalweg",
    "thalweg_sdk",
    "ekuiper",
    "numpy",
    "pyarrow",
];

const KEYWORDS: &[&str] = &[
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else",
    "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not",
    "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

pub(super) fn run(args: &NewArgs) -> Result<String, Failure> {
    check(&args.name, args.kind)?;
    let folder = args.r#in.clone().unwrap_or_default().join(&args.name);
    if folder.exists() {
        return Err(Failure::Refused(format!("{} is there already; choose another name", folder.display())));
    }
    let files = if args.python_package { distribution(args) } else { package(args) };
    for (path, text) in &files {
        let path = folder.join(path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.map_err(|why| Failure::Refused(format!("cannot write {}: {why}", path.display())))?;
    }
    let listed: String =
        files.iter().map(|(path, _)| format!("  {}\n", folder.join(path).display())).collect();
    Ok(format!("{listed}try it: thalweg plugin test {}\n", folder.display()))
}

fn check(name: &str, kind: Kind) -> Result<(), Failure> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let starts_well = name.starts_with(|letter: char| letter.is_ascii_lowercase());
    if !starts_well || !name.bytes().all(is_allowed) || name.len() > 40 || name.ends_with(['-', '_']) {
        return Err(Failure::Usage(format!(
            "the name {name:?} must begin with a small letter, hold only small letters, digits, \"-\" and \"_\", and at \
             most 40 of them"
        )));
    }
    let symbol = symbol(name);
    if KEYWORDS.contains(&&*symbol) || TAKEN_MODULES.contains(&&*symbol) {
        let text =
            format!("{symbol} is a word or module of Python; choose another name, such as {name}-rows");
        return Err(Failure::Usage(text));
    }
    if matches!(kind, Kind::Function | Kind::Aggregate) && builtin(&symbol).is_some() {
        return Err(Failure::Usage(format!(
            "SQL has a built-in function {symbol}, so that this one would never be called; choose another name"
        )));
    }
    Ok(())
}

fn symbol(name: &str) -> String {
    name.replace('-', "_")
}

/// A folder to zip.
fn package(args: &NewArgs) -> Vec<(PathBuf, String)> {
    let skeleton = skeleton(args.kind);
    let symbol = symbol(&args.name);
    let description = include_str!("skeleton/description.json");
    let code = format!("{}{}", skeleton.code, include_str!("skeleton/main.py"));
    let mut imports = [skeleton.decorator, "run"];
    imports.sort_unstable();
    let mut files = vec![
        (format!("{}.json", args.name), description.to_owned()),
        (format!("{symbol}.py"), code.replace("__IMPORTS__", &imports.join(", "))),
    ];
    if args.kind == Kind::Source {
        files.push((format!("sources/{symbol}.yaml"), include_str!("skeleton/source.yaml").to_owned()));
    }
    files.push(("cases.json".to_owned(), skeleton.cases.to_owned()));
    files.push((format!("test_{symbol}.py"), skeleton.test.to_owned()));
    files.push(("README.md".to_owned(), readme(&skeleton, &format!("makes {}.zip", args.name))));
    filled(args, &skeleton, files)
}

/// A distribution for pip.
fn distribution(args: &NewArgs) -> Vec<(PathBuf, String)> {
    let skeleton = skeleton(args.kind);
    let symbol = symbol(&args.name);
    let files = vec![
        ("pyproject.toml".to_owned(), include_str!("skeleton/pyproject.toml").to_owned()),
        (format!("src/{symbol}/__init__.py"), skeleton.code.replace("__IMPORTS__", skeleton.decorator)),
        ("cases.json".to_owned(), skeleton.cases.to_owned()),
        (format!("tests/test_{symbol}.py"), skeleton.test.to_owned()),
        ("README.md".to_owned(), readme(&skeleton, "builds the wheel in dist")),
    ];
    filled(args, &skeleton, files)
}

fn readme(skeleton: &Skeleton, packed: &str) -> String {
    include_str!("skeleton/README.md").replace("__USE__", skeleton.usage).replace("__PACKED__", packed)
}

fn filled(args: &NewArgs, skeleton: &Skeleton, files: Vec<(String, String)>) -> Vec<(PathBuf, String)> {
    let symbol = symbol(&args.name);
    let fill = |text: &str| {
        text.replace("__NAME__", &args.name)
            .replace("__SYMBOL__", &symbol)
            .replace("__MODULE__", &symbol)
            .replace("__KINDS__", skeleton.kinds)
    };
    files.into_iter().map(|(path, text)| (Path::new(&path).to_owned(), fill(&text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_work_are_refused_with_the_reason() {
        for (name, part) in [
            ("", "must begin with a small letter"),
            ("Bad", "must begin with a small letter"),
            ("../up", "must begin with a small letter"),
            ("a b", "hold only small letters"),
            ("class", "word or module of Python"),
            ("json", "word or module of Python"),
            ("avg", "SQL has a built-in function avg"),
        ] {
            let failure = check(name, Kind::Function).expect_err(name);
            assert!(failure.status() == 2 && failure.text().contains(part), "{failure:?}");
        }
        assert_eq!(check("avg", Kind::Sink), Ok(()));
        assert_eq!(check("acme-math2", Kind::Function), Ok(()));
    }

    #[test]
    fn nothing_of_the_skeletons_is_left_unfilled() {
        for kind in [Kind::Function, Kind::Aggregate, Kind::Source, Kind::Sink] {
            for python_package in [false, true] {
                let args = NewArgs { name: "acme-x".to_owned(), kind, python_package, r#in: None };
                let files = if python_package { distribution(&args) } else { package(&args) };
                for (path, text) in files {
                    let rest = text.replace("__name__", "").replace("__main__", "");
                    assert!(!rest.contains("__"), "{}: {text}", path.display());
                }
            }
        }
    }
}
