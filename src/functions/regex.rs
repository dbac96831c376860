//! PostgreSQL's regular expressions, and the functions that use them.
//!
//! No library has them: of the matches from a place on, theirs is the first that is found, PostgreSQL's the longest or
//! the shortest one, and what a group captures follows from that. So `parser` divides an expression as PostgreSQL does,
//! `automata` say where its parts can match, in time that grows with the text only, and `dissect` says what was
//! captured.

mod automata;
mod cache;
mod character_set;
mod colors;
mod compiled;
pub mod ctype;
mod dfa;
mod dissect;
mod fault;
mod flags;
mod language;
mod lexer;
pub mod matches;
mod nfa;
mod node;
mod parser;
pub mod replace;
pub mod similar;
mod token;
