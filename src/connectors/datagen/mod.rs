//! `connector = 'datagen'`: rows made up as they are asked for, at a steady rate.
//!
//! Row n is a pure function of the seed and n, so that nothing but the moment of the beginning needs to be kept. The
//! offset is the number of rows made so far.

mod columns;

use std::{ops::Range, sync::Arc};

use arrow::{array::ArrayRef, datatypes::SchemaRef};
use async_trait::async_trait;

use self::columns::{FieldOptions, GeneratedColumn};
use super::{
    Source, SourceEnv,
    generator::{EventRate, Generator, GeneratorSpec},
    source::{SourceConfig, folder},
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::{Options, Taker},
    time::Micros,
};

/// `WITH (connector = 'datagen', …)`.
#[derive(Debug, Clone)]
pub struct DatagenOptions {
    /// 0: as fast as rows are taken.
    rows_per_second: u64,
    seed: u64,
    /// How many rows there will ever be.
    number_of_rows: Option<u64>,
    fields: Vec<FieldOptions>,
}

impl DatagenOptions {
    /// Takes them; `all` is where the names of the fields are found.
    pub fn from_options(options: &mut Taker, all: &Options) -> Result<DatagenOptions> {
        let number = "a whole number";
        Ok(DatagenOptions {
            rows_per_second: options.parse("rows_per_second", number)?.unwrap_or(10),
            seed: options.parse("seed", number)?.unwrap_or(0),
            number_of_rows: options.parse("number_of_rows", number)?,
            fields: FieldOptions::from_options(options, all)?,
        })
    }
}

/// All that decides what the rows are.
#[derive(Debug)]
struct Datagen {
    schema: SchemaRef,
    columns: Vec<GeneratedColumn>,
    pace: EventRate,
}

#[async_trait]
impl SourceConfig for DatagenOptions {
    /// Opens a generator, new or again.
    async fn open(
        self: Box<Self>,
        id: u64,
        name: &str,
        schema: Option<SchemaRef>,
        env: &SourceEnv,
    ) -> Result<Arc<dyn Source>> {
        let Some(schema) = schema.filter(|s| !s.fields().is_empty()) else {
            let message = format!("source \"{name}\" needs columns: a generator has none of its own");
            return Err(Error::new(ErrorKind::InvalidTableDefinition, message).hint(format!(
                "Declare them: CREATE SOURCE {name} (id BIGINT, at TIMESTAMP) WITH (connector = 'datagen')."
            )));
        };
        let columns = GeneratedColumn::all(&schema, &self.fields, self.seed, name)?;
        let pace = EventRate::open(env, folder(id), self.rows_per_second, self.number_of_rows).await?;
        Ok(Generator::start(Datagen { schema, columns, pace }, pace, env.clock.clone()))
    }
}

impl Datagen {
    /// The moment of a row.
    fn moment(&self, row: u64) -> Micros {
        // Without a rate, time goes on by a millisecond a row.
        let rate = if self.pace.per_second == 0 { 1_000 } else { self.pace.per_second };
        let since = u128::from(row) * 1_000_000 / u128::from(rate);
        self.pace.begun.saturating_add(Micros::try_from(since).unwrap_or(Micros::MAX))
    }
}

impl GeneratorSpec for Datagen {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn values(&self, column: usize, rows: Range<u64>) -> ArrayRef {
        self.columns[column].values(rows, &|row| self.moment(row))
    }
}

#[cfg(test)]
mod tests;
