//! Names that nobody outside of this project knows, and the field's own that stand in their place; and types of which
//! two have one name, so that a reader must know the folder to know which is meant.

use std::collections::BTreeMap;

use super::{none, part, says, sources, word};

/// Private words, each with the term that someone from Flink, differential, DataFusion or Postgres looks for.
const INSTEAD: &[(&str, &str)] = &[
    ("Sift", "RowErrorFilter"),
    ("sift", "row_error_filter"),
    ("sifted", "isolates_row_errors"),
    ("EpochCell", "EpochContext"),
    ("Outlet", "SinkDriver"),
    ("outlet", "sink_driver"),
    ("Owed", "PendingEpoch"),
    ("owed", "pending, pending_sink_epoch"),
    ("Keeps", "Retention"),
    ("Letters", "DeadLetterQueue, LateRowLog"),
    ("RejectedRows", "DeadLetterQueue, LateRowLog"),
    ("Rejected", "DecodeError"),
    ("LetterId", "DeadLetterKey"),
    ("ObjectBacklog", "UnrecoveredLog"),
    ("LettersMax", "QueueLimit"),
    ("Regroup", "GroupPlan"),
    ("regroup", "group_plan"),
    ("Recompute", "AggregateByRecompute"),
    ("TurnsExec", "YieldExec"),
    ("Turns", "YieldStream"),
    ("Pace", "Split"),
    ("widens", "produces_wide_values"),
    ("dressed", "normalize"),
    ("vacant", "empty_tables"),
    ("hollow", "replace_with_empty"),
    ("at_most_one", "force_scalar"),
    ("Standing", "ContinuousPlan"),
    ("Past", "RecoveredState"),
    ("Scene", "StatementSnapshot, SessionCatalog"),
    ("scene", "snapshot, session_catalog"),
    ("World", "CatalogView"),
    ("Facts", "TimeBounds, SessionInfo"),
    ("facts", "time_bounds, session_info"),
    ("Moment", "SnapshotBarrier, ClientPhase"),
    ("ALONE", "NULL_KEY"),
    ("Met", "MatchCounts"),
    ("Shows", "SideOutput"),
    ("is_worn", "runs_exceed"),
    ("doubtful", "state_poisoned"),
    ("obey", "handle"),
    ("last_call", "final_target"),
    ("remake", "rebuild"),
    ("Feed", "SinkPlan"),
    ("Seat", "SessionSlot"),
    ("Teller", "OriginSender"),
    ("Origins", "OriginQueue"),
    ("Patience", "BatchingPolicy"),
    ("Hidden", "SecretRedactor"),
    ("Marks", "ReplayMarks"),
    ("Ledger", "SinkLedger"),
    ("keep_house", "spawn_log_compaction"),
    ("let_go", "release_sources"),
    ("revive", "restore_object"),
    ("take_down", "stop_object"),
    ("remove_traces", "delete_files_after_failure"),
    ("Counted", "RankKind"),
    ("FirstRows", "TopNSpec"),
    ("Ends", "SessionExpiry"),
    ("Kept", "what it holds, and State behind it"),
    ("Arrived", "what collects it, and Input behind it"),
    ("Told", "what it is of"),
];

/// Names of several types, which each have a meaning of their own in their file. It can only shrink.
const HOMONYMS: &[&str] = &[];

/// Function names that stood for many unrelated things, each with what some of them are now.
const VAGUE_FUNCTIONS: &[(&str, &str)] = &[
    ("apart", "split_off, with_unique_names"),
    ("told", "config_error_message, recorded"),
    ("alone", "side_output, null_keys"),
    ("kept", "stored_schema, retained"),
    ("places", "section_operators, partition_starts"),
    ("settle", "coerce_value, resolve_mode, sync_names"),
    ("settled", "coerced, lowered_insert"),
];

/// The functions of code whose name is vague, each with what to say instead. `take` leaves its place empty, as std's
/// does: what parses options is `from_options`.
fn vague_functions(code: &str) -> Vec<(String, &'static str)> {
    let starts = code.match_indices("fn ").filter(|(at, _)| !code[..*at].bytes().next_back().is_some_and(part));
    let vague = starts.filter_map(|(at, _)| {
        let signature = &code[at + "fn ".len()..];
        let name = word(signature);
        let parameters = signature.split(')').next().unwrap_or_default();
        if name == "take" && says(parameters, "Taker") {
            return Some((name, "from_options"));
        }
        let (_, instead) = VAGUE_FUNCTIONS.iter().find(|(vague, _)| *vague == name)?;
        Some((name, *instead))
    });
    vague.collect()
}

/// The names of the types that code defines, less those of an `impl`.
fn types(code: &str) -> Vec<String> {
    let named = |line: &str| {
        let item = match line.strip_prefix("pub(") {
            Some(rest) => rest.split_once(") ")?.1,
            None => line.strip_prefix("pub ").unwrap_or(line),
        };
        let name = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| item.strip_prefix(kind))?;
        Some(name.bytes().take_while(|byte| part(*byte)).map(char::from).collect())
    };
    code.lines().filter_map(named).collect()
}

#[test]
fn identifiers_avoid_private_words() {
    let mut found = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")).chain(sources("benches")) {
        for (old, new) in INSTEAD.iter().filter(|(old, _)| says(&source.code, old)) {
            found.push(format!("{} says {old}: it is {new}", source.path));
        }
    }
    none(found, "names that only this project knows");
}

#[test]
fn function_names_say_what_they_do() {
    let mut found = Vec::new();
    for source in ["src", "tests", "benches", "fuzz/fuzz_targets"].into_iter().flat_map(sources) {
        let vague = vague_functions(&source.code).into_iter();
        found.extend(
            vague.map(|(name, instead)| format!("{} has fn {name}: say what it does, as {instead}", source.path)),
        );
    }
    none(found, "function names that stood for many things");
}

#[test]
fn type_names_are_unique_in_the_crate() {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources("src") {
        types(&source.production).into_iter().for_each(|name| all.entry(name).or_default().push(source.path.clone()));
    }
    let several = |name: &str| all.get(name).is_some_and(|files| files.len() > 1);
    let new = all.iter().filter(|(name, _)| several(name) && !HOMONYMS.contains(&name.as_str()));
    none(
        new.map(|(name, files)| format!("{name}: {}", files.join(", "))).collect(),
        "types of one name: say what each is of",
    );
    let gone = HOMONYMS.iter().filter(|name| !several(name)).map(|name| name.to_string());
    none(gone.collect(), "names on the list that are of one type, or of none");
}

#[test]
fn type_scanner_finds_definitions_only() {
    let code = "pub(super) struct A<T>(T);\nenum B {}\npub type C = A<B>;\npub trait D { type Item; }\nimpl D for B {\n    type Item = A<B>;\n}";
    assert_eq!(types(code), ["A", "B", "C", "D"]);
}

#[test]
fn vague_function_scanner_finds_definitions_only() {
    let code = "fn told<T>(of: T) {}\npub(super) async fn settle(&self) {}\nfn settle_all() {}\n\
                fn take(options: &mut Taker) {}\nfn take(&mut self) -> Taker { told(kept.places()) }\nlet apart: fn (alone) = kept;";
    let names: Vec<String> = vague_functions(code).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["told", "settle", "take"]);
}
