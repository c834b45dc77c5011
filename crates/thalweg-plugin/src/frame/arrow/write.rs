//! Requests with an Arrow stream as body. The batch's body is what the buffers of a column frame are, at multiples of 64,
//! but for bools, which are bits; literals are repeated, because Arrow has no type for them.

use thalweg_core::{Column, ColumnRef};

use super::super::encode::{Arg, FrameWriter, Opening, TooLarge, has_value};
use super::super::rows::{Part, Rows};
use super::super::survey::{Kind, Survey};
use super::super::{ARROW, HEAD, aligned};
use super::{
    BATCH, BINARY, BOOL, CONTINUATION, DOUBLE, FLOAT, INT, JSON_MARK, LIST, MILLIS, NULL, SCHEMA, TIMESTAMP,
    UTF8,
};

/// Arrow's metadata of version 5.
const VERSION: u64 = 4;

/// What stands in the slot of a table.
#[derive(Clone, Copy)]
enum Slot {
    Absent,
    /// As many of its bytes as the reader takes, the lowest first.
    Number(u64),
    /// The distance to something behind the table.
    Behind,
}

use Slot::{Absent, Behind, Number};

/// A FlatBuffer written from front to back: what is referred to comes behind. Every slot takes eight bytes, so that all
/// numbers are where they must be.
struct Flat {
    bytes: Vec<u8>,
}

impl Flat {
    /// A message of this kind, whose header is to be written at the place returned.
    fn message(kind: u8, body: usize) -> (Self, usize) {
        let mut flat = Self { bytes: vec![0; 4] };
        let slots = [Number(VERSION), Number(kind.into()), Behind, Number(body as u64)];
        let table = flat.table(0, &slots);
        (flat, table + 16)
    }

    fn align(&mut self, to: usize, rest: usize) {
        while self.bytes.len() % to != rest {
            self.bytes.push(0);
        }
    }

    /// Lets a place refer to what is written next.
    fn refer(&mut self, from: usize) {
        let distance = (self.bytes.len() - from) as u32;
        self.bytes[from..from + 4].copy_from_slice(&distance.to_le_bytes());
    }

    /// Writes a table; where its first slot is.
    fn table(&mut self, from: usize, slots: &[Slot]) -> usize {
        self.align(2, 0);
        let layout = self.bytes.len();
        let sizes = [4 + 2 * slots.len(), 4 + 8 * slots.len()];
        let places = slots.iter().enumerate().map(|(index, slot)| match slot {
            Absent => 0,
            Number(_) | Behind => 4 + 8 * index,
        });
        for number in sizes.into_iter().chain(places) {
            self.bytes.extend_from_slice(&(number as u16).to_le_bytes());
        }
        self.align(8, 4);
        self.refer(from);
        let back = (self.bytes.len() - layout) as u32;
        self.bytes.extend_from_slice(&back.to_le_bytes());
        let first = self.bytes.len();
        for slot in slots {
            let number = if let Number(number) = slot { *number } else { 0 };
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        first
    }

    fn text(&mut self, from: usize, text: &str) {
        self.align(4, 0);
        self.refer(from);
        self.bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// A list of so many things that come behind it; where the first is referred to, the others follow at four bytes.
    fn list(&mut self, from: usize, n: usize) -> usize {
        self.align(4, 0);
        self.refer(from);
        self.bytes.extend_from_slice(&(n as u32).to_le_bytes());
        let first = self.bytes.len();
        self.bytes.resize(first + 4 * n, 0);
        first
    }

    fn pairs(&mut self, from: usize, pairs: &[[usize; 2]]) {
        self.align(8, 4);
        self.refer(from);
        self.bytes.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
        for number in pairs.as_flattened() {
            self.bytes.extend_from_slice(&(*number as u64).to_le_bytes());
        }
    }

    /// A field of a schema.
    fn field(&mut self, from: usize, name: &str, kind: Kind, is_list: bool) {
        let has_mark = kind == Kind::Json && !is_list;
        let number = if is_list { LIST } else { type_of(kind) };
        let metadata = if has_mark { Behind } else { Absent };
        let slots = [Behind, Number(1), Number(number.into()), Behind, Absent, Behind, metadata];
        let first = self.table(from, &slots);
        self.text(first, name);
        let of_type = first + 3 * 8;
        match number {
            INT => _ = self.table(of_type, &[Number(64), Number(1)]),
            FLOAT => _ = self.table(of_type, &[Number(DOUBLE.into())]),
            TIMESTAMP => {
                let unit = self.table(of_type, &[Number(MILLIS.into()), Behind]);
                self.text(unit + 8, "UTC");
            }
            _ => _ = self.table(of_type, &[]),
        }
        let child = self.list(first + 5 * 8, usize::from(is_list));
        if is_list {
            self.field(child, "item", kind, false);
        }
        if has_mark {
            let pair = self.list(first + 6 * 8, 1);
            let mark = self.table(pair, &[Behind, Behind]);
            self.text(mark, JSON_MARK[0]);
            self.text(mark + 8, JSON_MARK[1]);
        }
    }

    /// Adds it to a stream, with what makes the next thing begin at a multiple of 64.
    fn finish(self, stream: &mut Vec<u8>) {
        let end = aligned(stream.len() + 8 + self.bytes.len());
        let length = (end - stream.len() - 8) as u32;
        stream.extend_from_slice(&CONTINUATION);
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(&self.bytes);
        stream.resize(end, 0);
    }
}

fn type_of(kind: Kind) -> u8 {
    match kind {
        Kind::Nothing => NULL,
        Kind::Bool => BOOL,
        Kind::Int => INT,
        Kind::Float { .. } => FLOAT,
        Kind::Str | Kind::Json => UTF8,
        Kind::Bytes => BINARY,
        Kind::Time => TIMESTAMP,
    }
}

/// What a batch says about its columns: length and nulls of each node, place and size of each buffer.
#[derive(Default)]
struct Batch {
    nodes: Vec<[usize; 2]>,
    buffers: Vec<[usize; 2]>,
}

impl FrameWriter {
    /// Writes the arguments of some calls as an Arrow stream; groups are lists.
    pub(crate) fn write_arrow(
        &mut self,
        opening: &Opening<'_>,
        args: &[Arg<'_>],
        part: &Part<'_>,
    ) -> Result<(), TooLarge> {
        self.clear();
        let mut batch = Batch::default();
        let mut kinds = Vec::with_capacity(args.len());
        for arg in args {
            if let Some(offsets) = part.groups {
                let at = self.begin();
                self.group_offsets(offsets);
                batch.nodes.push([part.n(), 0]);
                batch.buffers.extend([[0, 0], self.since(at)]);
            }
            kinds.push(self.argument(arg, part.rows, &mut batch)?);
        }
        let body = self.begin();
        let mut stream = vec![0; aligned(HEAD + self.room_of_header(opening, &[]))];
        let start = stream.len();
        let (mut schema, header) = Flat::message(SCHEMA, 0);
        let fields = schema.table(header, &[Number(0), Behind]) + 8;
        let fields = schema.list(fields, kinds.len());
        for (index, kind) in kinds.into_iter().enumerate() {
            schema.field(fields + 4 * index, &format!("arg{index}"), kind, part.groups.is_some());
        }
        schema.finish(&mut stream);
        let (mut flat, header) = Flat::message(BATCH, body);
        let first = flat.table(header, &[Number(part.n() as u64), Behind, Behind]);
        flat.pairs(first + 8, &batch.nodes);
        flat.pairs(first + 16, &batch.buffers);
        flat.finish(&mut stream);
        self.put_before(stream, start);
        self.put_behind(&CONTINUATION);
        self.put_behind(&[0; 4]);
        self.finish(opening, part, None, ARROW);
        Ok(())
    }

    fn argument(&mut self, arg: &Arg<'_>, rows: Rows<'_>, batch: &mut Batch) -> Result<Kind, TooLarge> {
        if !arg.values.is_constant() {
            return self.arrow_column(arg, rows, batch);
        }
        let mut repeated = Column::new();
        (0..rows.len()).for_each(|_| repeated.push_cell(arg.values.cell(0)));
        let values = ColumnRef::borrowed(&repeated);
        self.arrow_column(&Arg::new(&values, arg.numbers), Rows::Span(0, rows.len()), batch)
    }

    fn arrow_column(&mut self, arg: &Arg<'_>, rows: Rows<'_>, batch: &mut Batch) -> Result<Kind, TooLarge> {
        let column = arg.values.column();
        let survey = Survey::of(column, rows);
        self.lost_number |= survey.n_not_finite > 0;
        let kind = survey.kind(arg.numbers);
        if kind == Kind::Nothing {
            batch.nodes.push([rows.len(), rows.len()]);
            return Ok(kind);
        }
        let mut n_nulls = 0;
        rows.each(|row| n_nulls += usize::from(!has_value(column, row)));
        batch.nodes.push([rows.len(), n_nulls]);
        let validity = if n_nulls == 0 { [0, 0] } else { self.bits(rows, |row| has_value(column, row)) };
        batch.buffers.push(validity);
        if matches!(kind, Kind::Str | Kind::Bytes | Kind::Json) {
            let offsets = self.offsets(arg, kind, rows)?;
            batch.buffers.push(offsets);
        }
        let data = match kind {
            Kind::Bool => self.bits(rows, |row| column.words()[row] != 0),
            _ => {
                let at = self.begin();
                self.values(column, kind, rows);
                self.since(at)
            }
        };
        batch.buffers.push(data);
        Ok(kind)
    }
}
