//! What no message may say: words of the library that plans and runs queries.

const INTERNAL: &[&str] = &[
    "physical plan",
    "Physical plan",
    "logical plan",
    "Logical plan",
    "LogicalPlan",
    "ast node",
    "AST",
    "not implemented",
    "DataFusion",
    "datafusion",
    "Schema error",
    "Error during planning",
    "Arrow error",
    "Internal error",
    "internal error",
    "bug in",
    "OuterReference",
    "InSubquery",
    "Subquery {",
    "Scalar subquery",
    "scalar subquery should",
    "panic",
    "Int64(",
    "UInt64(",
    "Utf8",
    "LargeUtf8",
];

/// What of it a message says: its words begin where one of the message does, as `AST` is no part of `CAST`.
pub fn internal(message: &str) -> Option<&'static str> {
    let begins = |at: usize| !message[..at].ends_with(char::is_alphanumeric);
    INTERNAL.iter().copied().find(|word| message.match_indices(word).any(|(at, _)| begins(at)))
}

#[test]
fn internal_word_is_found_at_the_start_of_a_word() {
    assert_eq!(internal("cannot CAST it, NULLS LAST"), None);
    assert_eq!(internal("(Unsupported AST)"), Some("AST"));
    assert_eq!(internal("of UInt64(1)"), Some("UInt64("));
}
