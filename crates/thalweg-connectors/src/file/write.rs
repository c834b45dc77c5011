//! The file sink with rolling (D4).
//!
//! What a write has accepted is with the system, not in a buffer of ours. Only the closing bracket of a json file
//! waits for the roll or the end of the rule (D4.2). A name that was already used in this run is never truncated
//! (D4.3, D4.4): lines are appended, json goes to a fresh name.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_core::connector::{BuildCx, Built, ConnectionStatus, Sink, SinkPayload, SinkPort, Written};
use thalweg_core::error::IoError;
use thalweg_core::spec::{Roles, check};
use thalweg_core::time::{Clock, Timestamp};

use crate::property::{flag, refused, text};

const OWNER: &str = "file sink";
/// Files open at once; the one unused for longest is closed.
const MAX_OPEN: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileType {
    Lines,
    Json,
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    None,
    Prefix,
    Suffix,
}

struct Options {
    file_type: FileType,
    has_header: bool,
    max_age_ms: i64,
    max_messages: u64,
    max_bytes: u64,
    stamp: Stamp,
}

pub(super) fn build(cx: &BuildCx) -> Built<Box<dyn Sink>> {
    let props = &cx.props;
    check(OWNER, super::PROPS, Roles::SINK, props)?;
    for name in ["compression", "encryption"] {
        if !text(props, name)?.is_empty() {
            return Err(refused(format!("{OWNER}: {name} is not supported yet")));
        }
    }
    let file_type = match text(props, "fileType")?.to_lowercase().as_str() {
        "" | "lines" => FileType::Lines,
        "json" => FileType::Json,
        "csv" if !text(props, "format")?.eq_ignore_ascii_case("delimited") => {
            return Err(refused("format must be delimited when fileType is csv"));
        }
        "csv" => FileType::Csv,
        other => {
            return Err(refused(format!("{OWNER}: fileType must be lines, json or csv, not \"{other}\"")));
        }
    };
    let stamp = match text(props, "rollingNamePattern")? {
        "prefix" => Stamp::Prefix,
        "suffix" => Stamp::Suffix,
        _ => Stamp::None,
    };
    let count = |name, fallback| Ok(props.int(name)?.unwrap_or(fallback).max(0) as u64);
    let options = Options {
        file_type,
        has_header: file_type == FileType::Csv && flag(props, "hasHeader")?,
        max_age_ms: props.millis("rollingInterval")?.unwrap_or(0).max(0),
        max_messages: count("rollingCount", 1_000_000)?,
        max_bytes: count("rollingSize", 0)?,
        stamp,
    };
    if options.max_age_ms == 0 && options.max_messages == 0 && options.max_bytes == 0 {
        return Err(refused("one of rollingInterval, rollingCount, or rollingSize must be set"));
    }
    let path = match text(props, "path")? {
        "" => "cache",
        path => path,
    };
    let files = Files { options, open: HashMap::new(), used: HashSet::new(), clock: Arc::clone(&cx.clock) };
    Ok(Box::new(FileSink { path: path.to_owned(), home: cx.home.clone(), files: Some(files) }))
}

struct FileSink {
    path: String,
    home: PathBuf,
    /// Lent to a blocking thread during a write.
    files: Option<Files>,
}

impl FileSink {
    /// Runs something on the files where it may block.
    async fn with_files<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Files) -> T + Send + 'static,
    ) -> Result<T, IoError> {
        let Some(mut files) = self.files.take() else {
            return Err(IoError::permanent("file sink: an earlier write broke off"));
        };
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut files);
            (files, result)
        });
        let (files, result) =
            done.await.map_err(|error| IoError::permanent(format!("file sink: {error}")))?;
        self.files = Some(files);
        Ok(result)
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn open(&mut self, port: Arc<dyn SinkPort>) -> Result<(), IoError> {
        port.status(ConnectionStatus::Connected);
        Ok(())
    }

    async fn write(&mut self, payloads: &[SinkPayload]) -> Written {
        let mut messages: Vec<(PathBuf, Bytes)> = Vec::with_capacity(payloads.len());
        for payload in payloads {
            if let SinkPayload::Bytes { payload, props } = payload {
                let resolved = props.as_deref().and_then(|props| props.text("path").ok().flatten());
                messages.push((self.home.join(resolved.unwrap_or(&self.path)), payload.clone()));
            }
        }
        let result = self.with_files(move |files| files.write(&messages)).await;
        result.unwrap_or_else(|error| Written { accepted: 0, error: Some(error) })
    }

    async fn close(&mut self) -> Result<(), IoError> {
        self.with_files(Files::close_all).await?
    }
}

/// The open files.
struct Files {
    options: Options,
    /// By the path asked for.
    open: HashMap<PathBuf, Open>,
    /// Paths that have been written in this run.
    used: HashSet<PathBuf>,
    clock: Arc<dyn Clock>,
}

struct Open {
    path: PathBuf,
    file: File,
    since: Timestamp,
    last_use: Timestamp,
    messages: u64,
    bytes: u64,
    /// Whether something stands in front of the next message.
    is_begun: bool,
}

impl Files {
    fn write(&mut self, messages: &[(PathBuf, Bytes)]) -> Written {
        for (accepted, (path, message)) in messages.iter().enumerate() {
            if let Err(error) = self.write_one(path, message) {
                let text = format!("cannot write {}: {error}", path.display());
                return Written { accepted, error: Some(IoError::transient(text)) };
            }
        }
        Written { accepted: messages.len(), error: None }
    }

    fn write_one(&mut self, path: &Path, message: &[u8]) -> std::io::Result<()> {
        let now = self.clock.now();
        let mut open = match self.open.remove(path) {
            Some(open) if !self.is_full(&open, now) => open,
            Some(full) => {
                self.finish(full)?;
                self.start(path, now)?
            }
            None => self.start(path, now)?,
        };
        let text = self.text(&open, message);
        open.file.write_all(&text)?;
        open.is_begun = true;
        open.messages += 1;
        open.bytes += text.len() as u64;
        open.last_use = now;
        self.open.insert(path.to_owned(), open);
        Ok(())
    }

    fn is_full(&self, open: &Open, now: Timestamp) -> bool {
        let Options { max_age_ms, max_messages, max_bytes, .. } = self.options;
        (max_age_ms > 0 && now.0 - open.since.0 >= max_age_ms)
            || (max_messages > 0 && open.messages >= max_messages)
            || (max_bytes > 0 && open.bytes >= max_bytes)
    }

    /// The message with what separates it from the one before.
    fn text(&self, open: &Open, message: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(message.len() + 1);
        let separator: &[u8] = match (self.options.file_type, open.is_begun) {
            (FileType::Json, false) => b"[",
            (FileType::Json, true) => b",",
            (_, false) => b"",
            (_, true) => b"\n",
        };
        text.extend_from_slice(separator);
        // With hasHeader every delimited message begins with its header; a file has it once.
        let header = memchr::memchr(b'\n', message).filter(|_| self.options.has_header && open.is_begun);
        text.extend_from_slice(header.map_or(message, |end| &message[end + 1..]));
        text
    }

    fn start(&mut self, path: &Path, now: Timestamp) -> std::io::Result<Open> {
        self.make_room()?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let is_again = self.used.contains(path);
        // A json file cannot be continued behind its closing bracket.
        let appends =
            is_again && self.options.stamp == Stamp::None && self.options.file_type != FileType::Json;
        let target = match self.options.stamp {
            Stamp::None if !is_again || appends => path.to_owned(),
            Stamp::None | Stamp::Suffix => fresh(path, now, |stem, millis| format!("{stem}-{millis}")),
            Stamp::Prefix => fresh(path, now, |stem, millis| format!("{millis}-{stem}")),
        };
        let mut how = OpenOptions::new();
        how.create(true);
        if appends {
            how.append(true)
        } else {
            how.write(true).truncate(true)
        };
        let file = how.open(&target)?;
        self.used.insert(path.to_owned());
        let (messages, bytes) = (0, 0);
        Ok(Open { path: target, file, since: now, last_use: now, messages, bytes, is_begun: appends })
    }

    fn make_room(&mut self) -> std::io::Result<()> {
        if self.open.len() < MAX_OPEN {
            return Ok(());
        }
        let oldest = self.open.iter().min_by_key(|(_, open)| open.last_use).map(|(path, _)| path.clone());
        match oldest.and_then(|path| self.open.remove(&path)) {
            Some(open) => self.finish(open),
            None => Ok(()),
        }
    }

    fn finish(&self, mut open: Open) -> std::io::Result<()> {
        if self.options.file_type == FileType::Json && open.is_begun {
            open.file.write_all(b"]")?;
        }
        open.file.flush()
    }

    fn close_all(&mut self) -> Result<(), IoError> {
        let open: Vec<Open> = self.open.drain().map(|(_, open)| open).collect();
        for open in open {
            let path = open.path.clone();
            let wrong = |error| IoError::permanent(format!("cannot close {}: {error}", path.display()));
            self.finish(open).map_err(wrong)?;
        }
        Ok(())
    }
}

/// A name with the time in it that does not exist yet.
fn fresh(path: &Path, now: Timestamp, name: impl Fn(&str, i64) -> String) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension =
        path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    let mut millis = now.0;
    loop {
        let candidate = path.with_file_name(format!("{}{extension}", name(&stem, millis)));
        if !candidate.exists() {
            return candidate;
        }
        millis += 1;
    }
}
