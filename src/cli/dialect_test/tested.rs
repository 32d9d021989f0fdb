//! The dialect whose examples are run.

use anyhow::{Context, anyhow};

use crate::dialect::example::Example;
use crate::dialect::{Dialect, DialectProblem, RawDialect};

/// A dialect whose examples are run.
pub(super) struct TestedDialect {
    pub(super) dialect: Dialect,
    /// The text of its file; `None` if it is built in.
    pub(super) own: Option<String>,
}

impl TestedDialect {
    /// Reads a dialect and its examples.
    pub(super) fn read(text: &str) -> anyhow::Result<(Self, Vec<Example>)> {
        let raw: RawDialect = toml::from_str(text).context("this is no dialect")?;
        let name = raw.name.clone();
        let faulty = |problems: Vec<DialectProblem>| anyhow!(report(&name, &problems));
        let examples = raw.examples().map_err(faulty)?;
        let dialect = Dialect::check(raw).map_err(faulty)?;
        let is_builtin = Dialect::builtin_text(&name) == Some(text);
        let own = (!is_builtin).then(|| text.to_owned());
        Ok((Self { dialect, own }, examples))
    }
}

/// All problems of a dialect, one on a line.
fn report(name: &str, problems: &[DialectProblem]) -> String {
    let line = |problem: &DialectProblem| {
        let parts = [&problem.path, &problem.value, &problem.message].into_iter();
        let parts: Vec<&str> = parts.map(String::as_str).filter(|part| !part.is_empty()).collect();
        format!("\n  {}", parts.join("  "))
    };
    let lines: String = problems.iter().map(line).collect();
    format!("dialect `{name}` has problems:{lines}")
}
