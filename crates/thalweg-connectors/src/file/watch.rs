//! A folder that is watched (S4.3 as decided): every file once it has settled, and what is appended to it later.
//!
//! The folder is listed twice a second, which works on every file system. A file is read when size and time have
//! not changed between two listings, so one that is written in three steps is read once. Lines are read from where
//! the last reading ended; a file that shrank or was replaced is a new one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thalweg_core::connector::{ConnectionStatus, Source, SourcePort};
use thalweg_core::error::IoError;

use super::options::FileType;
use super::read::{Read, Reader, files, nanos};

const PERIOD: Duration = Duration::from_millis(500);

/// What is known of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    look: Look,
    /// How it looked when it was last read.
    read: Option<Look>,
    position: u64,
}

/// How a file looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Look {
    size: u64,
    modified: i64,
    inode: u64,
}

/// The source.
pub(super) struct Watcher {
    reader: Reader,
    seen: HashMap<PathBuf, Seen>,
}

impl Watcher {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, seen: HashMap::new() }
    }

    /// Reads what has settled; false when the rule has ended.
    async fn round(&mut self, is_first: bool, port: &Arc<dyn SourcePort>) -> Result<bool, IoError> {
        let listed = files(&self.reader.options.path).await?;
        self.seen.retain(|path, _| listed.iter().any(|(_, listed)| listed == path));
        for (_, path) in listed {
            let Some(look) = look(&path).await else { continue };
            let mut seen = self.seen.get(&path).copied().unwrap_or_default();
            // What was there before the rule is taken as it is.
            let has_settled = is_first || seen.look == look;
            seen.look = look;
            if has_settled && seen.read != Some(look) {
                let is_continued =
                    seen.read.is_some_and(|read| read.inode == look.inode && read.size <= look.size);
                let is_by_line = self.reader.options.file_type != FileType::Whole;
                let from = if is_continued && is_by_line { seen.position } else { 0 };
                match self.reader.read(&path, from, None, port).await {
                    Ok(Read::Stopped) => return Ok(false),
                    Ok(Read::UpTo(position)) => seen.position = position,
                    Err(error) => port.fault(&error.message),
                }
                seen.read = Some(look);
            }
            self.seen.insert(path, seen);
        }
        Ok(true)
    }
}

async fn look(path: &std::path::Path) -> Option<Look> {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some(Look { size: metadata.len(), modified: nanos(metadata.modified().ok()), inode })
}

#[async_trait]
impl Source for Watcher {
    async fn run(mut self: Box<Self>, port: Arc<dyn SourcePort>) -> Result<(), IoError> {
        port.status(ConnectionStatus::Connected);
        let mut is_first = true;
        loop {
            if !self.round(is_first, &port).await? {
                return Ok(());
            }
            is_first = false;
            tokio::select! {
                () = port.stopped() => return Ok(()),
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }
}
