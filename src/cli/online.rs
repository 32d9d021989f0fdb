//! `tollhouse check --online`: one verdict on each server that the configuration names.
//!
//! The questions are asked by `server::online`; this file formats the verdicts for people, for
//! editors and for programs.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::{FilePosition, LoadedConfig};
use crate::server::Verdict;

/// The verdicts, with the configuration in which the positions of their keys are found. A verdict
/// names a key; the line and column of that key are looked up when the verdict is printed.
pub(super) struct Verdicts<'a> {
    pub(super) file: &'a Path,
    pub(super) loaded: &'a LoadedConfig,
    pub(super) list: Vec<Verdict>,
}

impl Verdicts<'_> {
    pub(super) fn failed(&self) -> usize {
        self.list.iter().filter(|verdict| verdict.outcome.is_err()).count()
    }

    fn position(&self, verdict: &Verdict) -> Option<FilePosition> {
        self.loaded.position(&verdict.at)
    }

    /// One line for each verdict, for people.
    pub(super) fn lines(&self) -> String {
        let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
        let parties = width(&mut self.list.iter().map(|one| one.party.as_str().len()));
        let whom = width(&mut self.list.iter().map(|one| one.whom.chars().count()));
        let keys = width(&mut self.list.iter().map(|one| one.at.as_str().chars().count()));
        let mut text = String::new();
        for verdict in &self.list {
            let (word, meaning) = words(verdict);
            let line = self.position(verdict).map(|at| format!("line {}", at.line));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{word:6}  {:>5} ms  {:parties$}  {:whom$}  {:>8}  {:keys$}  {meaning}",
                verdict.took.as_millis(),
                verdict.party.as_str(),
                verdict.whom,
                line.unwrap_or_default(),
                verdict.at.as_str(),
            );
        }
        text
    }

    /// One line for each verdict, in the form of compilers.
    pub(super) fn gnu(&self) -> String {
        let mut text = String::new();
        for verdict in &self.list {
            let at = self.position(verdict);
            let at = at.map(|at| format!("{}:{}:", at.line, at.column)).unwrap_or_default();
            let kind = if verdict.outcome.is_ok() { "note" } else { "error" };
            let (_, meaning) = words(verdict);
            let _ = writeln!(
                text,
                "{}:{at} {kind}: {} {} {}: {meaning} ({} ms)",
                self.file.display(),
                verdict.at,
                verdict.party.as_str(),
                verdict.whom,
                verdict.took.as_millis()
            );
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let object = |verdict: &Verdict| {
            let at = self.position(verdict);
            let (word, _) = words(verdict);
            let (Ok(message) | Err(message)) = &verdict.outcome;
            json!({
                "verdict": word,
                "what": verdict.party.as_str(),
                "target": verdict.whom,
                "file": self.file.display().to_string(),
                "line": at.map(|at| at.line),
                "column": at.map(|at| at.column),
                "key": verdict.at.as_str(),
                "took_ms": u64::try_from(verdict.took.as_millis()).unwrap_or(u64::MAX),
                "message": message,
                "remedy": verdict.remedy(),
            })
        };
        Value::Array(self.list.iter().map(object).collect())
    }
}

/// The verdict in one word, followed by the details.
fn words(verdict: &Verdict) -> (&'static str, String) {
    match (&verdict.outcome, verdict.remedy()) {
        (Ok(seen), _) => ("ok", seen.clone()),
        (Err(cause), None) => ("failed", cause.clone()),
        (Err(cause), Some(remedy)) => ("failed", format!("{cause}: {remedy}")),
    }
}
