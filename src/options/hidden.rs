//! Texts that nobody may see: the values of secrets, wherever somebody else's error quotes them.

use std::{
    fmt,
    sync::{PoisonError, RwLock},
};

use crate::error::Error;

/// All secrets that a server has been told. It prints none of them.
#[derive(Default)]
pub struct Hidden(RwLock<Vec<String>>);

/// Shorter ones are taken for no secrets: they stand in every text, and what is left of it would tell them.
const BYTES_MIN: usize = 4;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hidden").finish_non_exhaustive()
    }
}

impl Hidden {
    pub fn add(&self, secrets: impl IntoIterator<Item = String>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.extend(secrets.into_iter().filter(|secret| secret.len() >= BYTES_MIN));
        // One that is a part of another comes after it.
        all.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
    }

    /// The error as it may be shown.
    pub fn mask(&self, error: Error) -> Error {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match all.iter().any(|secret| error.tells(secret)) {
            true => error.masked(&all),
            false => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn what_is_hidden_is_in_no_part_of_an_error() {
        let hidden = Hidden::default();
        hidden.add(["hunter2".to_string(), "hunter2-and-more".to_string(), "abc".to_string()]);
        assert_eq!(format!("{hidden:?}"), "Hidden { .. }");
        let cause = std::io::Error::other("no hunter2 here");
        let error = Error::new(Kind::Io, "abc: hunter2-and-more, hunter2").detail("hunter2").hint("Try hunter2.");
        let error = hidden.mask(error.caused_by(cause));
        assert_eq!(
            (error.message(), error.detail_text(), error.hint_text()),
            ("abc: ***, ***", Some("***"), Some("Try ***."))
        );
        assert!(!format!("{error:?} {error:#?}").contains("hunter2"));
        let error = hidden.mask(Error::new(Kind::Io, "nothing to hide").caused_by(std::io::Error::other("why")));
        assert!(std::error::Error::source(&error).is_some());
    }
}
