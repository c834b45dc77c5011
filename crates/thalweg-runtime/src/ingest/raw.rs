//! What waits in front of a decoder: payloads back to back in one arena, or rows of structured sources.

use std::collections::VecDeque;
use std::sync::Arc;

use thalweg_core::Timestamp;
use thalweg_core::connector::{Payload, RawMessage};
use thalweg_core::format::{Mark, RawBatch};
use thalweg_core::polled::Arrivals;
use thalweg_core::value::Fields;

use crate::queue::Bucket;

/// Dead bytes (of dropped messages) from which on an arena is tidied up.
const TIDY_FROM: usize = 1 << 20;
/// The largest arena that is kept for the next batch.
const SPARE: usize = 1 << 20;

/// The bucket of a source's queue. Bytes and rows may alternate; each stretch of one kind is a run.
#[derive(Debug, Default)]
pub(crate) struct RawBucket {
    runs: Runs,
    n_messages: usize,
    n_bytes: usize,
}

/// Nearly always there is one, for which no list is made.
#[derive(Debug, Default)]
struct Runs {
    first: Option<Run>,
    more: VecDeque<Run>,
}

impl Runs {
    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn front_mut(&mut self) -> Option<&mut Run> {
        self.first.as_mut()
    }

    fn back(&self) -> Option<&Run> {
        self.more.back().or(self.first.as_ref())
    }

    fn back_mut(&mut self) -> Option<&mut Run> {
        self.more.back_mut().or(self.first.as_mut())
    }

    fn push_back(&mut self, run: Run) {
        match self.first {
            None => self.first = Some(run),
            Some(_) => self.more.push_back(run),
        }
    }

    fn pop_front(&mut self) {
        self.first = self.more.pop_front();
    }
}

/// Messages of one kind.
#[derive(Debug, Default)]
struct Run {
    arena: Vec<u8>,
    /// Where the arena of an earlier batch was shared from.
    shell: Option<Arc<Vec<u8>>>,
    spans: Vec<(u32, u32)>,
    rows: Vec<Vec<Arc<Fields>>>,
    times: Vec<Timestamp>,
    meta: Vec<Option<Arc<Fields>>>,
    mark: Mark,
    is_rows: bool,
    /// Messages at the front that were dropped.
    head: usize,
    /// Bytes of the arena before the first message that was not.
    dead: usize,
}

/// The bytes that a payload counts for.
pub(crate) fn size_of(payload: &Payload<'_>) -> usize {
    match payload {
        Payload::Bytes(bytes) => bytes.len(),
        Payload::Rows(rows) => rows.iter().map(size_of_row).sum(),
    }
}

/// The bytes that a row counts for.
pub(crate) fn size_of_row(row: &Arc<Fields>) -> usize {
    64 * row.len().max(1)
}

impl RawBucket {
    /// Adds a message, copying its bytes.
    pub(crate) fn push(&mut self, message: RawMessage<'_>) {
        self.push_due(message, 0, None);
    }

    /// Adds a message that waits for an answer, with its number; one that was sent before stands alone.
    pub(crate) fn push_due(&mut self, message: RawMessage<'_>, number: u64, again: Option<u64>) {
        let size = size_of(&message.payload);
        self.n_messages += 1;
        self.n_bytes += size;
        let is_rows = matches!(message.payload, Payload::Rows(_));
        let fits = self.runs.back().is_some_and(|run| {
            let stands_alone = again.is_some() || run.mark.again.is_some();
            !stands_alone && run.is_rows == is_rows && run.arena.len() + size < 1 << 31
        });
        if !fits {
            let mark = Mark { again, ..Mark::default() };
            self.runs.push_back(Run { is_rows, mark, ..Run::default() });
        }
        let Some(run) = self.runs.back_mut() else { return };
        run.mark.upto = run.mark.upto.max(number);
        match message.payload {
            Payload::Bytes(bytes) => {
                run.spans.push((run.arena.len() as u32, bytes.len() as u32));
                run.arena.extend_from_slice(bytes);
            }
            Payload::Rows(rows) => run.rows.push(rows),
        }
        if message.meta.is_some() || !run.meta.is_empty() {
            run.meta.resize(run.times.len(), None);
            run.meta.push(message.meta);
        }
        run.times.push(message.time);
        if message.offset.is_some() {
            run.mark.offset = message.offset;
        }
    }

    /// Uses the allocations of an earlier batch, if nobody needs its bytes any more and nothing is here yet. Right before
    /// bytes are added.
    pub(crate) fn refit(&mut self, spare: RawBatch) {
        let RawBatch { arena: mut shell, mut spans, mut times, .. } = spare;
        if !self.runs.is_empty() || shell.capacity() > SPARE {
            return;
        }
        let Some(arena) = Arc::get_mut(&mut shell) else { return };
        let mut arena = std::mem::take(arena);
        arena.clear();
        spans.clear();
        times.clear();
        self.runs.push_back(Run { arena, shell: Some(shell), spans, times, ..Run::default() });
    }

    /// Adds what one read brought: in one copy, together with what stands between the payloads unless that is more than
    /// the payloads themselves.
    pub(crate) fn push_all(&mut self, arrivals: &Arrivals<'_>) {
        let (Some(first), Some(last)) = (arrivals.spans.first(), arrivals.spans.last()) else { return };
        let (from, to) = (first.0 as usize, last.0 as usize + last.1 as usize);
        let (size, count) = (arrivals.size(), arrivals.spans.len());
        let fits = self.runs.back().is_some_and(|run| {
            run.mark.again.is_none() && !run.is_rows && run.arena.len() + (to - from) < 1 << 31
        });
        if !fits {
            self.runs.push_back(Run::default());
        }
        let Some(run) = self.runs.back_mut() else { return };
        self.n_messages += count;
        self.n_bytes += size;
        let start = run.arena.len();
        if to - from <= 2 * size {
            run.arena.extend_from_slice(&arrivals.bytes[from..to]);
            let placed = |(at, len): &(u32, u32)| ((start + *at as usize - from) as u32, *len);
            run.spans.extend(arrivals.spans.iter().map(placed));
        } else {
            for index in 0..count {
                run.spans.push((run.arena.len() as u32, arrivals.spans[index].1));
                run.arena.extend_from_slice(arrivals.payload(index));
            }
        }
        if !arrivals.meta.is_empty() || !run.meta.is_empty() {
            run.meta.resize(run.times.len(), None);
            run.meta.extend(arrivals.meta.iter().cloned().map(Some));
            run.meta.resize(run.times.len() + count, None);
        }
        run.times.resize(run.times.len() + count, arrivals.time);
    }

    /// What arrived, in order, ready for the decoder.
    pub(crate) fn into_batches(self) -> impl Iterator<Item = RawBatch> {
        self.runs.first.into_iter().chain(self.runs.more).map(Run::into_batch)
    }
}

impl Run {
    fn drop_oldest(&mut self) -> usize {
        let size = if self.is_rows {
            std::mem::take(&mut self.rows[self.head]).iter().map(size_of_row).sum()
        } else {
            let size = self.spans[self.head].1 as usize;
            self.dead = self.spans.get(self.head + 1).map_or(self.arena.len(), |next| next.0 as usize);
            size
        };
        self.head += 1;
        let live = self.arena.len() - self.dead;
        if self.dead > TIDY_FROM && self.dead > live {
            self.tidy();
        }
        size
    }

    /// Forgets the dropped messages.
    fn tidy(&mut self) {
        let head = std::mem::take(&mut self.head);
        let dead = std::mem::take(&mut self.dead);
        self.times.drain(..head);
        self.meta.drain(..head.min(self.meta.len()));
        if self.is_rows {
            self.rows.drain(..head);
        } else {
            self.spans.drain(..head);
            self.arena.drain(..dead);
            self.spans.iter_mut().for_each(|span| span.0 -= dead as u32);
        }
    }

    fn into_batch(mut self) -> RawBatch {
        if self.head > 0 {
            self.tidy();
        }
        let mut shell = self.shell.unwrap_or_default();
        match Arc::get_mut(&mut shell) {
            Some(arena) => *arena = self.arena,
            None => shell = Arc::new(self.arena),
        }
        RawBatch {
            arena: shell,
            spans: self.spans,
            rows: self.rows,
            times: self.times,
            meta: self.meta,
            mark: self.mark,
        }
    }
}

impl Bucket for RawBucket {
    fn n_messages(&self) -> usize {
        self.n_messages
    }

    fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    fn is_empty(&self) -> bool {
        self.n_messages == 0
    }

    fn drop_oldest(&mut self) -> usize {
        let Some(run) = self.runs.front_mut() else { return 0 };
        self.n_bytes -= run.drop_oldest();
        self.n_messages -= 1;
        if run.head == run.times.len() {
            self.runs.pop_front();
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::Value;

    use super::*;

    #[test]
    fn a_message_that_was_sent_before_stands_alone() {
        let mut bucket = RawBucket::default();
        bucket.push_due(message("a"), 1, None);
        bucket.push_due(message("b"), 2, None);
        bucket.push_due(message("c"), 3, Some(77));
        bucket.push_due(message("d"), 4, None);
        let marks = bucket.into_batches().map(|raw| (raw.len(), raw.mark.upto, raw.mark.again));
        assert_eq!(marks.collect::<Vec<_>>(), [(2, 2, None), (1, 3, Some(77)), (1, 4, None)]);
    }

    fn message(text: &str) -> RawMessage<'_> {
        RawMessage { payload: Payload::Bytes(text.as_bytes()), time: Timestamp(1), meta: None, offset: None }
    }

    fn texts(bucket: RawBucket) -> Vec<String> {
        let text = |raw: &RawBatch, i| String::from_utf8(raw.payload(i).to_vec()).unwrap();
        bucket
            .into_batches()
            .flat_map(|raw| (0..raw.len()).map(|i| text(&raw, i)).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn payloads_stand_back_to_back_and_the_oldest_can_go() {
        let mut bucket = RawBucket::default();
        ["a", "bb", "ccc"].iter().for_each(|text| bucket.push(message(text)));
        assert_eq!((bucket.n_messages(), bucket.n_bytes()), (3, 6));
        assert_eq!(bucket.drop_oldest(), 1);
        assert_eq!((bucket.n_messages(), bucket.n_bytes()), (2, 5));
        bucket.push(message("d"));
        assert_eq!(texts(bucket), ["bb", "ccc", "d"]);
    }

    #[test]
    fn what_one_read_brought_keeps_its_payloads_whatever_stands_between_them() {
        let bytes = b"--a--bb--ccc--------------------d";
        let spans = [(2, 1), (5, 2), (9, 3), (32, 1)];
        for kept in 0..=4 {
            let mut bucket = RawBucket::default();
            bucket.push(message("first"));
            // The second half has more between the payloads than in them.
            for spans in [&spans[..3], &spans[3..], &spans[..]] {
                bucket.push_all(&Arrivals { bytes, spans, meta: &[], time: Timestamp(2) });
            }
            assert_eq!((bucket.n_messages(), bucket.n_bytes()), (9, 5 + 2 * 7));
            while bucket.n_messages() > kept {
                bucket.drop_oldest();
            }
            bucket.push(message("last"));
            let all = ["first", "a", "bb", "ccc", "d", "a", "bb", "ccc", "d", "last"];
            assert_eq!(texts(bucket), all[9 - kept..]);
        }
    }

    #[test]
    fn what_one_read_brought_keeps_its_metadata_and_what_came_before_has_none() {
        let meta = [1, 2].map(|number| Arc::new(Fields::from([(Arc::from("n"), Value::Int(number))])));
        let mut bucket = RawBucket::default();
        bucket.push(message("before"));
        let (bytes, spans, time) = (b"abc", &[(0, 1), (1, 1)], Timestamp(2));
        bucket.push_all(&Arrivals { bytes, spans, meta: &meta, time });
        bucket.push_all(&Arrivals { bytes, spans: &[(2, 1)], meta: &[], time });
        let raw = bucket.into_batches().next().unwrap();
        let [one, two] = meta;
        assert_eq!((raw.len(), raw.meta), (4, vec![None, Some(one), Some(two), None]));
    }

    #[test]
    fn the_arena_of_a_batch_that_is_through_serves_the_next_unless_somebody_holds_it() {
        for is_held in [false, true] {
            let mut bucket = RawBucket::default();
            bucket.push(message("before"));
            let raw = bucket.into_batches().next().unwrap();
            let (held, at) = (is_held.then(|| Arc::clone(&raw.arena)), raw.arena.as_ptr());
            let mut bucket = RawBucket::default();
            bucket.refit(raw);
            let after = Arrivals { bytes: b"after", spans: &[(0, 5)], meta: &[], time: Timestamp(2) };
            bucket.push_all(&after);
            assert_eq!(bucket.runs.first.as_ref().unwrap().arena.as_ptr() == at, !is_held);
            assert_eq!(held.map(|arena| arena.to_vec()), is_held.then(|| b"before".to_vec()));
            assert_eq!(texts(bucket), ["after"]);
        }
    }

    #[test]
    fn an_arena_under_dropping_does_not_grow_for_ever() {
        let mut bucket = RawBucket::default();
        let text = "x".repeat(1 << 16);
        for _ in 0..200 {
            bucket.push(message(&text));
            while bucket.n_messages() > 4 {
                bucket.drop_oldest();
            }
        }
        assert!(
            bucket.runs.first.as_ref().unwrap().arena.len() < 4 * TIDY_FROM,
            "{}",
            bucket.runs.first.as_ref().unwrap().arena.len()
        );
        assert_eq!(texts(bucket), vec![text; 4]);
    }

    #[test]
    fn rows_and_bytes_keep_their_order_and_metadata_its_message() {
        let mut bucket = RawBucket::default();
        let row = Arc::new(Fields::from([(Arc::from("a"), Value::Int(1))]));
        bucket.push(message("a"));
        bucket.push(RawMessage { meta: Some(Arc::clone(&row)), ..message("b") });
        let rows = Payload::Rows(vec![Arc::clone(&row)]);
        bucket.push(RawMessage {
            payload: rows,
            time: Timestamp(2),
            meta: None,
            offset: Some(Value::Int(7)),
        });
        let batches: Vec<RawBatch> = bucket.into_batches().collect();
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[0].meta, [None, Some(row)]);
        assert_eq!((batches[1].rows.len(), &batches[1].mark.offset), (1, &Some(Value::Int(7))));
    }
}
