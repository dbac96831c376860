//! Texts that nobody may see: the values of secrets, wherever somebody else's error quotes them.

use std::{
    borrow::Cow,
    fmt,
    sync::{PoisonError, RwLock},
};

use crate::error::Error;

/// The secrets that a server was told last, the newest at the end. It prints none of them.
#[derive(Default)]
pub struct SecretRedactor(RwLock<Vec<String>>);

/// More are forgotten, the oldest first: statements that fail bring theirs as well, without an end.
const SECRETS_MAX: usize = 10_000;

/// Shorter ones are taken for no secrets: they stand in every text, and what is left of it would tell them.
const BYTES_MIN: usize = 4;

impl fmt::Debug for SecretRedactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRedactor").finish_non_exhaustive()
    }
}

impl SecretRedactor {
    pub fn add(&self, secrets: impl IntoIterator<Item = String>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets.into_iter().filter(|secret| secret.len() >= BYTES_MIN) {
            all.retain(|known| *known != secret);
            all.push(secret);
        }
        let forgotten = all.len().saturating_sub(SECRETS_MAX);
        all.drain(..forgotten);
    }

    /// A text as it may be shown: neither with a secret as it is, nor as it is between quotes.
    pub fn mask_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let spellings = |secret: &String| {
            let quoted = secret.escape_debug().to_string();
            let other = (quoted != *secret).then_some(quoted);
            [Some(secret.clone()), other].into_iter().flatten().filter(move |spelling| text.contains(spelling.as_str()))
        };
        let mut found: Vec<String> = all.iter().flat_map(spellings).collect();
        drop(all);
        // One that is a part of another comes after it.
        found.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        let masked = |text: Cow<'a, str>, secret: &String| Cow::Owned(text.replace(secret, "***"));
        found.iter().fold(Cow::Borrowed(text), masked)
    }

    /// The error as it may be shown.
    pub fn mask(&self, error: Error) -> Error {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<String> = all.iter().filter(|secret| error.tells(secret)).cloned().collect();
        drop(all);
        // One that is a part of another comes after it.
        found.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        match found.is_empty() {
            true => error,
            false => error.masked(&found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn secrets_are_masked_in_message_detail_hint_and_cause() {
        let hidden = SecretRedactor::default();
        hidden.add(["hunter2".to_string(), "hunter2-and-more".to_string(), "abc".to_string()]);
        assert_eq!(format!("{hidden:?}"), "SecretRedactor { .. }");
        let cause = std::io::Error::other("no hunter2 here");
        let error = Error::new(ErrorKind::Io, "abc: hunter2-and-more, hunter2").detail("hunter2").hint("Try hunter2.");
        let error = hidden.mask(error.caused_by(cause));
        assert_eq!(
            (error.message(), error.detail_text(), error.hint_text()),
            ("abc: ***, ***", Some("***"), Some("Try ***."))
        );
        assert!(!format!("{error:?} {error:#?}").contains("hunter2"));
        let error = hidden.mask(Error::new(ErrorKind::Io, "nothing to hide").caused_by(std::io::Error::other("why")));
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn redactor_forgets_the_least_recently_added_secrets() {
        let hidden = SecretRedactor::default();
        hidden.add((0..SECRETS_MAX).map(|n| format!("secret {n:05}")));
        hidden.add(["secret 00000".to_string(), "another".to_string()]);
        let shown = |text: &str| hidden.mask(Error::new(ErrorKind::Io, text)).message().to_string();
        assert_eq!(shown("secret 00000, secret 00001, secret 00002, another"), "***, secret 00001, ***, ***");
    }
}
