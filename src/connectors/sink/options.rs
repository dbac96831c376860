//! The kinds of sinks and what each can write; how a query's rows are to be written.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{Mode, Sink, SinkConfig, SinkDef, blackhole::Blackhole, console::ConsoleOptions};
use crate::{
    connectors::{Fence, directory::DirectorySinkOptions, kafka::KafkaSinkOptions, postgres::PostgresOptions},
    error::{Error, ErrorKind, Result},
    options::{Options, Taker, nearest},
};

/// A kind of sinks: the word of option `connector`, and what takes its other options.
type SinkKind = (&'static str, fn(&mut Taker) -> Result<Box<dyn SinkConfig>>);

/// All kinds of sinks.
const KINDS: &[SinkKind] = &[
    ("blackhole", |_| Ok(Box::new(Blackhole))),
    ("console", |_| Ok(Box::new(ConsoleOptions))),
    ("directory", |taker| Ok(Box::new(DirectorySinkOptions::from_options(taker)?))),
    ("kafka", |taker| Ok(Box::new(KafkaSinkOptions::from_options(taker)?))),
    ("postgres", |taker| Ok(Box::new(PostgresOptions::from_options(taker)?))),
    #[cfg(test)]
    ("memory", |taker| Ok(Box::new(super::memory::MemoryOptions::from_options(taker)?))),
];

/// The options of a sink, parsed but not yet checked against its query.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    name: String,
    connector: &'static str,
    config: Arc<dyn SinkConfig>,
    mode: Option<Mode>,
    primary_key: Option<Vec<String>>,
}

/// The properties of the answer of a sink's query.
#[derive(Debug, Clone)]
pub struct SinkSchema {
    pub schema: SchemaRef,
    pub append_only: bool,
    /// The key columns that the query guarantees to be unique, if any.
    pub key: Option<Vec<usize>>,
    /// Whether the complete answer is emitted each time.
    pub whole: bool,
}

/// Creates a sink, without I/O.
pub fn open_sink(def: SinkDef, options: &SinkOptions) -> Result<Box<dyn Sink>> {
    options.config.create(def)
}

impl SinkOptions {
    /// Parses the options of a sink, without I/O and independent of its query.
    pub fn from_options(name: &str, options: &Options, fence: &Fence) -> Result<SinkOptions> {
        fence.check_options(options)?;
        let mut taker = options.taker(format!("sink \"{name}\""));
        let mode = taker.one_of("type", &Mode::WORDS)?;
        let primary_key = taker.text("primary_key").map(|list| list.split(',').map(|c| c.trim().to_string()).collect());
        let kinds: Vec<(&str, SinkKind)> = KINDS.iter().map(|kind| (kind.0, *kind)).collect();
        let Some((connector, take)) = taker.one_of("connector", &kinds)? else {
            return Err(taker.missing("connector"));
        };
        let mut config = take(&mut taker)?;
        taker.finish()?;
        config.restrict(fence).map_err(|error| error.context(format!("sink \"{name}\"")))?;
        let options = SinkOptions { name: name.to_string(), connector, config: config.into(), mode, primary_key };
        match mode.filter(|mode| !options.can(*mode)) {
            Some(mode) => Err(options.cannot(mode)),
            None => Ok(options),
        }
    }

    pub fn connector(&self) -> &'static str {
        self.connector
    }

    /// Whether rows go to the same destination in the same form as with other options, so that the sink may continue.
    pub fn continues(&self, other: &SinkOptions) -> bool {
        let same_place = self.config.continues(&*other.config);
        same_place && self.mode == other.mode && self.primary_key == other.primary_key
    }

    /// Whether the statement asks for the whole answer each time.
    pub fn is_whole(&self) -> bool {
        self.mode == Some(Mode::Complete)
    }

    fn can(&self, mode: Mode) -> bool {
        self.config.modes().contains(&mode)
    }

    fn cannot(&self, mode: Mode) -> Error {
        let modes: Vec<String> = self.config.modes().iter().map(|mode| format!("'{}'", mode.word())).collect();
        let message = format!("{} of sink \"{}\" has no type '{}'", self.connector(), self.name, mode.word());
        Error::new(ErrorKind::InvalidParameterValue, message).hint(format!("It has {}.", modes.join(", ")))
    }

    /// The mode and key columns for the query's rows. Fails if they do not fit.
    pub fn resolve_mode(&self, answer: &SinkSchema) -> Result<(Mode, Option<Vec<usize>>)> {
        let key = self.key(answer)?;
        let chosen = match (self.mode, answer.whole) {
            (Some(mode), true) if mode != Mode::Complete => {
                let message = format!("EMIT COMPLETE and type = '{}' contradict each other", mode.word());
                return Err(Error::new(ErrorKind::InvalidParameterValue, message).hint("Leave one of them out."));
            }
            (_, true) => Some(Mode::Complete),
            (mode, false) => mode,
        };
        let fits = |mode: &&Mode| match mode {
            Mode::Append => answer.append_only,
            Mode::Upsert => key.is_some(),
            Mode::Debezium | Mode::Changes => true,
            Mode::Complete => false,
        };
        let mode = match chosen.or_else(|| self.config.modes().iter().find(fits).copied()) {
            Some(mode) if !self.can(mode) => return Err(self.cannot(mode)),
            Some(Mode::Append) if !answer.append_only => {
                return Err(self.withdrawn("type = 'append' has no word for it"));
            }
            Some(Mode::Upsert) if key.is_none() => return Err(self.keyless()),
            Some(mode) => mode,
            None if self.can(Mode::Upsert) => return Err(self.keyless()),
            None => return Err(self.withdrawn(&format!("{} has no word for it", self.connector()))),
        };
        Ok((mode, key))
    }

    fn withdrawn(&self, but: &str) -> Error {
        let others = self.config.modes().iter().filter(|mode| **mode != Mode::Append);
        let others: Vec<String> = others.map(|mode| format!("type = '{}'", mode.word())).collect();
        let others = if others.is_empty() { String::new() } else { format!(", or {}", others.join(" or ")) };
        let message = format!("rows of sink \"{}\" can be withdrawn, and {but}", self.name);
        Error::new(ErrorKind::InvalidDefinition, message)
            .hint(format!("Use EMIT ON WINDOW CLOSE, which only ever appends{others}."))
    }

    fn keyless(&self) -> Error {
        let message = format!("sink \"{}\" has no key to tell its rows apart by", self.name);
        Error::new(ErrorKind::InvalidDefinition, message).hint("Name its columns: primary_key = 'a, b'.")
    }

    /// The columns of `primary_key`, or else the query's own key.
    fn key(&self, answer: &SinkSchema) -> Result<Option<Vec<usize>>> {
        let Some(names) = &self.primary_key else { return Ok(answer.key.clone()) };
        let mut key = Vec::new();
        for name in names {
            let index = answer.schema.index_of(name).map_err(|_| {
                let known: Vec<String> = answer.schema.fields().iter().map(|f| f.name().clone()).collect();
                let message = format!("column \"{name}\" of primary_key of sink \"{}\" does not exist", self.name);
                let error = Error::new(ErrorKind::UndefinedColumn, message);
                match nearest(name, &known) {
                    Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
                    None => error.hint(format!("Its columns are: {}.", known.join(", "))),
                }
            })?;
            key.push(index);
        }
        let own = answer.key.iter().flatten().find(|column| !key.contains(column));
        if let Some(column) = own.filter(|_| !answer.append_only) {
            let column = answer.schema.field(*column).name();
            let message = format!("primary_key of sink \"{}\" lacks column \"{column}\"", self.name);
            return Err(Error::new(ErrorKind::InvalidDefinition, message)
                .detail("The query can have several rows that differ in that column alone.")
                .hint("Add it, or leave primary_key out."));
        }
        Ok(Some(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<SinkOptions> {
        let mut options = Options::default();
        pairs.iter().for_each(|(key, value)| drop(options.insert(*key, *value)));
        SinkOptions::from_options("s", &options, &Fence::default())
    }

    fn answer(append_only: bool, key: Option<Vec<usize>>) -> SinkSchema {
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field("a"), field("b"), field("c")]));
        SinkSchema { schema, append_only, key, whole: false }
    }

    #[test]
    fn sink_kinds_are_each_found_by_their_own_name() {
        let rest: [(&str, &[(&str, &str)]); 6] = [
            ("blackhole", &[]),
            ("console", &[]),
            ("directory", &[("path", "/data"), ("format", "parquet")]),
            ("kafka", &[("bootstrap_servers", "localhost:9092"), ("topic", "t"), ("format", "json")]),
            ("memory", &[("place", "kinds")]),
            ("postgres", &[("user", "u"), ("table", "t")]),
        ];
        let names: BTreeSet<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), KINDS.len());
        assert_eq!(names, rest.iter().map(|(name, _)| *name).collect());
        let sinks = rest.map(|(name, rest)| options(&[&[("connector", name)], rest].concat()).unwrap());
        for (n, sink) in sinks.iter().enumerate() {
            assert_eq!(sink.connector(), rest[n].0);
            let continued: Vec<_> = sinks.iter().filter(|other| sink.continues(other)).map(|s| s.connector()).collect();
            assert_eq!(continued, [rest[n].0]);
        }
        let error = options(&[("connector", "consol")]).unwrap_err();
        let message = "option \"connector\" of sink \"s\" takes one of 'blackhole', 'console', 'directory', 'kafka', \
                       'postgres', 'memory', not 'consol'";
        assert_eq!(error.message(), message);
    }

    #[test]
    fn sink_mode_defaults_by_the_rows_of_the_query() {
        let blackhole = options(&[("connector", "blackhole")]).unwrap();
        assert_eq!(blackhole.resolve_mode(&answer(true, None)).unwrap(), (Mode::Append, None));
        assert_eq!(blackhole.resolve_mode(&answer(false, Some(vec![1]))).unwrap(), (Mode::Changes, Some(vec![1])));
        let whole = SinkSchema { whole: true, ..answer(false, None) };
        assert_eq!(blackhole.resolve_mode(&whole).unwrap(), (Mode::Complete, None));
        let upsert = options(&[("connector", "blackhole"), ("type", "upsert"), ("primary_key", "b , a")]).unwrap();
        assert_eq!(upsert.resolve_mode(&answer(false, Some(vec![0]))).unwrap(), (Mode::Upsert, Some(vec![1, 0])));
        assert_eq!(upsert.resolve_mode(&answer(false, None)).unwrap().1, Some(vec![1, 0]));
    }

    #[test]
    fn sink_options_that_do_not_fit_are_refused_with_a_hint() {
        let refusal = |pairs: &[(&str, &str)], answer: SinkSchema| {
            let error = options(pairs).and_then(|options| options.resolve_mode(&answer)).unwrap_err();
            (error.message().to_string(), error.hint_text().unwrap_or_default().to_string())
        };
        let (message, hint) = refusal(&[("connector", "console"), ("type", "append")], answer(false, None));
        assert_eq!(message, "rows of sink \"s\" can be withdrawn, and type = 'append' has no word for it");
        assert!(hint.contains("EMIT ON WINDOW CLOSE") && hint.contains("type = 'changes'"), "{hint}");
        let (message, hint) = refusal(&[("connector", "console"), ("type", "upsert")], answer(true, None));
        assert_eq!(message, "console of sink \"s\" has no type 'upsert'");
        assert_eq!(hint, "It has 'append', 'changes', 'complete'.");
        let (message, hint) = refusal(&[("connector", "blackhole"), ("type", "upsert")], answer(false, None));
        assert_eq!(message, "sink \"s\" has no key to tell its rows apart by");
        assert_eq!(hint, "Name its columns: primary_key = 'a, b'.");
        let keyed = [("connector", "blackhole"), ("primary_key", "a")];
        assert_eq!(refusal(&keyed, answer(false, Some(vec![0, 1]))).0, "primary_key of sink \"s\" lacks column \"b\"");
        let slip = [("connector", "blackhole"), ("primary_key", "a, bb")];
        assert_eq!(refusal(&slip, answer(true, None)).1, "Perhaps you meant \"b\".");
        let whole = SinkSchema { whole: true, ..answer(false, None) };
        let (message, _) = refusal(&[("connector", "blackhole"), ("type", "append")], whole);
        assert_eq!(message, "EMIT COMPLETE and type = 'append' contradict each other");
        assert_eq!(refusal(&[("connector", "consol")], answer(true, None)).1, "");
        assert_eq!(refusal(&[], answer(true, None)).0, "sink \"s\" needs option \"connector\"");
        assert_eq!(
            refusal(&[("connector", "console"), ("tipe", "x")], answer(true, None)).1,
            "Perhaps you meant \"type\"."
        );
    }
}
