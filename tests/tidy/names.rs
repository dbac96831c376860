//! Names that nobody outside of this project knows, and the field's own that stand in their place; and types of which
//! two have one name, so that a reader must know the folder to know which is meant.

use std::collections::BTreeMap;

use super::{none, part, says, sources};

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
