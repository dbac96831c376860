//! Kinds of objects of Postgres and other databases that Tidemark does not have: refused by name.

/// What can be neither created, nor altered, nor dropped.
const OTHER_OBJECTS: &[&str] = &[
    "CAST",
    "COLLATION",
    "CONNECTION",
    "DATABASE",
    "DOMAIN",
    "EVENT",
    "EXTENSION",
    "FOREIGN",
    "GROUP",
    "INDEX",
    "LANGUAGE",
    "OPERATOR",
    "POLICY",
    "PROCEDURE",
    "PUBLICATION",
    "ROLE",
    "RULE",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "TABLESPACE",
    "TRIGGER",
    "TYPE",
    "USER",
];

/// Whether an uppercase word is such a kind, or one of `more`, which only some statements know.
pub(super) fn is_other_object(word: &str, more: &[&str]) -> bool {
    OTHER_OBJECTS.contains(&word) || more.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_object_of_one_statement_is_none_of_another() {
        assert!(is_other_object("INDEX", &[]) && is_other_object("MACRO", &["MACRO"]));
        assert!(!is_other_object("MACRO", &[]) && !is_other_object("TABLE", &["MACRO"]));
    }
}
