//! `tollhouse dialect test`: runs the examples of a dialect against a gateway in this process.
//!
//! The gateway is a real one, with users, a store, a listener on loopback and the sample upstream,
//! so an example shows what a client of the dialect will see. Its folder is temporary and its clock
//! is moved by the examples. Nothing of the operator's own gateway is read or changed.

mod story;

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;

use self::story::{ExampleResult, Story};
use super::format_args::FormatArgs;
use super::{CommandError, say};
use crate::dialect::example::Example;
use crate::dialect::{Dialect, DialectProblem, RawDialect};

#[derive(Debug, Args)]
pub(super) struct DialectTestArgs {
    /// The name of a dialect, or the file that it is in.
    dialect: String,
    #[command(flatten)]
    format: FormatArgs,
}

/// A dialect whose examples are run.
struct TestedDialect {
    dialect: Dialect,
    /// The text of its file; `None` if it is built in.
    own: Option<String>,
}

/// Runs the examples. `own` are the dialects of the configuration, by name. The error tells how
/// many examples failed.
pub(super) fn run(args: &DialectTestArgs, own: &[(String, String)]) -> Result<(), CommandError> {
    let (dialect, examples) = read(&args.dialect, own)?;
    let name = &dialect.dialect.name;
    if examples.is_empty() {
        return Err(anyhow!("dialect `{name}` has no [[example]]").into());
    }
    let mut failed = 0_usize;
    let mut count = 0_usize;
    for story in stories(&examples) {
        for result in Story::run(&dialect, story)? {
            failed += usize::from(!result.differences.is_empty());
            count += 1;
            print(&result, count, args.format.is_json())?;
        }
    }
    let total = examples.len();
    if failed > 0 {
        return Err(anyhow!("{failed} of {total} examples of `{name}` fail").into());
    }
    if !args.format.is_json() {
        say(format_args!("{total} examples of `{name}` hold"))?;
    }
    Ok(())
}

/// The examples, cut where another story begins.
fn stories(examples: &[Example]) -> impl Iterator<Item = &[Example]> {
    examples.chunk_by(|_, next| next.state.is_none())
}

fn print(result: &ExampleResult<'_>, number: usize, as_json: bool) -> std::io::Result<()> {
    let example = result.example;
    if as_json {
        return say(json!({
            "example": number,
            "name": example.name,
            "request": example.request.line(),
            "status": result.status,
            "reason": result.reason,
            "passed": result.differences.is_empty(),
            "differences": result.differences,
        }));
    }
    let verdict = if result.differences.is_empty() { "ok    " } else { "FAILED" };
    let status = result.status.map(|status| status.to_string()).unwrap_or_default();
    let name = example.name.as_deref().or(result.reason.as_deref()).unwrap_or_default();
    say(format_args!("{verdict} {:<36} {status:<3} {name}", example.request.line()))?;
    for difference in &result.differences {
        say(format_args!("       {difference}"))?;
    }
    Ok(())
}

/// Reads the dialect, by its name or from its file.
fn read(wanted: &str, own: &[(String, String)]) -> anyhow::Result<(TestedDialect, Vec<Example>)> {
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
    Ok((TestedDialect { dialect, own }, examples))
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
