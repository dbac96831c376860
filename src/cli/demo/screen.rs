//! The demo's answer as text: a table that is redrawn in place on a terminal, and lines otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{IsTerminal, Write},
    path::Path,
};

use super::flights::AIRPORTS;

/// Windows that fit on a small terminal.
const WINDOWS_SHOWN: usize = 8;

/// The rows of both views at one time: `(window_start, dest, landed)`, and the counters.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ScreenAnswer {
    pub open: Vec<(String, String, u64)>,
    pub closed: Vec<(String, String, u64)>,
    pub late: u64,
    pub files: u64,
    pub rows: u64,
}

/// Where answers are shown.
pub struct Screen {
    head: String,
    terminal: bool,
    lines_drawn: usize,
    last: Option<ScreenAnswer>,
}

impl Screen {
    pub fn new(folder: &Path, ways_in: &[String]) -> Self {
        let folder = folder.display();
        let mut head = format!("flights land in {folder}, one file a second; connect beside this with\n");
        for way in ways_in {
            let _ = writeln!(head, "  {way}");
        }
        let terminal = std::io::stdout().is_terminal();
        Screen { head, terminal, lines_drawn: 0, last: None }
    }

    /// Shows an answer if it has changed.
    pub fn show(&mut self, answer: ScreenAnswer) {
        if self.last.as_ref() == Some(&answer) {
            return;
        }
        let text = match (&self.last, self.terminal) {
            (_, true) => {
                let table = format!("{}\n{}", self.head, table(&answer));
                let back = if self.lines_drawn == 0 { String::new() } else { format!("\x1b[{}A", self.lines_drawn) };
                self.lines_drawn = table.lines().count();
                format!("{back}\x1b[J{table}")
            }
            (None, false) => format!("{}{}", self.head, news(&ScreenAnswer::default(), &answer)),
            (Some(last), false) => news(last, &answer),
        };
        self.last = Some(answer);
        let mut out = std::io::stdout();
        // A closed pipe is not an error.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// The newest windows, one line per window and one column per airport.
fn table(answer: &ScreenAnswer) -> String {
    let closed: BTreeSet<&str> = answer.closed.iter().map(|(window, ..)| window.as_str()).collect();
    let mut windows: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for (window, dest, landed) in answer.closed.iter().chain(&answer.open) {
        windows.entry(window).or_default().insert(dest, *landed);
    }
    let mut text = format!("{:<26}", "landings per 10 minutes");
    for airport in AIRPORTS {
        let _ = write!(text, "{airport:>6}");
    }
    text.push('\n');
    for (window, landed) in windows.iter().rev().take(WINDOWS_SHOWN) {
        let state = if closed.contains(window) { "final" } else { "open" };
        let _ = write!(text, "{:<20}{state:<6}", clip(window));
        for airport in AIRPORTS {
            let count = landed.get(airport).map(u64::to_string);
            let _ = write!(text, "{:>6}", count.as_deref().unwrap_or("."));
        }
        text.push('\n');
    }
    let ScreenAnswer { files, rows, late, .. } = answer;
    let _ = writeln!(text, "\n{files} files, {rows} rows, {late} late; {} windows are final", closed.len());
    text.push_str("Ctrl-C ends it\n");
    text
}

/// The changes since the last answer: one line per window that has closed, and one for the counters.
fn news(last: &ScreenAnswer, answer: &ScreenAnswer) -> String {
    let known: BTreeSet<&String> = last.closed.iter().map(|(window, ..)| window).collect();
    let mut text = String::new();
    let mut windows: BTreeMap<&String, Vec<String>> = BTreeMap::new();
    for (window, dest, landed) in answer.closed.iter().filter(|(window, ..)| !known.contains(window)) {
        windows.entry(window).or_default().push(format!("{dest} {landed}"));
    }
    for (window, landed) in windows {
        let _ = writeln!(text, "final {}: {}", clip(window), landed.join(", "));
    }
    if (answer.files, answer.late) != (last.files, last.late) {
        let open: u64 = answer.open.iter().map(|(.., landed)| landed).sum();
        let ScreenAnswer { files, rows, late, .. } = answer;
        let _ = writeln!(text, "{files} files, {rows} rows, {late} late; {open} landings in the newest windows");
    }
    text
}

/// A timestamp to the second.
fn clip(window: &str) -> String {
    window.chars().take(19).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> ScreenAnswer {
        let cell = |window: &str, dest: &str, landed| (window.to_string(), dest.to_string(), landed);
        ScreenAnswer {
            open: vec![cell("2026-05-01 06:10:00", "AMS", 3), cell("2026-05-01 06:00:00", "AMS", 7)],
            closed: vec![cell("2026-05-01 06:00:00", "AMS", 7), cell("2026-05-01 06:00:00", "SIN", 2)],
            late: 1,
            files: 4,
            rows: 96,
        }
    }

    #[test]
    fn demo_screen_lists_the_newest_window_first_and_marks_final_ones() {
        let text = table(&answer());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "landings per 10 minutes      AMS   CDG   FRA   JFK   LHR   SIN");
        assert_eq!(lines[1], "2026-05-01 06:10:00 open       3     .     .     .     .     .");
        assert_eq!(lines[2], "2026-05-01 06:00:00 final      7     .     .     .     .     2");
        assert_eq!(lines[4], "4 files, 96 rows, 1 late; 1 windows are final");
    }

    #[test]
    fn demo_screen_final_window_is_reported_once() {
        let first = news(&ScreenAnswer::default(), &answer());
        assert!(first.starts_with("final 2026-05-01 06:00:00: AMS 7, SIN 2\n4 files"), "{first}");
        assert_eq!(news(&answer(), &answer()), "");
    }
}
