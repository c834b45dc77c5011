//! Named sets of properties of sources, sinks and connections (`rest-api.md` 8.2, 8.3).

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde_json::{Map, Value as Json, json};
use thalweg_core::{ErrorCode, Props};
use thalweg_engine::{EngineError, ProfileKind, check_id};

use super::answer::escape;
use super::body::Text;
use super::language::Words;
use super::routes::{Routes, get};
use super::{Answer, Failure, blocking};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;

/// Whose properties a path is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Profiles(ProfileKind),
    Connections,
}

impl Of {
    fn word(self) -> &'static str {
        match self {
            Self::Profiles(kind) => kind.word(),
            Self::Connections => "connections",
        }
    }

    /// Connections have no section of their own in the files of languages.
    fn words(self, app: &App, headers: &HeaderMap) -> Words {
        let section = if self == Self::Profiles(ProfileKind::Sink) { "sink" } else { "source" };
        Words::of(&app.home, headers, section)
    }

    /// All sets of a type, by name. Nothing if nobody knows the type.
    fn all(self, app: &App, of: &str) -> Result<Option<Map<String, Json>>, EngineError> {
        match self {
            Self::Profiles(kind) => Ok(app.engine.profiles().all(kind, of)),
            Self::Connections => app.engine.connections().stored(of),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Of {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(match parts.uri.path().split('/').nth(2) {
            Some("sinks") => Self::Profiles(ProfileKind::Sink),
            Some("connections") => Self::Connections,
            _ => Self::Profiles(ProfileKind::Source),
        })
    }
}

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/metadata/sources/yaml/{name}", get(all))
        .route("/metadata/sources/{name}/confKeys", get(names))
        .route("/metadata/sources/{name}/confKeys/{confKey}", get(one).put(put).delete(remove))
        .route("/metadata/sinks/yaml/{name}", get(all))
        .route("/metadata/sinks/{name}/confKeys", get(names))
        .route("/metadata/sinks/{name}/confKeys/{confKey}", get(one).put(put).delete(remove))
        .route("/metadata/connections/yaml/{name}", get(all))
        .route("/metadata/connections/{name}/confKeys", get(names))
        .route("/metadata/connections/{name}/confKeys/{confKey}", get(one).put(put).delete(remove))
        .route("/metadata/resources", get(resources))
        .route("/metadata/resource", get(resource))
}

fn refused(message: String) -> EngineError {
    EngineError::new(ErrorCode::ConfKey, message)
}

/// All sets of a type, or that nobody knows it.
async fn find(
    app: Arc<App>,
    of: Of,
    name: String,
    headers: HeaderMap,
) -> Result<Map<String, Json>, EngineError> {
    blocking(move || {
        let unknown = || refused(format!("{}{}.{name}", of.words(&app, &headers).not_found, of.word()));
        of.all(&app, &name)?.ok_or_else(unknown)
    })
    .await
}

async fn all(State(app): Shared, of: Of, Path(name): Path<String>, headers: HeaderMap) -> Call {
    Ok(Answer::json(&Json::Object(find(app, of, name, headers).await?)))
}

async fn names(State(app): Shared, of: Of, Path(name): Path<String>, headers: HeaderMap) -> Call {
    let found = find(app, of, name, headers).await?;
    Ok(Answer::json(&found.keys().map(String::as_str).collect()))
}

async fn one(
    State(app): Shared,
    of: Of,
    Path((name, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Call {
    let missing = || refused(format!("{}.{name}.{key} is not found", of.word()));
    let found = find(app, of, name.clone(), headers).await?;
    Ok(Answer::json(found.get(&key).ok_or_else(missing)?))
}

async fn put(
    State(app): Shared,
    of: Of,
    Path((name, key)): Path<(String, String)>,
    headers: HeaderMap,
    Text(text): Text,
) -> Call {
    check_id(&key).map_err(|why| why.prefixed("Invalid confKey: "))?;
    // As upstream: null is an object without members.
    let props = serde_json::from_str::<Option<Map<String, Json>>>(&text).map(Option::unwrap_or_default);
    let props = props.map(Props::from);
    match of {
        Of::Connections => {
            let props = props.map_err(|why| EngineError::plain(format!("Invalid body: {why}")))?;
            app.engine.connections().store(&name, &key, props).await?;
        }
        Of::Profiles(kind) => {
            let stored = blocking(move || {
                let wrong_type =
                    |why| refused(format!("{}{name}.{why}", of.words(&app, &headers).wrong_type));
                app.engine.profiles().put(kind, &name, &key, props.map_err(wrong_type)?)
            });
            stored.await?;
        }
    }
    Ok(Answer::Empty)
}

async fn remove(
    State(app): Shared,
    of: Of,
    Path((name, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Call {
    check_id(&key).map_err(|why| why.prefixed("Invalid confKey: "))?;
    // Of an unknown type that is the mistake.
    find(Arc::clone(&app), of, name.clone(), headers.clone()).await?;
    let words = of.words(&app, &headers);
    let place = format!("{}.{name}", of.word());
    let missing = format!("{}{place}.{place}.{key} is not found", words.write_failed);
    let was_there = match of {
        Of::Connections => app.engine.connections().forget(&name, &key).await?,
        Of::Profiles(kind) => blocking(move || app.engine.profiles().remove(kind, &name, &key)).await?,
    };
    if was_there { Ok(Answer::Empty) } else { Err(refused(missing).into()) }
}

/// 8.3: the stored keys of each type, each with its type as value.
async fn resources(State(app): Shared) -> Answer {
    let of = |kind| {
        let all = app.engine.profiles().all_stored(kind);
        let types = all.into_iter().map(|(of, keys)| {
            keys.into_keys().map(|key| (key, Json::from(of.clone()))).collect::<Map<_, _>>()
        });
        let types: Vec<_> = types.map(Json::Object).collect();
        if types.is_empty() { Json::Null } else { Json::Array(types) }
    };
    let shown = json!({"sinks": of(ProfileKind::Sink), "sources": of(ProfileKind::Source)});
    Answer::JsonAsText(escape(&shown.to_string()))
}

#[derive(serde::Deserialize)]
struct Wanted {
    #[serde(rename = "sourceType", default)]
    source_type: String,
}

/// 8.3: profiles of sources whose property `sourceType` is the one asked for.
async fn resource(State(app): Shared, Query(wanted): Query<Wanted>) -> Call {
    let found = blocking(move || {
        let profiles = app.engine.profiles();
        let mut found = Map::new();
        for of in profiles.source_types() {
            let mut sections = profiles.all(ProfileKind::Source, &of).unwrap_or_default();
            sections.retain(|_, section| {
                wanted.source_type.is_empty() || section["sourceType"] == wanted.source_type
            });
            if !sections.is_empty() {
                found.insert(of, Json::Object(sections));
            }
        }
        Ok(Json::Object(found))
    });
    Ok(Answer::JsonAsText(escape(&found.await?.to_string())))
}
