//! Reading one file, and the sources that read once or at each tick.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use thalweg_core::connector::{
    BuildCx, Built, ConnectionStatus, Offer, Payload, PullSource, Pulled, RawMessage, SourceKind, SourcePort,
    WhenFull,
};
use thalweg_core::error::IoError;
use thalweg_core::time::Clock;
use thalweg_core::value::{Fields, Value};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader, SeekFrom};

use super::csv::{Record, record};
use super::options::{AfterRead, FileType, Options};
use super::watch::Watcher;

pub(super) fn build(cx: &BuildCx) -> Built<SourceKind> {
    let options = Options::read(cx)?;
    let interval_ms = options.interval_ms;
    let reader = Reader { options, clock: Arc::clone(&cx.clock) };
    if reader.options.is_folder && interval_ms <= 0 {
        return Ok(SourceKind::Push(Box::new(Watcher::new(reader))));
    }
    Ok(SourceKind::Pull {
        source: Box::new(FileSource { reader, newest: None, has_begun: false }),
        interval_ms,
    })
}

/// Reads a file or folder when it is asked to.
struct FileSource {
    reader: Reader,
    /// Of a folder: the newest modification time read, in nanoseconds.
    newest: Option<i64>,
    has_begun: bool,
}

#[async_trait]
impl PullSource for FileSource {
    async fn pull(&mut self, port: &Arc<dyn SourcePort>) -> Result<Pulled, IoError> {
        port.status(ConnectionStatus::Connected);
        let options = &self.reader.options;
        let resume = (!std::mem::replace(&mut self.has_begun, true)).then(|| port.resume_from()).flatten();
        if options.is_folder {
            let (newest, within) = match resume {
                Some(Value::List(parts)) => match parts[..] {
                    [Value::Int(newest), Value::Int(within)] => (Some(newest), Some(within)),
                    _ => (None, None),
                },
                _ => (self.newest, None),
            };
            self.newest = newest;
            // R7.7: after a restart only files that are newer, and what was left of the one at hand.
            for (modified, path) in files(&options.path).await? {
                if newest.is_none_or(|newest| modified > newest) {
                    let before = self.newest.or(newest).unwrap_or(i64::MIN);
                    let from = within.map_or(0, |within| place(&path, within));
                    self.reader.read(&path, from, Some(Offset::InFolder { before, modified }), port).await?;
                    self.newest = Some(modified);
                }
            }
            return Ok(Pulled::More);
        }
        let path = options.path.clone();
        let from = match resume {
            Some(Value::Int(within)) => place(&path, within),
            _ => 0,
        };
        match self.reader.read(&path, from, Some(Offset::InFile), port).await? {
            Read::Stopped => Ok(Pulled::End),
            Read::UpTo(_) if self.reader.options.interval_ms <= 0 => Ok(Pulled::End),
            Read::UpTo(_) => Ok(Pulled::More),
        }
    }
}

/// How far a file was read, in one number: 23 bits of what the file is, 40 bits of position.
fn within(file: u64, position: u64) -> i64 {
    ((file & 0x7f_ffff) << 40 | position & MOST) as i64
}

/// The longest file whose position is kept.
const MOST: u64 = (1 << 40) - 1;

/// The position that [`within`] holds, if this is the file; otherwise its beginning.
fn place(path: &Path, within: i64) -> u64 {
    let (file, position) = (within as u64 >> 40, within as u64 & MOST);
    let is_it = std::fs::metadata(path)
        .is_ok_and(|found| identity(&found) & 0x7f_ffff == file && found.len() >= position);
    if is_it { position } else { 0 }
}

/// A number that tells a file from the one that has replaced it.
fn identity(metadata: &std::fs::Metadata) -> u64 {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = nanos(metadata.created().ok()) as u64;
    inode
}

/// What the offset of a message says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Offset {
    /// How far the one file was read.
    InFile,
    /// The newest file that was read, and how far the one behind it.
    InFolder { before: i64, modified: i64 },
}

impl Offset {
    /// The offset behind a message that ends here; `is_last`: nothing of the file follows.
    fn value(self, file: u64, position: u64, is_last: bool) -> Value {
        match self {
            Self::InFile => Value::Int(within(file, position)),
            Self::InFolder { modified, .. } if is_last => {
                Value::list(vec![Value::Int(modified), Value::Int(0)])
            }
            Self::InFolder { before, .. } => {
                Value::list(vec![Value::Int(before), Value::Int(within(file, position))])
            }
        }
    }
}

/// The files of a folder, the oldest modification first. Sub-folders are not visited.
pub(super) async fn files(folder: &Path) -> Result<Vec<(i64, PathBuf)>, IoError> {
    let wrong =
        |error: std::io::Error| IoError::transient(format!("cannot list {}: {error}", folder.display()));
    let mut entries = tokio::fs::read_dir(folder).await.map_err(wrong)?;
    let mut files = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(wrong)? {
        // A file may vanish between listing and looking.
        let Ok(metadata) = tokio::fs::metadata(entry.path()).await else { continue };
        if metadata.is_file() {
            files.push((nanos(metadata.modified().ok()), entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn nanos(time: Option<SystemTime>) -> i64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Up to this byte.
    UpTo(u64),
    /// The rule has ended meanwhile.
    Stopped,
}

/// Turns files into messages.
pub(super) struct Reader {
    pub(super) options: Options,
    clock: Arc<dyn Clock>,
}

/// What all messages of one file have in common.
struct Delivery<'a> {
    port: &'a Arc<dyn SourcePort>,
    meta: Option<Arc<Fields>>,
    offset: Option<Offset>,
    /// Which file it is.
    file: u64,
    /// Its length when reading began.
    len: u64,
}

impl Reader {
    /// Reads a file from a byte on, and does with it afterwards what the options say.
    pub(super) async fn read(
        &self,
        path: &Path,
        from: u64,
        offset: Option<Offset>,
        port: &Arc<dyn SourcePort>,
    ) -> Result<Read, IoError> {
        let meta = port.wants_meta().then(|| {
            let file = (Arc::from("file"), Value::text(path.to_string_lossy()));
            Arc::new(Fields::from([file]))
        });
        let found = tokio::fs::metadata(path).await.ok();
        let (file, len) = found.map_or((0, 0), |found| (identity(&found), found.len()));
        let delivery = Delivery { port, meta, offset, file, len };
        let wrong =
            |error: std::io::Error| IoError::transient(format!("cannot read {}: {error}", path.display()));
        let read = match self.options.file_type {
            FileType::Whole => self.whole(path, from, &delivery).await,
            FileType::Lines | FileType::Csv => self.by_line(path, from, &delivery).await,
        };
        let read = read.map_err(wrong)?;
        if let Read::UpTo(_) = read {
            self.put_away(path).await?;
        }
        Ok(read)
    }

    async fn whole(&self, path: &Path, from: u64, delivery: &Delivery<'_>) -> std::io::Result<Read> {
        let bytes = tokio::fs::read(path).await?;
        if from > 0 && from >= bytes.len() as u64 {
            return Ok(Read::UpTo(from));
        }
        if bytes.is_empty() {
            tracing::warn!(file = %path.display(), "file source: empty file skipped");
            return Ok(Read::UpTo(0));
        }
        match self.offer(|| Payload::Bytes(&bytes), bytes.len() as u64, delivery).await {
            true => Ok(Read::UpTo(bytes.len() as u64)),
            false => Ok(Read::Stopped),
        }
    }

    async fn by_line(&self, path: &Path, from: u64, delivery: &Delivery<'_>) -> std::io::Result<Read> {
        let mut file = File::open(path).await?;
        file.seek(SeekFrom::Start(from)).await?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut lines = Lines::new(self, path, from > 0);
        if from > 0 {
            lines.names = self.header(path).await?;
        }
        let mut position = from;
        // Held back until it is known that they are not among the last ones.
        let mut held: VecDeque<(Vec<u8>, u64)> = VecDeque::new();
        loop {
            let mut line = Vec::new();
            let n_bytes = file.read_until(b'\n', &mut line).await?;
            if n_bytes == 0 {
                break;
            }
            position += n_bytes as u64;
            if line.last() == Some(&b'\n') {
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
            }
            held.push_back((line, position));
            if held.len() > self.options.skip_last
                && let Some((line, end)) = held.pop_front()
                && !lines.take(line, end, delivery).await
            {
                return Ok(Read::Stopped);
            }
        }
        lines.end(delivery.port);
        if position == 0 {
            tracing::warn!(file = %path.display(), "file source: empty file skipped");
        }
        Ok(Read::UpTo(position))
    }

    /// Offers a message until it is taken; false when the rule has ended.
    /// `end` is where it ends in the file.
    async fn offer<'p>(&self, payload: impl Fn() -> Payload<'p>, end: u64, delivery: &Delivery<'_>) -> bool {
        let is_last = end >= delivery.len;
        let offset = delivery.offset.map(|offset| offset.value(delivery.file, end, is_last));
        loop {
            let (meta, offset) = (delivery.meta.clone(), offset.clone());
            let message = RawMessage { payload: payload(), time: self.clock.now(), meta, offset };
            match delivery.port.offer(message, WhenFull::Refuse) {
                Offer::Accepted => break,
                Offer::Stopped => return false,
                Offer::Full => {
                    if !delivery.port.room().await {
                        return false;
                    }
                }
            }
        }
        if !self.options.pause.is_zero() {
            tokio::time::sleep(self.options.pause).await;
        }
        true
    }

    /// The names of csv columns, for a file that is read on from its middle.
    async fn header(&self, path: &Path) -> std::io::Result<Vec<Arc<str>>> {
        if !self.options.has_header || self.options.file_type != FileType::Csv {
            return Ok(self.options.columns.clone());
        }
        let mut lines = BufReader::new(File::open(path).await?).lines();
        for _ in 0..self.options.skip_first {
            lines.next_line().await?;
        }
        let mut text = String::new();
        while let Some(line) = lines.next_line().await? {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&line);
            if let Ok(Record::Cells(cells)) = record(&text, self.options.delimiter) {
                return Ok(cells.iter().map(|name| Arc::from(name.as_str())).collect());
            }
        }
        Ok(Vec::new())
    }

    async fn put_away(&self, path: &Path) -> Result<(), IoError> {
        let done = match &self.options.after_read {
            AfterRead::Keep => return Ok(()),
            AfterRead::Delete => tokio::fs::remove_file(path).await,
            AfterRead::MoveTo(folder) => move_into(path, folder).await,
        };
        done.map_err(|error| IoError::transient(format!("cannot put {} away: {error}", path.display())))
    }
}

/// Renames, or copies when the folder is on another disk.
async fn move_into(path: &Path, folder: &Path) -> std::io::Result<()> {
    let target = folder.join(path.file_name().unwrap_or_default());
    if tokio::fs::rename(path, &target).await.is_ok() {
        return Ok(());
    }
    tokio::fs::copy(path, &target).await?;
    tokio::fs::remove_file(path).await
}

/// The lines of one file on their way: some are skipped, csv lines become records.
struct Lines<'a> {
    reader: &'a Reader,
    path: &'a Path,
    n_to_skip: usize,
    wants_header: bool,
    names: Vec<Arc<str>>,
    /// Lines of a csv record whose quote is open.
    open: String,
}

impl<'a> Lines<'a> {
    fn new(reader: &'a Reader, path: &'a Path, is_continued: bool) -> Self {
        let options = &reader.options;
        Self {
            reader,
            path,
            n_to_skip: if is_continued { 0 } else { options.skip_first },
            wants_header: options.has_header && options.file_type == FileType::Csv && !is_continued,
            names: options.columns.clone(),
            open: String::new(),
        }
    }

    /// False when the rule has ended.
    async fn take(&mut self, line: Vec<u8>, end: u64, delivery: &Delivery<'_>) -> bool {
        if self.n_to_skip > 0 {
            self.n_to_skip -= 1;
            return true;
        }
        if self.reader.options.file_type == FileType::Lines {
            return self.reader.offer(|| Payload::Bytes(&line), end, delivery).await;
        }
        if !self.open.is_empty() {
            self.open.push('\n');
        }
        self.open.push_str(&String::from_utf8_lossy(&line));
        if self.open.is_empty() {
            return true;
        }
        let cells = match record(&self.open, self.reader.options.delimiter) {
            Ok(Record::Open) => return true,
            Ok(Record::Cells(cells)) => cells,
            Err(why) => {
                // S4.5: upstream silently ends the file here.
                delivery.port.fault(&format!("csv file {}: {why}: {}", self.path.display(), self.open));
                self.open.clear();
                return true;
            }
        };
        self.open.clear();
        if std::mem::take(&mut self.wants_header) {
            self.names = cells.iter().map(|name| Arc::from(name.as_str())).collect();
            return true;
        }
        let row = Arc::new(self.row(cells));
        self.reader.offer(|| Payload::Rows(vec![Arc::clone(&row)]), end, delivery).await
    }

    /// Cells without a name are left out, names without a cell are missing (S4.5: upstream crashes).
    fn row(&self, cells: Vec<String>) -> Fields {
        let named = cells.into_iter().enumerate().filter_map(|(index, cell)| {
            let name = match self.names.is_empty() {
                true => Arc::from(format!("cols{index}")),
                false => Arc::clone(self.names.get(index)?),
            };
            Some((name, Value::text(cell)))
        });
        named.collect()
    }

    fn end(&self, port: &Arc<dyn SourcePort>) {
        if !self.open.is_empty() {
            port.fault(&format!("csv file {}: a quote is not closed", self.path.display()));
        }
    }
}
