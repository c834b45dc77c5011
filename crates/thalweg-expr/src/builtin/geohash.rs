//! Table: geohashes, as upstream's plugin of that name (functions.md 19). Exact on integers: a hash is the bits of
//! longitude and latitude in turn, longitude first; neighbors are counted in cells and not in degrees.
//!
//! The integer forms carry 64 bits. SQL has no unsigned kind, so they print as the signed number of the same bits: east
//! of Greenwich they are negative, and adding 2^64 gives the unsigned number.

use thalweg_core::{Fields, RowError, Value};

use super::args::{fail, float, int, only_text};
use crate::function::{Arg, ArgKind};

const PLACE: &[Arg] = &[Arg::new("latitude", ArgKind::Number), Arg::new("longitude", ArgKind::Number)];
const HASH: &[Arg] = &[Arg::new("hash", ArgKind::Text)];
const NUMBER: &[Arg] = &[Arg::new("hash", ArgKind::Number)];
const TOWARDS: &[Arg] = &[Arg::new("hash", ArgKind::Text), Arg::new("direction", ArgKind::Text)];
const NUMBER_TOWARDS: &[Arg] = &[Arg::new("hash", ArgKind::Number), Arg::new("direction", ArgKind::Text)];

functions! { External
    "geohashEncode" (PLACE) Own |args, _| Ok(Value::text(Cell::at(args)?.text())),
    "The geohash of a place, 12 characters.", &[("geohashEncode(51.5, -0.12)", "\"gcpuvr295zcd\""), ("geohashEncode(91, 0)", "ERR")];
    "geohashEncodeInt" (PLACE) Own |args, _| Ok(Cell::at(args)?.number()),
    "The geohash of a place as 64 bits; east of Greenwich a negative number.", &[("geohashEncodeInt(51.5, -0.12)", "8857364253786494657"), ("geohashEncodeInt(48.1, 11.5)", "-3418200356891854975")];
    "geohashDecode" (HASH) Own |args, _| Ok(Cell::of_text(&args[0])?.place()),
    "A place in a geohash's cell, with as many digits as the cell is fine.", &[("geohashDecode(\"gcpuvp\")", "{\"Latitude\":51.499,\"Longitude\":-0.13}"), ("geohashDecode(\"s\")", "{\"Latitude\":0,\"Longitude\":0}"), ("geohashDecode(\"a\")", "ERR")];
    "geohashDecodeInt" (NUMBER) Own |args, _| Ok(Cell::of_number(&args[0])?.place()),
    "The same for a geohash of 64 bits.", &[("geohashDecodeInt(8857364253786494657)", "{\"Latitude\":51.49999999,\"Longitude\":-0.12000001}")];
    "geohashBoundingBox" (HASH) Own |args, _| Ok(Cell::of_text(&args[0])?.bounds()),
    "The borders of a geohash's cell in degrees.", &[("geohashBoundingBox(\"gcpuvp\")", "{\"MaxLat\":51.50390625,\"MaxLng\":-0.120849609375,\"MinLat\":51.4984130859375,\"MinLng\":-0.1318359375}")];
    "geohashBoundingBoxInt" (NUMBER) Own |args, _| Ok(Cell::of_number(&args[0])?.bounds()),
    "The same for a geohash of 64 bits.", &[("geohashBoundingBoxInt(0)", "{\"MaxLat\":-89.99999995809048,\"MaxLng\":-179.99999991618097,\"MinLat\":-90,\"MinLng\":-180}")];
    "geohashNeighbor" (TOWARDS) Own |args, _| Ok(Value::text(Cell::of_text(&args[0])?.next(&args[1])?.text())),
    "The cell beside it: North, NorthEast, East, SouthEast, South, SouthWest, West or NorthWest.", &[("geohashNeighbor(\"gcpuvp\", \"North\")", "\"gcpvj0\""), ("geohashNeighbor(\"gcpuvp\", \"north\")", "ERR")];
    "geohashNeighborInt" (NUMBER_TOWARDS) Own |args, _| Ok(Cell::of_number(&args[0])?.next(&args[1])?.number()),
    "The same for a geohash of 64 bits.", &[("geohashNeighborInt(8857364253786494657, \"East\")", "8857364253786494659")];
    "geohashNeighbors" (HASH) Own |args, _| Ok(Cell::of_text(&args[0])?.around(|cell| Value::text(cell.text()))),
    "The eight cells around it, clockwise from the north.", &[("geohashNeighbors(\"gcpuvp\")", "[\"gcpvj0\",\"gcpvj2\",\"gcpuvr\",\"gcpuvq\",\"gcpuvn\",\"gcpuuy\",\"gcpuuz\",\"gcpvhb\"]")];
    "geohashNeighborsInt" (NUMBER) Own |args, _| Ok(Cell::of_number(&args[0])?.around(|cell| cell.number())),
    "The same for a geohash of 64 bits.", &[("geohashNeighborsInt(0)", "[1,3,2,2,0,-6148914691236517206,-6148914691236517206,-6148914691236517205]")];
}

const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
const LONGEST: usize = 12;

/// Clockwise: name, steps to the north, steps to the east.
const DIRECTIONS: [(&str, i64, i64); 8] = [
    ("North", 1, 0),
    ("NorthEast", 1, 1),
    ("East", 0, 1),
    ("SouthEast", -1, 1),
    ("South", -1, 0),
    ("SouthWest", -1, -1),
    ("West", 0, -1),
    ("NorthWest", 1, -1),
];

/// A cell: its row counted from the south pole, its column from the date line, and how many bits tell it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    row: u64,
    column: u64,
    /// At most 64; the odd one is longitude's.
    n_bits: u32,
}

impl Cell {
    /// The cell of 64 bits at a latitude and a longitude.
    fn at(args: &[Value]) -> Result<Self, RowError> {
        let (latitude, longitude) = (float(&args[0])?, float(&args[1])?);
        let within = |name: &str, degrees: f64, most: f64| match (-most..=most).contains(&degrees) {
            // The edge belongs to the last cell.
            true => Ok(u64::from(((degrees + most) / (2.0 * most) * 2f64.powi(32)) as u32)),
            false => fail(format!("{name} {degrees} is not between -{most} and {most}")),
        };
        Ok(Self {
            row: within("latitude", latitude, 90.0)?,
            column: within("longitude", longitude, 180.0)?,
            n_bits: 64,
        })
    }

    fn of_number(value: &Value) -> Result<Self, RowError> {
        let bits = int(value)? as u64;
        Ok(Self { row: every_second(bits), column: every_second(bits >> 1), n_bits: 64 })
    }

    fn of_text(value: &Value) -> Result<Self, RowError> {
        let text = only_text(value)?;
        if text.is_empty() || text.len() > LONGEST {
            return fail(format!("a geohash has 1 to {LONGEST} characters, \"{text}\" has {}", text.len()));
        }
        let mut bits = 0;
        for letter in text.bytes() {
            let Some(digit) = ALPHABET.iter().position(|known| *known == letter) else {
                return fail(format!("\"{text}\" is no geohash: it holds '{}'", char::from(letter)));
            };
            bits = bits << 5 | digit as u64;
        }
        let n_bits = 5 * text.len() as u32;
        // The last bit is latitude's if their number is even.
        let (last, other) = (every_second(bits), every_second(bits >> 1));
        let (row, column) = if n_bits.is_multiple_of(2) { (last, other) } else { (other, last) };
        Ok(Self { row, column, n_bits })
    }

    fn row_bits(self) -> u32 {
        self.n_bits / 2
    }

    fn column_bits(self) -> u32 {
        self.n_bits - self.n_bits / 2
    }

    /// All bits, in the lower end.
    fn bits(self) -> u64 {
        let (last, other) =
            if self.n_bits.is_multiple_of(2) { (self.row, self.column) } else { (self.column, self.row) };
        spread(last) | spread(other) << 1
    }

    fn number(self) -> Value {
        Value::Int(self.bits() as i64)
    }

    /// As many whole characters as there are bits for; of 64 bits the first 60.
    fn text(self) -> String {
        let n_letters = self.n_bits / 5;
        let bits = self.bits() >> (self.n_bits % 5);
        let letter = |index: u32| char::from(ALPHABET[(bits >> (5 * index) & 31) as usize]);
        (0..n_letters).rev().map(letter).collect()
    }

    /// South, north, west, east, in degrees.
    fn edges(self) -> [f64; 4] {
        let (height, width) =
            (180.0 / 2f64.powi(self.row_bits() as i32), 360.0 / 2f64.powi(self.column_bits() as i32));
        let (south, west) = (self.row as f64 * height - 90.0, self.column as f64 * width - 180.0);
        [south, south + height, west, west + width]
    }

    fn bounds(self) -> Value {
        let [south, north, west, east] = self.edges();
        let edges = [("MinLat", south), ("MaxLat", north), ("MinLng", west), ("MaxLng", east)];
        Value::map(edges.map(|(name, edge)| (name.into(), Value::Float(edge))).into())
    }

    fn place(self) -> Value {
        let [south, north, west, east] = self.edges();
        let (latitude, longitude) = (shortest(south, north), shortest(west, east));
        Value::map(Fields::from([
            ("Longitude".into(), Value::Float(longitude)),
            ("Latitude".into(), Value::Float(latitude)),
        ]))
    }

    /// The cell so many steps on: around the world to the east, up to the poles to the north.
    fn step(self, north: i64, east: i64) -> Self {
        let row = self.row.saturating_add_signed(north).min((1 << self.row_bits()) - 1);
        let column = self.column.wrapping_add_signed(east) & ((1 << self.column_bits()) - 1);
        Self { row, column, ..self }
    }

    fn next(self, direction: &Value) -> Result<Self, RowError> {
        let name = only_text(direction)?;
        match DIRECTIONS.iter().find(|(known, ..)| *known == name) {
            Some((_, north, east)) => Ok(self.step(*north, *east)),
            None => {
                let known = DIRECTIONS.map(|(name, ..)| name).join(", ");
                fail(format!("unknown direction \"{name}\"; known are {known}"))
            }
        }
    }

    fn around(self, show: impl Fn(Self) -> Value) -> Value {
        Value::list(DIRECTIONS.iter().map(|(_, north, east)| show(self.step(*north, *east))).collect())
    }
}

/// The first number at or above `low` with as many decimals as the cell is fine.
fn shortest(low: f64, high: f64) -> f64 {
    let step = 10f64.powi((high - low).log10().floor() as i32);
    // Dividing by a whole number is exact where multiplying by 0.001 is not.
    if step < 1.0 {
        let scale = (1.0 / step).round();
        (low * scale).ceil() / scale
    } else {
        (low / step).ceil() * step
    }
}

/// Puts a zero before each of the lower 32 bits.
fn spread(bits: u64) -> u64 {
    (0..32).fold(0, |spread, bit| spread | (bits >> bit & 1) << (2 * bit))
}

/// The bits 0, 2, 4 … as one number.
fn every_second(bits: u64) -> u64 {
    (0..32).fold(0, |packed, bit| packed | (bits >> (2 * bit) & 1) << bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_found_again_by_its_text_and_by_its_number() {
        for (latitude, longitude) in
            [(51.5, -0.12), (-33.9, 151.2), (0.0, 0.0), (90.0, 180.0), (-90.0, -180.0)]
        {
            let cell =
                Cell::at(&[Value::Float(latitude), Value::Float(longitude)]).expect("a place on earth");
            assert_eq!(Cell::of_number(&cell.number()), Ok(cell));
            let [south, north, west, east] = cell.edges();
            assert!((south..=north).contains(&latitude) && (west..=east).contains(&longitude), "{cell:?}");
            for length in 1..=LONGEST {
                let text = &cell.text()[..length];
                assert_eq!(Cell::of_text(&Value::text(text)).expect("a hash").text(), text);
            }
        }
    }

    #[test]
    fn neighbors_go_around_the_world_and_end_at_the_poles() {
        let next = |hash: &str, direction: &str| {
            let cell = Cell::of_text(&Value::text(hash)).expect("a hash");
            cell.next(&Value::text(direction)).expect("a direction").text()
        };
        assert_eq!(next("z", "East"), "b");
        assert_eq!(next("0", "West"), "p");
        assert_eq!(next("z", "North"), "z");
        for (name, ..) in DIRECTIONS {
            let back =
                DIRECTIONS[(DIRECTIONS.iter().position(|(known, ..)| *known == name).unwrap() + 4) % 8].0;
            assert_eq!(next(&next("gcpuvp", name), back), "gcpuvp", "{name}");
        }
    }
}
