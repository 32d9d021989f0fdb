//! `tollhouse dialect test`: runs the examples of a dialect against a gateway in this process.
//!
//! The gateway is a real one, with users, a store, a listener on loopback and the sample upstream,
//! so an example shows what a client of the dialect will see. Its folder is temporary and its clock
//! is moved by the examples. Nothing of the operator's own gateway is read or changed.

mod story;
mod tested;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use self::story::{ExampleResult, ExampleStory};
use self::tested::TestedDialect;
use super::format_args::FormatArgs;
use super::{CommandError, say};
use crate::dialect::example::Example;

#[derive(Debug, Args)]
pub(super) struct DialectTestArgs {
    /// The name of a dialect, or the file that it is in.
    pub(super) dialect: String,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

/// Runs the examples of the dialect with this text. The error says how many of them failed.
pub(super) fn run(text: &str, format: FormatArgs) -> Result<(), CommandError> {
    let (dialect, examples) = TestedDialect::read(text)?;
    let name = &dialect.dialect.name;
    if examples.is_empty() {
        return Err(anyhow!("dialect `{name}` has no [[example]]").into());
    }
    let mut failed = 0_usize;
    let mut count = 0_usize;
    for story in stories(&examples) {
        for result in ExampleStory::run(&dialect, story)? {
            failed += usize::from(!result.differences.is_empty());
            count += 1;
            print(&result, count, format.is_json())?;
        }
    }
    let total = examples.len();
    if failed > 0 {
        return Err(anyhow!("{failed} of {total} examples of `{name}` fail").into());
    }
    if !format.is_json() {
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
