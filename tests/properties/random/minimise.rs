//! The smallest case that fails alike: fewer steps, fewer rows, fewer words of the query.

use std::time::Instant;

use super::{
    case::{Case, Fault, Kind},
    schema::Step,
};
use crate::server::postgres::Postgres;

pub struct Minimiser {
    pub postgres: Option<&'static Postgres>,
    pub until: Instant,
}

impl Minimiser {
    /// What is left of a case, and how it fails.
    pub async fn minimise(&self, case: &Case, n: usize, fault: Fault) -> (Case, Fault) {
        let mut best = (case.clone(), fault);
        let mut alone = case.clone();
        alone.questions = case.questions.get(n).cloned().into_iter().collect();
        if !self.fails(&mut best, alone).await {
            return best;
        }
        loop {
            let before = size(&best.0);
            self.less(&mut best, |case| &mut case.steps).await;
            self.less(&mut best, |case| &mut case.fill).await;
            self.rows(&mut best, |case| &mut case.fill).await;
            self.rows(&mut best, |case| &mut case.steps).await;
            self.less(&mut best, |case| &mut case.create).await;
            if !best.0.questions.is_empty() {
                self.words(&mut best).await;
            }
            if size(&best.0) == before || Instant::now() > self.until {
                return best;
            }
        }
    }

    /// Takes a smaller case if it fails as the best one does.
    async fn fails(&self, best: &mut (Case, Fault), case: Case) -> bool {
        if Instant::now() > self.until {
            return false;
        }
        let outcome = case.run(self.postgres).await;
        let alike = |fault: &Fault| fault.kind == best.1.kind && fault.mark == best.1.mark;
        match outcome.faults.into_iter().map(|(_, fault)| fault).find(alike) {
            Some(fault) => {
                *best = (case, fault);
                true
            }
            None => false,
        }
    }

    /// Leaves out parts of a list: halves, then quarters, then one by one.
    async fn less<T: Clone>(&self, best: &mut (Case, Fault), list: impl Fn(&mut Case) -> &mut Vec<T>) {
        let mut length = list(&mut best.0).len();
        while length > 0 {
            let mut at = 0;
            while at < list(&mut best.0).len() {
                let mut case = best.0.clone();
                let items = list(&mut case);
                items.drain(at..items.len().min(at + length));
                if !self.fails(best, case).await {
                    at += length;
                }
            }
            length /= 2;
        }
    }

    async fn rows(&self, best: &mut (Case, Fault), list: impl Fn(&mut Case) -> &mut Vec<Step>) {
        for n in 0..list(&mut best.0).len() {
            if let Step::Insert { .. } = list(&mut best.0)[n] {
                self.less(best, |case| match &mut list(case)[n] {
                    Step::Insert { rows, .. } => rows,
                    Step::Other(_) => unreachable!("it is an INSERT"),
                })
                .await;
            }
        }
    }

    async fn words(&self, best: &mut (Case, Fault)) {
        let answers = matches!(best.1.kind, Kind::ViewDiffers | Kind::PostgresDiffers);
        let mut length = words(&best.0.questions[0].text).len();
        while length > 0 {
            let mut at = 0;
            loop {
                let all = words(&best.0.questions[0].text);
                if at + length > all.len() {
                    break;
                }
                let mut taken = false;
                for candidate in without(&all, at, at + length, answers) {
                    if !candidate.contains("SELECT FROM") && tidemark::sql::parse(&candidate).is_ok() {
                        let mut case = best.0.clone();
                        case.questions[0].text = candidate;
                        taken = self.fails(best, case).await;
                    }
                    if taken {
                        break;
                    }
                }
                if !taken {
                    at += 1;
                }
            }
            length = if length > 24 { length * 2 / 3 } else { length - 1 };
        }
    }
}

fn size(case: &Case) -> usize {
    case.script().len()
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut quoted = false;
    let kind = |c: char| match c {
        _ if c.is_alphanumeric() || c == '_' || c == '.' => 1,
        '<' | '>' | '=' | '!' | '|' | '~' | ':' => 2,
        _ => 0,
    };
    let mut last = 0;
    for c in text.chars() {
        if quoted {
            words.last_mut().expect("a quote").push(c);
            quoted = c != '\'';
        } else if c == '\'' {
            // Two quotes within a text are one word after another one, without a space.
            match words.last_mut() {
                Some(word) if word.ends_with('\'') && last == 9 => word.push(c),
                _ => words.push(c.to_string()),
            }
            quoted = true;
            last = 9;
            continue;
        } else if c.is_whitespace() {
            last = 0;
            continue;
        } else if last == kind(c) && last != 0 {
            words.last_mut().expect("a word").push(c);
        } else {
            words.push(c.to_string());
        }
        last = if quoted || c == '\'' { 9 } else { kind(c) };
    }
    words
}

/// From ORDER BY to the end of what heeds it: half an order would have several right answers.
fn orders(words: &[String]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (n, word) in words.iter().enumerate() {
        if word != "ORDER" {
            continue;
        }
        let mut depth = 0;
        let mut end = words.len();
        for (m, word) in words.iter().enumerate().skip(n) {
            match word.as_str() {
                "(" => depth += 1,
                ")" if depth == 0 => {
                    end = m;
                    break;
                }
                ")" => depth -= 1,
                _ => {}
            }
        }
        found.push((n, end));
    }
    found
}

/// The text without some words, if what is left is balanced, and with a plain value for them.
fn without(words: &[String], from: usize, to: usize, answers: bool) -> Vec<String> {
    let mut depth = 0;
    for word in &words[from..to] {
        depth += i32::from(word == "(") - i32::from(word == ")");
        if depth < 0 {
            return Vec::new();
        }
    }
    let halved = |(a, b): &(usize, usize)| from < *b && to > *a && !(from <= *a && to >= *b);
    if depth != 0 || (answers && orders(words).iter().any(halved)) {
        return Vec::new();
    }
    let text = |middle: &[String]| [&words[..from], middle, &words[to..]].concat().join(" ");
    let mut all = vec![text(&[])];
    if to - from > 2 && words[to - 1] == ")" {
        let open = words[from..to].iter().position(|word| word == "(").expect("it is balanced");
        all.push(text(&words[from + open + 1..to - 1]));
        all.push(text(&["NULL".to_string()]));
    }
    all
}
