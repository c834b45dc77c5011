//! How an rpc maps to an HTTP request: the annotation `google.api.http`, or POST to `/<rpc>` without one.
//!
//! Path variables take fields of the message, the body takes all others (`body: "*"`), one, or none; what neither takes
//! becomes query parameters. `{name=messages/*}` is the field `name`, which must begin with `messages/`.

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage,
    Value as Proto,
};
use thalweg_core::Value;
use thalweg_core::cast::plain_text;

use crate::encode;
use crate::kinds;

/// An HTTP request without its address.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query, percent-encoded.
    pub(crate) target: String,
    pub(crate) body: Option<Vec<u8>>,
}

/// The mapping of one rpc.
#[derive(Debug, Clone)]
pub(crate) struct HttpRule {
    method: String,
    path: Vec<Piece>,
    query: Vec<FieldPath>,
    body: Body,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Field(FieldPath, Option<String>),
}

#[derive(Debug, Clone)]
enum Body {
    /// What is left of the message.
    Rest,
    Nothing,
    Field(FieldDescriptor),
    /// The whole message; a wrapped text is itself the JSON.
    Default,
}

/// A field, or a field of a field.
#[derive(Debug, Clone)]
struct FieldPath {
    name: String,
    fields: Vec<FieldDescriptor>,
}

impl HttpRule {
    /// The mapping that an rpc declares.
    pub(crate) fn of(rpc: &MethodDescriptor) -> Result<Self, String> {
        let wrong = |why: String| format!("rpc {}: {why}", rpc.name());
        let options = rpc.options();
        let extension = options.descriptor().get_extension_by_full_name("google.api.http");
        let Some(extension) = extension.filter(|extension| options.has_extension(extension)) else {
            return Ok(Self::default_of(rpc));
        };
        match &*options.get_extension(&extension) {
            Proto::Message(rule) => Self::parse(rule, &rpc.input()).map_err(wrong),
            _ => Err(wrong("option google.api.http is no message".to_owned())),
        }
    }

    fn default_of(rpc: &MethodDescriptor) -> Self {
        let path = vec![Piece::Text(format!("/{}", rpc.name()))];
        Self { method: "POST".to_owned(), path, query: Vec::new(), body: Body::Default }
    }

    fn parse(rule: &DynamicMessage, input: &MessageDescriptor) -> Result<Self, String> {
        let (mut pattern, mut body) = (None, String::new());
        for (field, value) in rule.fields() {
            match (field.name(), value) {
                (verb @ ("get" | "put" | "post" | "delete" | "patch"), Proto::String(uri)) => {
                    pattern = Some((verb.to_uppercase(), uri.clone()));
                }
                ("custom", Proto::Message(custom)) => pattern = Some(custom_pattern(custom)),
                ("body", Proto::String(field)) => body.clone_from(field),
                // The first binding is the one that calls use.
                ("selector" | "additional_bindings", _) => {}
                (other, _) => return Err(format!("unsupported option {other}")),
            }
        }
        let (method, uri) = pattern.ok_or("option google.api.http names no method")?;
        let path = parse_path(&uri, input)?;
        let mut used: Vec<String> = path
            .iter()
            .filter_map(|piece| match piece {
                Piece::Field(field, _) => Some(field.name.clone()),
                Piece::Text(_) => None,
            })
            .collect();
        let mut query = Vec::new();
        let body = match &*body {
            "*" => Body::Rest,
            name => {
                let body = match name {
                    "" => Body::Nothing,
                    name => {
                        let field = input.get_field_by_name(name);
                        Body::Field(field.ok_or_else(|| format!("invalid body {name}, field not found"))?)
                    }
                };
                used.push(name.to_owned());
                add_query(input, &FieldPath { name: String::new(), fields: Vec::new() }, &used, &mut query)?;
                body
            }
        };
        Ok(Self { method, path, query, body })
    }

    /// Whether it is a request that changes nothing.
    pub(crate) fn only_reads(&self) -> bool {
        self.method == "GET"
    }

    /// The request of one call.
    pub(crate) fn request(&self, input: &MessageDescriptor, args: &[Value]) -> Result<Request, String> {
        if let (Body::Default, [arg]) = (&self.body, args)
            && input.full_name() == "google.protobuf.StringValue"
        {
            let text = kinds::text(arg)?;
            return Ok(Request {
                method: self.method.clone(),
                target: self.fixed(),
                body: Some(text.into_bytes()),
            });
        }
        let mut message = encode::message(input, args)?;
        let mut target = String::new();
        for piece in &self.path {
            match piece {
                Piece::Text(text) => target.push_str(text),
                Piece::Field(field, prefix) => path_value(&message, field, prefix.as_deref(), &mut target)?,
            }
        }
        let mut joiner = if target.contains('?') { '&' } else { '?' };
        for field in &self.query {
            for text in field.texts(&message)? {
                target.push(joiner);
                joiner = '&';
                percent(&field.name, false, &mut target);
                target.push('=');
                percent(&text, false, &mut target);
            }
        }
        let body = match &self.body {
            Body::Nothing => None,
            Body::Field(field) => Some(field_json(&message, field)?),
            Body::Rest | Body::Default => {
                for piece in &self.path {
                    if let Piece::Field(FieldPath { fields, .. }, _) = piece
                        && let Some(first) = fields.first()
                    {
                        message.clear_field(first);
                    }
                }
                Some(json(&message)?)
            }
        };
        Ok(Request { method: self.method.clone(), target, body })
    }

    fn fixed(&self) -> String {
        self.path
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Field(..) => "",
            })
            .collect()
    }
}

fn custom_pattern(custom: &DynamicMessage) -> (String, String) {
    let text = |name| match custom.get_field_by_name(name).as_deref() {
        Some(Proto::String(text)) => text.clone(),
        _ => String::new(),
    };
    (text("kind"), text("path"))
}

fn parse_path(uri: &str, input: &MessageDescriptor) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = uri;
    while let Some((text, behind)) = rest.split_once('{') {
        let (variable, behind) =
            behind.split_once('}').ok_or_else(|| format!("invalid uri {uri} in http option"))?;
        pieces.push(Piece::Text(text.to_owned()));
        let (name, prefix) = match variable.split_once('=') {
            None => (variable, None),
            Some((name, pattern)) => {
                let prefix = pattern.strip_suffix("**").or_else(|| pattern.strip_suffix('*'));
                let prefix = prefix.filter(|prefix| !prefix.contains('*'));
                (name, Some(prefix.ok_or_else(|| format!("invalid uri {uri} in http option"))?.to_owned()))
            }
        };
        let path = FieldPath::find(input, name)
            .ok_or_else(|| format!("invalid uri {uri} in http option, {name} field not found"))?;
        pieces.push(Piece::Field(path, prefix));
        rest = behind;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// All scalars of a message that nothing has taken become query parameters.
fn add_query(
    message: &MessageDescriptor,
    above: &FieldPath,
    used: &[String],
    query: &mut Vec<FieldPath>,
) -> Result<(), String> {
    for field in encode::fields(message) {
        let path = above.below(&field);
        if used.contains(&path.name) {
            continue;
        }
        match field.kind() {
            Kind::Message(of) if !field.is_list() && !field.is_map() => {
                if above.fields.iter().any(|above| *above.parent_message() == of) || *message == of {
                    return Err(format!(
                        "field {} holds itself and cannot become query parameters; name a body",
                        path.name
                    ));
                }
                add_query(&of, &path, used, query)?;
            }
            _ => query.push(path),
        }
    }
    Ok(())
}

impl FieldPath {
    fn find(message: &MessageDescriptor, name: &str) -> Option<Self> {
        let (mut fields, mut message) = (Vec::new(), Some(message.clone()));
        for part in name.split('.') {
            let field = message.take()?.get_field_by_name(part)?;
            if let Kind::Message(of) = field.kind() {
                message = Some(of);
            }
            fields.push(field);
        }
        Some(Self { name: name.to_owned(), fields })
    }

    fn below(&self, field: &FieldDescriptor) -> Self {
        let name = match &*self.name {
            "" => field.name().to_owned(),
            above => format!("{above}.{}", field.name()),
        };
        Self { name, fields: self.fields.iter().chain([field]).cloned().collect() }
    }

    /// Its values as texts: several for a list, none for a message that is not there.
    fn texts(&self, message: &DynamicMessage) -> Result<Vec<String>, String> {
        let mut at = std::borrow::Cow::Borrowed(message);
        let Some((last, above)) = self.fields.split_last() else { return Ok(Vec::new()) };
        for field in above {
            if !at.has_field(field) {
                return Ok(Vec::new());
            }
            let Proto::Message(inner) = at.get_field(field).into_owned() else { return Ok(Vec::new()) };
            at = std::borrow::Cow::Owned(inner);
        }
        if last.supports_presence() && !at.has_field(last) {
            return Ok(Vec::new());
        }
        let value = at.get_field(last).into_owned();
        let items = match value {
            Proto::List(items) => items,
            one => vec![one],
        };
        items.iter().map(|item| self.text_of(item)).collect()
    }

    fn text_of(&self, value: &Proto) -> Result<String, String> {
        match value {
            Proto::Message(_) | Proto::Map(_) | Proto::List(_) => {
                Err(format!("invalid field {} as http option, must be a scalar", self.name))
            }
            Proto::U64(value) => Ok(value.to_string()),
            scalar => Ok(plain_text(&crate::decode::scalar(scalar)?, chrono_tz::UTC)),
        }
    }
}

fn path_value(
    message: &DynamicMessage,
    field: &FieldPath,
    prefix: Option<&str>,
    target: &mut String,
) -> Result<(), String> {
    let text = field.texts(message)?.join(",");
    if let Some(prefix) = prefix
        && !text.starts_with(prefix)
    {
        let name = &field.name;
        return Err(format!("invalid field {name}({text}) as http option, must have prefix {prefix}"));
    }
    percent(&text, prefix.is_some(), target);
    Ok(())
}

/// Writes what may stand in a path segment or a query as it is, and everything else by its bytes.
fn percent(text: &str, with_slashes: bool, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if with_slashes => out.push('/'),
            _ => {
                out.push('%');
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

/// A message as protobuf's JSON: names in lowerCamelCase, 64-bit integers as texts, bytes in base64, no defaults.
fn json(message: &DynamicMessage) -> Result<Vec<u8>, String> {
    serde_json::to_vec(message).map_err(|why| why.to_string())
}

/// One field as the body.
fn field_json(message: &DynamicMessage, field: &FieldDescriptor) -> Result<Vec<u8>, String> {
    match &*message.get_field(field) {
        Proto::Message(inner) => json(inner),
        _ => {
            // The document of a message that has this field only.
            let mut alone = DynamicMessage::new(message.descriptor());
            alone.set_field(field, message.get_field(field).into_owned());
            let options = prost_reflect::SerializeOptions::new().skip_default_fields(false);
            let mut out = Vec::new();
            alone
                .serialize_with_options(&mut serde_json::Serializer::new(&mut out), &options)
                .map_err(|why| why.to_string())?;
            let mut document: serde_json::Value =
                serde_json::from_slice(&out).map_err(|why| why.to_string())?;
            serde_json::to_vec(&document[field.json_name()].take()).map_err(|why| why.to_string())
        }
    }
}
