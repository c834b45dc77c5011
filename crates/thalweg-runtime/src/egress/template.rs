//! dataTemplate and dynamic properties: rendered for each message, over the row with sendSingle, else over the list
//! (C3.9).

use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_core::connector::ConnectorKind;
use thalweg_core::json::{self, Numbers};
use thalweg_core::{Diagnostic, Fields, FormatError, Props, Timestamp, Value};
use thalweg_expr::builtin::property;
use thalweg_template::{Context, Data, Template};

use super::shape::Shaped;
use crate::operator::RuleInfo;

/// Where templates stand in an action.
#[derive(Default)]
pub(crate) struct Templates {
    data: Option<Template>,
    dynamic: Vec<(String, Dynamic)>,
}

/// A property whose text, or any text inside it, is a template.
enum Dynamic {
    Text(Template),
    Plain(Json),
    Object(Vec<(String, Dynamic)>),
}

impl Templates {
    /// Compiles the templates of an action. Only properties that the connector declares dynamic are looked at
    /// (C3.11).
    ///
    /// # Errors
    /// A template that does not parse.
    pub(crate) fn read(
        data: Option<&Arc<str>>,
        props: &Props,
        connector: Option<&dyn ConnectorKind>,
    ) -> Result<Self, Diagnostic> {
        let parse = |text: &Arc<str>| Template::parse(text).map_err(|why| why.inside("dataTemplate", text));
        let data = data.map(parse).transpose()?;
        let mut dynamic = Vec::new();
        for spec in connector.into_iter().flat_map(ConnectorKind::props).filter(|spec| spec.dynamic) {
            let Some(value) = props.get(spec.name).filter(|value| has_template(value)) else { continue };
            dynamic.push((spec.name.to_owned(), compile(spec.name, value)?));
        }
        Ok(Self { data, dynamic })
    }

    /// Whether anything has to be rendered.
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_none() && self.dynamic.is_empty()
    }

    /// The text of dataTemplate over a message.
    pub(super) fn data(
        &self,
        message: &Shaped,
        cx: (Timestamp, &RuleInfo),
    ) -> Option<Result<String, FormatError>> {
        let template = self.data.as_ref()?;
        Some(render(template, message, cx).map_err(|error| {
            FormatError::new(format!("fail to encode data with dataTemplate for error {error}"))
        }))
    }

    /// The dynamic properties of a message.
    pub(super) fn props(
        &self,
        message: &Shaped,
        cx: (Timestamp, &RuleInfo),
    ) -> Result<Option<Arc<Props>>, FormatError> {
        if self.dynamic.is_empty() {
            return Ok(None);
        }
        let mut props = Props::new();
        for (name, dynamic) in &self.dynamic {
            let value = evaluate(dynamic, message, cx)
                .map_err(|error| FormatError::new(format!("fail to calculate props {name}: {error}")))?;
            props.set(name, value);
        }
        Ok(Some(Arc::new(props)))
    }
}

fn has_template(value: &Json) -> bool {
    match value {
        Json::String(text) => !Template::is_plain(text),
        Json::Object(members) => members.values().any(has_template),
        _ => false,
    }
}

/// The templates in the value of a property, whose name stands in errors.
fn compile(name: &str, value: &Json) -> Result<Dynamic, Diagnostic> {
    Ok(match value {
        Json::String(text) if !Template::is_plain(text) => {
            Dynamic::Text(Template::parse(text).map_err(|why| why.inside(name, text))?)
        }
        Json::Object(members) => {
            let member =
                |(key, value): (&String, &Json)| Ok((key.clone(), compile(&format!("{name}.{key}"), value)?));
            Dynamic::Object(members.iter().map(member).collect::<Result<_, Diagnostic>>()?)
        }
        other => Dynamic::Plain(other.clone()),
    })
}

fn evaluate(dynamic: &Dynamic, message: &Shaped, cx: (Timestamp, &RuleInfo)) -> Result<Json, String> {
    Ok(match dynamic {
        Dynamic::Text(template) => Json::String(render(template, message, cx)?),
        Dynamic::Plain(value) => value.clone(),
        Dynamic::Object(members) => {
            let member =
                |(name, value): &(String, Dynamic)| Ok((name.clone(), evaluate(value, message, cx)?));
            Json::Object(members.iter().map(member).collect::<Result<_, String>>()?)
        }
    })
}

fn render(
    template: &Template,
    message: &Shaped,
    (now, rule): (Timestamp, &RuleInfo),
) -> Result<String, String> {
    let data = match (message.is_list, &message.rows[..]) {
        (false, [row]) => Data::Row(row),
        (_, rows) => Data::Rows(rows),
    };
    let prop = |name: &str| property(name, Some(&rule.instance), now);
    let cx = Context { now, zone: rule.zone, prop: &prop };
    template.render_text(data, &cx).map_err(|error| error.to_string())
}

/// Rows from the JSON that a template has written (C3.5 to C3.7).
pub(super) fn parse(text: &str) -> Result<Shaped, FormatError> {
    let row = |value: &Value| match value {
        Value::Map(row) => Ok(Arc::clone(row)),
        other => Err(FormatError::new(format!("invalid transform result type {}", other.kind_name()))),
    };
    let unreadable = |error: FormatError| {
        let why = error.message;
        FormatError::new(format!("fail to decode data {text} after applying dataTemplate for error {why}"))
    };
    match json::parse(text.as_bytes(), Numbers::Float).map_err(unreadable)? {
        Value::List(items) => {
            let rows = items.iter().map(row).collect::<Result<Vec<Arc<Fields>>, _>>()?;
            Ok(Shaped { rows, is_list: true })
        }
        value => Ok(Shaped { rows: vec![row(&value)?], is_list: false }),
    }
}
