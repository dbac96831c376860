//! A case: tables, queries that are kept as views, steps; and what is wrong with it.

use std::{collections::BTreeMap, fmt::Write};

use tidemark::engine::EngineOptions;

use super::{
    compare::{Answer, Refusal},
    known::{is_sorted_by_sets, is_taken_for_strict, known},
    schema::Step,
    servers::Peer,
};
use crate::{harness::internal, server::postgres::Postgres};

#[derive(Debug, Clone)]
pub struct Question {
    pub text: String,
    /// Whether PostgreSQL is asked, too.
    pub shared: bool,
}

#[derive(Debug, Clone)]
pub struct Case {
    pub create: Vec<String>,
    /// What comes before the views.
    pub fill: Vec<Step>,
    pub questions: Vec<Question>,
    pub steps: Vec<Step>,
    pub options: EngineOptions,
}

/// What is wrong, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    ViewDiffers,
    Hangs,
    ViewFails,
    PostgresDiffers,
    Internal,
    OneRefuses,
    WronglyRefused,
    FailsHereAlone,
    Tables,
}

#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: Kind,
    pub description: String,
    /// What other faults of its cause say, too.
    pub mark: String,
}

impl Fault {
    fn new(kind: Kind, mark: &str, description: String) -> Fault {
        // Names and numbers of one case are not those of another.
        let mut plain = String::new();
        for c in mark.lines().next().unwrap_or_default().chars().take(90) {
            if !(c.is_ascii_digit() && plain.ends_with('0')) {
                plain.push(if c.is_ascii_digit() { '0' } else { c });
            }
        }
        Fault { kind, description, mark: plain }
    }
}

/// What came of a case.
#[derive(Debug, Default)]
pub struct Outcome {
    pub faults: Vec<(usize, Fault)>,
    /// Views compared with their SELECT, and with PostgreSQL's answer.
    pub compared: usize,
    pub with_postgres: usize,
    /// Refused alike, by what was said.
    pub refused: BTreeMap<String, usize>,
}

struct Run<'a> {
    case: &'a Case,
    here: Peer,
    there: Option<Peer>,
    outcome: Outcome,
}

impl Case {
    pub async fn run(&self, postgres: Option<&'static Postgres>) -> Outcome {
        let here = Peer::tidemark(self.options.clone()).await;
        let there = match postgres {
            Some(server) if self.questions.iter().any(|q| q.shared) => Some(Peer::postgres(server).await),
            _ => None,
        };
        let mut run = Run { case: self, here, there, outcome: Outcome::default() };
        run.whole().await;
        run.outcome
    }

    /// Whether a SELECT fails on a value that a table had between the first step and the last: its view, which may have
    /// seen that state, has stopped there then.
    async fn fails_on_the_way(&self, question: &Question) -> bool {
        let peer = Peer::tidemark(self.options.clone()).await;
        for text in &self.create {
            let _ = peer.ask(text).await;
        }
        for step in &self.fill {
            let _ = peer.ask(&step.sql()).await;
        }
        for step in &self.steps {
            let _ = peer.ask(&step.sql()).await;
            if peer.ask(&question.text).await.is_err_and(|refusal| refusal.is_of_a_value()) {
                return true;
            }
        }
        false
    }

    /// As it can be pasted into psql.
    pub fn script(&self) -> String {
        let mut text = String::new();
        let fill: Vec<String> = self.fill.iter().map(Step::sql).collect();
        let views =
            self.questions.iter().enumerate().map(|(n, q)| format!("CREATE MATERIALIZED VIEW v{n} AS {}", q.text));
        let steps = self.steps.iter().map(Step::sql);
        let asked = self.questions.iter().enumerate().map(|(n, q)| format!("SELECT * FROM v{n};\n{}", q.text));
        let flush = ["FLUSH".to_string()];
        for statement in self.create.iter().cloned().chain(fill).chain(views).chain(steps).chain(flush).chain(asked) {
            let _ = writeln!(text, "{statement};");
        }
        text
    }
}

impl Run<'_> {
    async fn whole(&mut self) {
        for text in &self.case.create {
            if let Err(refusal) = self.here.ask(text).await {
                self.fault(usize::MAX, Fault::new(Kind::Tables, &refusal.text, format!("{text}\n{}", refusal.text)));
                return;
            }
            if let Some(there) = &self.there {
                let answer = there.ask(&text.replacen("CREATE TABLE", "CREATE TEMPORARY TABLE", 1)).await;
                answer.unwrap_or_else(|refusal| panic!("{}\n{text}", refusal.text));
            }
        }
        for step in &self.case.fill {
            self.step(step).await;
        }
        let mut live = Vec::new();
        for (n, question) in self.case.questions.iter().enumerate() {
            if let Some(read) = self.view(n, question).await {
                live.push((n, Some(read)));
            }
        }
        let mut live = self.check(live).await;
        for step in &self.case.steps {
            self.step(step).await;
        }
        if !self.case.steps.is_empty() {
            live = self.check(live).await;
        }
        self.outcome.compared += live.len();
    }

    fn fault(&mut self, n: usize, fault: Fault) {
        self.outcome.faults.push((n, fault));
    }

    /// A change to both.
    async fn step(&mut self, step: &Step) {
        let text = step.sql();
        let here = self.here.ask(&text).await;
        let there = match &self.there {
            Some(there) => Some(there.ask(&text).await),
            None => None,
        };
        match (here, there) {
            (Ok(_), None | Some(Ok(_))) | (Err(_), Some(Err(_))) => {}
            (Err(refusal), None) if refusal.is_of_a_value() || refusal.state == "23505" => {}
            (here, there) => {
                let outcome = |answer: Result<Answer, Refusal>| answer.map_or_else(|e| e.text, |_| "done".to_string());
                let (here, there) = (outcome(here), there.map(outcome));
                let mark = format!("{here} {there:?}");
                self.fault(
                    usize::MAX,
                    Fault::new(Kind::Tables, &mark, format!("{text}\nhere: {here}\nthere: {there:?}")),
                );
                self.there = None;
            }
        }
    }

    /// Makes a view; what its SELECT answers, if there is a view to compare.
    async fn view(&mut self, n: usize, question: &Question) -> Option<Answer> {
        let read = self.here.ask(&question.text).await;
        let kept = self.here.ask(&format!("CREATE MATERIALIZED VIEW v{n} AS {}", question.text)).await;
        for refusal in [&read, &kept].into_iter().filter_map(|answer| answer.as_ref().err()) {
            let kind = if refusal.state == "hangs" { Kind::Hangs } else { Kind::Internal };
            let internal = refusal.state.starts_with("XX") || internal(&refusal.text).is_some();
            if internal || ["hangs", "none"].contains(&refusal.state.as_str()) {
                self.fault(n, Fault::new(kind, &refusal.text, refusal.text.clone()));
                return None;
            }
        }
        match (read, kept) {
            (Ok(read), Ok(_)) => Some(read),
            // A row that fails is a dead letter of the view.
            (Err(read), Ok(_)) if read.is_of_a_value() => {
                self.fails_here_alone(n, question, &read).await;
                None
            }
            (Err(read), Err(kept)) if read.state == kept.state => {
                *self.outcome.refused.entry(read.text.lines().next().unwrap_or_default().to_string()).or_default() += 1;
                if read.state != "0A000" {
                    self.wrongly_refused(n, question, &read).await;
                }
                None
            }
            (Ok(_), Err(kept)) if kept.state == "0A000" && kept.text.contains("HINT") => {
                let first = kept.text.lines().next().unwrap_or_default();
                *self.outcome.refused.entry(format!("(only kept) {first}")).or_default() += 1;
                None
            }
            (read, kept) => {
                let outcome = |answer: Result<Answer, Refusal>| answer.map_or_else(|e| e.text, |_| "taken".to_string());
                let (read, kept) = (outcome(read), outcome(kept));
                let mark = if kept == "taken" { read.clone() } else { kept.clone() };
                self.fault(n, Fault::new(Kind::OneRefuses, &mark, format!("-- read: {read}\n-- kept: {kept}")));
                None
            }
        }
    }

    async fn wrongly_refused(&mut self, n: usize, question: &Question, refusal: &Refusal) {
        let Some(there) = self.there.as_ref().filter(|_| question.shared) else { return };
        if there.ask(&question.text).await.is_ok() && known(&question.text, &refusal.text).is_none() {
            self.fault(n, Fault::new(Kind::WronglyRefused, &refusal.text, refusal.text.clone()));
        }
    }

    async fn fails_here_alone(&mut self, n: usize, question: &Question, refusal: &Refusal) {
        let Some(there) = self.there.as_ref().filter(|_| question.shared) else { return };
        if there.ask(&question.text).await.is_ok() && known(&question.text, &refusal.text).is_none() {
            self.fault(n, Fault::new(Kind::FailsHereAlone, &refusal.text, refusal.text.clone()));
        }
    }

    /// Compares all views, each with what its SELECT answers, or has just answered; those that are right.
    async fn check(&mut self, live: Vec<(usize, Option<Answer>)>) -> Vec<(usize, Option<Answer>)> {
        let flushed = self.here.ask("FLUSH").await;
        if flushed.is_err_and(|refusal| refusal.state == "hangs") {
            for (n, _) in live {
                self.fault(n, Fault::new(Kind::Hangs, "FLUSH", "FLUSH does not end".to_string()));
            }
            return Vec::new();
        }
        let mut right = Vec::new();
        for (n, read) in live {
            match self.differs(n, read).await {
                Some(fault) => self.fault(n, fault),
                None => right.push((n, None)),
            }
        }
        right
    }

    async fn differs(&mut self, n: usize, read: Option<Answer>) -> Option<Fault> {
        let question = &self.case.questions[n];
        let kept = self.here.ask(&format!("SELECT * FROM v{n}")).await;
        let read = match read {
            Some(read) => Ok(read),
            None => self.here.ask(&question.text).await,
        };
        let (kept, read) = match (kept, read) {
            (Err(kept), _) => return Some(Fault::new(Kind::ViewFails, &kept.text, kept.text.clone())),
            (Ok(_), Err(read)) if read.is_of_a_value() => {
                self.fails_here_alone(n, question, &read).await;
                return None;
            }
            (Ok(_), Err(read)) => return Some(Fault::new(Kind::Internal, &read.text, read.text.clone())),
            (Ok(kept), Ok(read)) => (kept, read),
        };
        if !kept.same(&read) {
            // One that has stopped shows what it has come to.
            if let Err(failed) = self.here.ask(&format!("FLUSH v{n}")).await {
                if failed.is_of_a_value() && self.case.fails_on_the_way(question).await {
                    let first = failed.text.lines().next().unwrap_or_default();
                    *self.outcome.refused.entry(format!("(at a step before the last) {first}")).or_default() += 1;
                    return None;
                }
                // What a SELECT streams an epoch has all at once, and there is a limit to that.
                if failed.text.contains("the pairs of a join in one epoch would hold more") {
                    let first = failed.text.lines().next().unwrap_or_default();
                    *self.outcome.refused.entry(format!("(in a view alone) {first}")).or_default() += 1;
                    return None;
                }
                // A join with no rows on one side does not look at those of the other, in a SELECT.
                if let Some(why) = known(&question.text, &failed.text) {
                    *self.outcome.refused.entry(format!("(in a view alone) {why}")).or_default() += 1;
                    return None;
                }
                return Some(Fault::new(Kind::ViewFails, &failed.text, failed.text.clone()));
            }
            let description =
                format!("-- only in the view:\n{}-- only in its SELECT:\n{}", kept.less(&read), read.less(&kept));
            return Some(Fault::new(Kind::ViewDiffers, "", description));
        }
        let there = self.there.as_ref().filter(|_| question.shared)?;
        let asked = match there.ask(&question.text).await {
            Ok(asked) => asked,
            // What it refuses, takes too long for, or fails on is not compared.
            Err(_) => return None,
        };
        self.outcome.with_postgres += 1;
        if asked.same(&read) || is_sorted_by_sets(&question.text) || is_taken_for_strict(&question.text) {
            return None;
        }
        let description = format!("-- only here:\n{}-- only in PostgreSQL:\n{}", read.less(&asked), asked.less(&read));
        Some(Fault::new(Kind::PostgresDiffers, "", description))
    }
}
