//! What the properties of a file source mean (S4).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::connector::{BuildCx, Built};
use thalweg_core::spec::{Roles, check};

use crate::property::{flag, refused, required, text, texts};

const OWNER: &str = "file source";

/// How a file becomes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileType {
    /// Each line is a payload for FORMAT.
    Lines,
    /// Each record is a row of strings.
    Csv,
    /// The file is one payload for FORMAT.
    Whole,
}

/// What becomes of a file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AfterRead {
    Keep,
    Delete,
    MoveTo(PathBuf),
}

/// A file source as meant.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// The file or folder.
    pub(super) path: PathBuf,
    pub(super) is_folder: bool,
    pub(super) file_type: FileType,
    pub(super) interval_ms: i64,
    pub(super) pause: Duration,
    pub(super) after_read: AfterRead,
    pub(super) has_header: bool,
    pub(super) columns: Vec<Arc<str>>,
    pub(super) delimiter: u8,
    pub(super) skip_first: usize,
    pub(super) skip_last: usize,
}

impl Options {
    pub(super) fn read(cx: &BuildCx) -> Built<Self> {
        let props = &cx.props;
        check(OWNER, super::PROPS, Roles::SOURCE, props)?;
        let datasource = required(OWNER, props, "datasource")?;
        let folder = match text(props, "path")? {
            "" => "data",
            folder => folder,
        };
        let path = find(cx, folder).join(datasource.trim_start_matches('/'));
        // S4.1.
        let found =
            std::fs::metadata(&path).map_err(|_| refused(format!("file {} not exist", path.display())))?;
        let word = text(props, "fileType")?;
        let file_type = file_type(word)?;
        if file_type != FileType::Whole && !text(props, "decompression")?.is_empty() {
            return Err(refused(format!("decompression is not supported for {word} file type")));
        }
        let lines = |name| Ok(props.int(name)?.unwrap_or(0).max(0) as usize);
        let columns = texts(OWNER, props, "columns")?;
        Ok(Self {
            is_folder: found.is_dir(),
            path,
            file_type,
            interval_ms: props.millis("interval")?.unwrap_or(0),
            pause: Duration::from_millis(props.millis("sendInterval")?.unwrap_or(0).max(0) as u64),
            after_read: after_read(cx)?,
            has_header: flag(props, "hasHeader")?,
            columns: columns.iter().map(|name| Arc::from(name.as_str())).collect(),
            delimiter: text(props, "delimiter")?.bytes().next().unwrap_or(b','),
            skip_first: lines("ignoreStartLines")?,
            skip_last: lines("ignoreEndLines")?,
        })
    }
}

fn file_type(word: &str) -> Built<FileType> {
    match word.to_lowercase().as_str() {
        "lines" => Ok(FileType::Lines),
        "csv" => Ok(FileType::Csv),
        "parquet" => Err(refused(format!("{OWNER}: fileType parquet is not part of this build"))),
        _ => Ok(FileType::Whole),
    }
}

fn after_read(cx: &BuildCx) -> Built<AfterRead> {
    match cx.props.int("actionAfterRead")?.unwrap_or(0) {
        0 => Ok(AfterRead::Keep),
        1 => Ok(AfterRead::Delete),
        _ => {
            let folder = cx.home.join(required(OWNER, &cx.props, "moveTo")?);
            let wrong = |error| refused(format!("{OWNER}: cannot create {}: {error}", folder.display()));
            std::fs::create_dir_all(&folder).map_err(wrong)?;
            Ok(AfterRead::MoveTo(folder))
        }
    }
}

/// P1.6: a relative path starts at the home folder, or at the nearest folder above it that has it.
fn find(cx: &BuildCx, path: &str) -> PathBuf {
    let here = cx.home.join(path);
    let above = cx.home.ancestors().map(|folder| folder.join(path)).find(|folder| folder.exists());
    above.unwrap_or(here)
}
