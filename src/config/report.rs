//! Writes issues out: a table for people, one line each for editors, JSON for programs.
//!
//! Nothing is decided here: whether a file is refused follows from `Issues`, and the values of
//! secrets were left out before. `cli` calls `report` for the forms that `check` offers; the table
//! is also the text of a start that is refused.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::issues::{Issue, IssueSeverity, Issues};
use super::key_path::FilePosition;

/// The form in which issues are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportFormat {
    /// A table for people. Warnings are left out as long as there are errors.
    #[default]
    Human,
    /// `file:line:column: error: …`, the form of compilers (GNU Coding Standards, section 4.4).
    /// Editors and build servers can jump to such places. Line and column are left out for an issue
    /// without a position.
    Gnu,
    /// One JSON object with a list of issues, for programs.
    Json,
}

/// Writes the issues of several files in one of the forms.
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
        ReportFormat::Json => format!("{:#}\n", report_json(files)),
    }
}

/// The issues of several files as JSON that more can be put into.
pub fn report_json(files: &[Issues]) -> Value {
    let all = |issues: &Issues| -> Vec<Value> {
        issues.iter().map(|issue| object(issues.file(), issue)).collect()
    };
    let listed: Vec<Value> = files.iter().flat_map(all).collect();
    json!({ "ok": !files.iter().any(Issues::has_error), "issues": listed })
}

/// One issue as one line in the form of a compiler's message.
fn gnu(file: &str, issue: &Issue) -> String {
    let at = issue.position.map(|at| format!("{}:{}:", at.line, at.column)).unwrap_or_default();
    let kind = match issue.severity {
        IssueSeverity::Error => "error",
        IssueSeverity::Warning(_) => "warning",
    };
    let mut text = format!("{file}:{at} {kind}: ");
    // The empty parts are left out: an issue about the whole file has neither key nor value.
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
        IssueSeverity::Error => ("error", None),
        IssueSeverity::Warning(name) => ("warning", Some(name.as_str())),
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

/// Joins a message of several lines into one. The TOML parser draws the faulty line into its
/// message; the drawing is removed, because this form already names line and column. Programs that
/// read this form expect one issue on each line.
fn flat(text: &str) -> String {
    let is_picture = |line: &&str| {
        let rest = line.trim_start().trim_start_matches(|letter: char| letter.is_ascii_digit());
        rest.trim_start().starts_with('|') || line.starts_with("TOML parse error")
    };
    let words: Vec<&str> = text.lines().filter(|line| !is_picture(line)).map(str::trim).collect();
    words.join(" ").trim().to_owned()
}

/// The table for people.
impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (errors, warnings): (Vec<&Issue>, Vec<&Issue>) =
            self.iter().partition(|issue| issue.severity == IssueSeverity::Error);
        if errors.is_empty() {
            return write_part(f, self.file(), &warnings, ["warning", "warnings"]);
        }
        write_part(f, self.file(), &errors, ["problem", "problems"])?;
        // Warnings are left out: they would hide the errors, which have to be corrected first, and
        // many of them are caused by those errors. Their number is still named, so that nobody
        // takes a file without errors for one without warnings.
        match warnings.len() {
            0 => Ok(()),
            1 => writeln!(f, "\nand 1 warning, which is shown once there are no problems"),
            many => {
                writeln!(f, "\nand {many} warnings, which are shown once there are no problems")
            }
        }
    }
}

/// Writes one heading and the table below it; nothing if there are no issues of this kind.
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

/// The widest cell that widens its whole column. A longer entry pushes only its own line to the
/// right.
const WIDEST: usize = 44;

fn write_table(f: &mut fmt::Formatter<'_>, issues: &[&Issue]) -> fmt::Result {
    let line = |issue: &Issue| {
        issue.position.map(|FilePosition { line, .. }| format!("line {line}")).unwrap_or_default()
    };
    let lines = ColumnWidth::of(issues.iter().map(|issue| line(issue).len()));
    let paths = ColumnWidth::of(issues.iter().map(|issue| issue.path.as_str().chars().count()));
    let values = ColumnWidth::of(issues.iter().map(|issue| issue.value.chars().count()));
    for issue in issues {
        // A syntax error has no key. Its message is a drawing of several lines and is printed as it
        // is.
        if issue.path.as_str().is_empty() {
            for text in issue.remedy.lines() {
                writeln!(f, "{}", format!("  {text}").trim_end())?;
            }
            continue;
        }
        let line = lines.cell(&line(issue));
        let path = paths.cell(issue.path.as_str());
        writeln!(f, "{line}{path}{}  {}", values.cell(&issue.value), issue.message())?;
    }
    Ok(())
}

/// The width of a column; `None` if every cell of it is empty, so that the column is left out.
struct ColumnWidth(Option<usize>);

impl ColumnWidth {
    fn of(widths: impl Iterator<Item = usize> + Clone) -> Self {
        let widest = widths.clone().filter(|width| *width <= WIDEST).max().unwrap_or(0);
        Self(widths.max().filter(|most| *most > 0).map(|_| widest))
    }

    fn cell(&self, text: &str) -> String {
        self.0.map(|width| format!("  {text:width$}")).unwrap_or_default()
    }
}
