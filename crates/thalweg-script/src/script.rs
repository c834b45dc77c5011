//! A script: what is posted, kept and described, and the check that it passes first.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::limits::Limits;
use crate::logs::Log;
use crate::vm::Vm;

/// A function and its text (`rest-api.md` 12). The order of the members is that of the answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Script {
    /// The function's name, in the script and in SQL.
    pub id: String,
    /// For people.
    pub description: String,
    /// JavaScript that declares the function and whatever it needs.
    pub script: Arc<str>,
    /// Whether it is given lists and makes one value of a group.
    #[serde(rename = "isAgg")]
    pub is_agg: bool,
}

/// Why a script is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptError {
    /// It cannot be read or run.
    Refused(String),
    /// There is one of this name.
    Exists(String),
    /// There is none of this name.
    Missing(String),
    /// It cannot be kept.
    Store(String),
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) | Self::Store(text) => f.write_str(text),
            Self::Exists(name) => write!(f, "Item {name} already exists"),
            Self::Missing(name) => write!(f, "{name} is not found"),
        }
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// Runs the script once, as every rule that uses it will, and looks for the function.
    ///
    /// # Errors
    /// What is wrong with it, where, and what to do.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), ScriptError> {
        let log = Log::silent();
        match Vm::new(self, limits, log) {
            Ok(_) => Ok(()),
            Err(Start::NotRead(fault)) => {
                let advice = advice(&fault, &self.script);
                Err(ScriptError::Refused(format!("failed to interprete script: {fault}{advice}")))
            }
            Err(Start::NoFunction(advice)) => {
                Err(ScriptError::Refused(format!("cannot find function \"{}\" in script{advice}", self.id)))
            }
        }
    }
}

/// Why an interpreter does not come up.
#[derive(Debug)]
pub(crate) enum Start {
    /// The script cannot be read, or fails when it is run.
    NotRead(Fault),
    /// It does not declare the function; with advice.
    NoFunction(String),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRead(fault) => write!(f, "failed to interprete script: {fault}"),
            Self::NoFunction(advice) => write!(f, "the script does not declare it{advice}"),
        }
    }
}

/// What to do about a script that cannot be read: the line, or what cannot work at all.
fn advice(fault: &Fault, text: &str) -> String {
    const MODULES: &[&str] = &["import", "export", "require"];
    let line = fault.line.and_then(|line| text.lines().nth(line.checked_sub(1)? as usize));
    let line = line.map(str::trim).filter(|line| !line.is_empty());
    let is_module = MODULES.iter().any(|word| {
        line.is_some_and(|line| line.starts_with(word))
            || fault.text.contains(&format!("{word} is not defined"))
    });
    if is_module {
        return "; modules cannot be used: the script must hold everything that it needs".to_owned();
    }
    let shown = |line: &str| {
        let cut: String = line.chars().take(80).collect();
        format!("; the line reads `{cut}`")
    };
    line.map(shown).unwrap_or_default()
}
