//! The TIMESTAMP column as the time of each row (E-1). Ordering and lateness are the Watermark operator's business.

use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::{Batch, Cell, Fault, Selection, Slot, Timestamp, datetime};

/// Where event time comes from.
#[derive(Debug, Clone)]
pub(crate) struct EventTime {
    pub slot: Slot,
    pub pattern: Option<Arc<str>>,
    pub zone: Tz,
}

impl EventTime {
    /// Replaces the times of all rows by the column's values. Rows without a usable time are taken out of the
    /// selection; the second result are their faults.
    pub(crate) fn apply(
        &self,
        batch: &mut Batch,
        rows: &Selection,
        now: Timestamp,
    ) -> (Selection, Vec<Fault>) {
        let (mut live, mut bad) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            match self.time(batch, row, now) {
                Ok(time) => {
                    batch.times[row] = time;
                    live.push(row as u32);
                }
                Err(why) => bad.push(Fault {
                    row: row as u32,
                    message: Arc::from(format!("error in preprocessor: {why}")),
                    time: None,
                }),
            }
        }
        let live = if live.len() == batch.n_rows {
            Selection::all(batch.n_rows).live
        } else {
            Selection::rows(live).live
        };
        (Selection { live, faults: rows.faults.clone() }, bad)
    }

    fn time(&self, batch: &Batch, row: usize, now: Timestamp) -> Result<Timestamp, String> {
        let name = &batch.schema.fields[self.slot.index()].name;
        let wrong =
            |what: String| format!("cannot convert timestamp field {name} to timestamp with error {what}");
        match batch.column(self.slot).cell(row) {
            Cell::Missing => Err(format!("cannot find timestamp field {name}")),
            Cell::Int(millis) => Ok(Timestamp(millis)),
            Cell::Float(millis) if millis.is_finite() => Ok(Timestamp(millis as i64)),
            Cell::Time(time) => Ok(time),
            Cell::Str(text) => datetime::parse(text, self.pattern.as_deref(), self.zone, now)
                .ok_or_else(|| wrong(format!("\"{text}\" is no time"))),
            other => Err(wrong(thalweg_core::cast::described(&other))),
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::{Column, Schema, Unit, Value};

    use super::*;

    #[test]
    fn the_column_gives_the_times_and_bad_ones_become_faults_in_place() {
        let values = [
            Value::Int(7),
            Value::Float(8.9),
            Value::text("1970-01-01T00:00:03Z"),
            Value::Bool(true),
            Value::Null,
        ];
        let mut batch = Batch {
            schema: Arc::new(Schema::computed(["ts"])),
            columns: vec![Arc::new(Column::from_values(&values))],
            n_rows: 5,
            times: vec![Timestamp(0); 5],
            unit: Unit::Rows,
            window: None,
        };
        let event_time = EventTime { slot: Slot(0), pattern: None, zone: Tz::UTC };
        let (rows, bad) = event_time.apply(&mut batch, &Selection::all(5), Timestamp(0));
        assert_eq!(batch.times[..3], [Timestamp(7), Timestamp(8), Timestamp(3_000)]);
        assert_eq!(rows.iter().collect::<Vec<_>>(), [0, 1, 2]);
        let places: Vec<u32> = bad.iter().map(|fault| fault.row).collect();
        assert_eq!(places, [3, 4]);
    }
}
