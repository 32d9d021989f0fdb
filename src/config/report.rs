//! How issues are written out: a table for people, a line each for editors, JSON for programs.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::issues::{Issue, Issues, Position, Severity};

/// For whom issues are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportFormat {
    /// A table.
    #[default]
    Human,
    /// `file:line:column: error: …`, as compilers do (GNU coding standards, 4.4), which editors
    /// and build servers know how to jump to.
    Gnu,
    Json,
}

/// The issues of several files in one of the forms.
pub fn report(files: &[Issues], format: ReportFormat) -> String {
    match format {
        ReportFormat::Human => {
            let texts: Vec<String> =
                files.iter().filter(|one| !one.is_empty()).map(ToString::to_string).collect();
            texts.join("\n")
        }
        ReportFormat::Gnu => files.iter().fold(String::new(), |mut text, issues| {
            for issue in issues.iter() {
                // Writing to a `String` cannot fail.
                let _ = writeln!(text, "{}", gnu(issues.file(), issue));
            }
            text
        }),
        ReportFormat::Json => {
            let all = |issues: &Issues| -> Vec<Value> {
                issues.iter().map(|issue| object(issues.file(), issue)).collect()
            };
            let listed: Vec<Value> = files.iter().flat_map(all).collect();
            let ok = !files.iter().any(Issues::has_error);
            format!("{:#}\n", json!({ "ok": ok, "issues": listed }))
        }
    }
}

fn gnu(file: &str, issue: &Issue) -> String {
    let at = issue.position.map(|at| format!("{}:{}:", at.line, at.column)).unwrap_or_default();
    let kind = match issue.severity {
        Severity::Error => "error",
        Severity::Warning(_) => "warning",
    };
    let mut text = format!("{file}:{at} {kind}: ");
    for part in [issue.path.as_str(), issue.value.as_str()] {
        if !part.is_empty() {
            text.push_str(part);
            text.push(' ');
        }
    }
    text + &flat(&issue.message())
}

fn object(file: &str, issue: &Issue) -> Value {
    let (severity, name) = match issue.severity {
        Severity::Error => ("error", None),
        Severity::Warning(name) => ("warning", Some(name.as_str())),
    };
    json!({
        "file": file,
        "line": issue.position.map(|at| at.line),
        "column": issue.position.map(|at| at.column),
        "key": issue.path.as_str(),
        "value": issue.value,
        "severity": severity,
        "name": name,
        "message": flat(&issue.remedy),
    })
}

/// A message of several lines on one; of a picture of the place only the words, since whoever
/// reads this has the place already.
fn flat(text: &str) -> String {
    let is_picture = |line: &&str| {
        let rest = line.trim_start().trim_start_matches(|letter: char| letter.is_ascii_digit());
        rest.trim_start().starts_with('|') || line.starts_with("TOML parse error")
    };
    let words: Vec<&str> = text.lines().filter(|line| !is_picture(line)).map(str::trim).collect();
    words.join(" ").trim().to_owned()
}

/// The table.
impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (errors, warnings): (Vec<&Issue>, Vec<&Issue>) =
            self.iter().partition(|issue| issue.severity == Severity::Error);
        if errors.is_empty() {
            return write_part(f, self.file(), &warnings, ["warning", "warnings"]);
        }
        write_part(f, self.file(), &errors, ["problem", "problems"])?;
        // They would bury what has to be mended first, and many of them follow from it.
        match warnings.len() {
            0 => Ok(()),
            1 => writeln!(f, "\nand 1 warning, which is shown once there are no problems"),
            many => {
                writeln!(f, "\nand {many} warnings, which are shown once there are no problems")
            }
        }
    }
}

fn write_part(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    issues: &[&Issue],
    [one, many]: [&str; 2],
) -> fmt::Result {
    if issues.is_empty() {
        return Ok(());
    }
    let noun = if issues.len() == 1 { one } else { many };
    write!(f, "{file} has {} {noun}:\n\n", issues.len())?;
    write_table(f, issues)
}

/// A wider entry pushes its own line's remedy to the right, not everybody's.
const WIDEST: usize = 44;

fn write_table(f: &mut fmt::Formatter<'_>, issues: &[&Issue]) -> fmt::Result {
    let line = |issue: &Issue| {
        issue.position.map(|Position { line, .. }| format!("line {line}")).unwrap_or_default()
    };
    let lines = Column::of(issues.iter().map(|issue| line(issue).len()));
    let paths = Column::of(issues.iter().map(|issue| issue.path.as_str().chars().count()));
    let values = Column::of(issues.iter().map(|issue| issue.value.chars().count()));
    for issue in issues {
        if issue.path.as_str().is_empty() {
            for text in issue.remedy.lines() {
                writeln!(f, "{}", format!("  {text}").trim_end())?;
            }
            continue;
        }
        let (line, path) = (lines.cell(&line(issue)), paths.cell(issue.path.as_str()));
        writeln!(f, "{line}{path}{}  {}", values.cell(&issue.value), issue.message())?;
    }
    Ok(())
}

/// How wide a column is; `None` where nobody has anything in it, so that it is left out.
struct Column(Option<usize>);

impl Column {
    fn of(widths: impl Iterator<Item = usize> + Clone) -> Self {
        let widest = widths.clone().filter(|width| *width <= WIDEST).max().unwrap_or(0);
        Self(widths.max().filter(|most| *most > 0).map(|_| widest))
    }

    fn cell(&self, text: &str) -> String {
        self.0.map(|width| format!("  {text:width$}")).unwrap_or_default()
    }
}
