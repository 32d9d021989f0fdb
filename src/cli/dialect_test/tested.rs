//! The dialect whose examples are run, by its name or from its file.

use std::path::Path;

use anyhow::{Context, anyhow, bail};

use crate::dialect::example::Example;
use crate::dialect::{Dialect, DialectProblem, RawDialect};

/// A dialect whose examples are run.
pub(super) struct TestedDialect {
    pub(super) dialect: Dialect,
    /// The text of its file; `None` if it is built in.
    pub(super) own: Option<String>,
}

impl TestedDialect {
    /// Reads the dialect, by its name or from its file.
    pub(super) fn read(
        wanted: &str,
        own: &[(String, String)],
    ) -> anyhow::Result<(Self, Vec<Example>)> {
        let known = own.iter().find(|(name, _)| name == wanted).map(|(_, text)| text.clone());
        let (text, own) = match (Dialect::builtin_text(wanted), known) {
            (Some(text), _) => (text.to_owned(), None),
            (None, Some(text)) => (text.clone(), Some(text)),
            (None, None) if Path::new(wanted).exists() => {
                let text = std::fs::read_to_string(wanted);
                let text = text.with_context(|| format!("could not read {wanted}"))?;
                (text.clone(), Some(text))
            }
            (None, None) => bail!(
                "`{wanted}` is no file, and no dialect of that name is known; `tollhouse dialect list` \
             shows those that are"
            ),
        };
        let raw: RawDialect =
            toml::from_str(&text).with_context(|| format!("{wanted} is no dialect"))?;
        let name = raw.name.clone();
        let examples = raw.examples().map_err(|problems| anyhow!(told(&name, &problems)))?;
        let dialect = Dialect::check(raw).map_err(|problems| anyhow!(told(&name, &problems)))?;
        Ok((Self { dialect, own }, examples))
    }
}

fn told(name: &str, problems: &[DialectProblem]) -> String {
    let line = |problem: &DialectProblem| {
        let parts = [&problem.path, &problem.value, &problem.message].into_iter();
        let parts: Vec<&str> = parts.map(String::as_str).filter(|part| !part.is_empty()).collect();
        format!("\n  {}", parts.join("  "))
    };
    let lines: String = problems.iter().map(line).collect();
    format!("dialect `{name}` has problems:{lines}")
}
