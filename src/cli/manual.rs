//! `tollhouse man`: the manual, and of it the page gateway.toml(5). Those of the commands are made by
//! `pages`.
//!
//! The page of the configuration is made from the commented sample, so that the two cannot differ.
//! Explanations become paragraphs, headers of tables become headings, and TOML stays as it is
//! written, in the same order.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;

use super::CommandError;
use super::pages::{ManualPage, pages};
use super::roff::escaped;
use crate::schema::{SAMPLE, SampleLine};

/// The name with which the page of the configuration is asked for; its file has this name and the
/// section.
const CONFIGURATION: &str = "gateway.toml";

/// Writes the page of `program`, or of the configuration, to standard output; or writes all pages
/// to a folder. A name that is not that of the configuration's page is taken for a folder. That
/// folder must exist.
pub(super) fn man(program: clap::Command, wanted: Option<&Path>) -> Result<(), CommandError> {
    let page = match wanted {
        None => pages(program).into_iter().next().map(|page| page.text).unwrap_or_default(),
        Some(name) if name == Path::new(CONFIGURATION) => configuration(SAMPLE),
        Some(folder) => {
            return write_all(program, folder)
                .with_context(|| format!("no pages could be written to {}", folder.display()))
                .map_err(CommandError::Other);
        }
    };
    Ok(std::io::stdout().write_all(page.as_bytes())?)
}

/// Writes every page to a folder.
fn write_all(program: clap::Command, folder: &Path) -> std::io::Result<()> {
    for ManualPage { file, text } in pages(program) {
        std::fs::write(folder.join(file), text)?;
    }
    std::fs::write(folder.join(format!("{CONFIGURATION}.5")), configuration(SAMPLE))
}

/// The page of a commented configuration in roff (man(7)).
fn configuration(sample: &str) -> String {
    let mut page = Page::default();
    for line in sample.lines() {
        page.line(line);
    }
    page.flush();
    page.text.push_str(END);
    page.text
}

const HEAD: &str = concat!(
    ".TH gateway.toml 5 \"\" \"tollhouse ",
    env!("CARGO_PKG_VERSION"),
    "\"\n.SH NAME\ngateway.toml \\- configuration of tollhouse(1)\n.SH DESCRIPTION\n"
);

const END: &str = ".SH SEE ALSO\n.BR tollhouse (1),\n.BR tollhouse\\-check (1),\n\
                   .BR tollhouse\\-init (1)\n";

/// A page that is being written. The lines of the sample are added one by one, and `flush` writes
/// the paragraphs that still wait. It is the state between two lines.
struct Page {
    text: String,
    /// Paragraphs that explain what comes next. They are written when it is known whether a heading
    /// comes first.
    pending: Vec<Block>,
    /// True if the last line ended a paragraph.
    is_broken: bool,
    /// True if nothing is below the present heading yet.
    is_below_heading: bool,
    /// The header that the present heading was made from.
    heading: String,
    headings: Vec<String>,
}

enum Block {
    Prose(String),
    Verbatim(String),
}

impl Default for Page {
    fn default() -> Self {
        let (pending, heading, headings) = Default::default();
        let text = HEAD.to_owned();
        Self { text, pending, is_broken: true, is_below_heading: true, heading, headings }
    }
}

impl Page {
    fn line(&mut self, line: &str) {
        let is_broken = std::mem::replace(&mut self.is_broken, false);
        match SampleLine::of(line) {
            SampleLine::Break => self.is_broken = true,
            SampleLine::Rule => self.flush(),
            SampleLine::Prose(text) => self.prose(text, is_broken),
            SampleLine::Verbatim(text) => self.verbatim(text),
            SampleLine::Header(header) if header == self.heading => self.verbatim(line),
            SampleLine::Header(header) => self.begin(header),
        }
    }

    fn prose(&mut self, text: &str, is_broken: bool) {
        match self.pending.last_mut() {
            Some(Block::Prose(prose)) if !is_broken => {
                prose.push('\n');
                prose.push_str(text);
            }
            _ => self.pending.push(Block::Prose(text.to_owned())),
        }
    }

    fn verbatim(&mut self, line: &str) {
        match self.pending.last_mut() {
            Some(Block::Verbatim(lines)) => {
                lines.push('\n');
                lines.push_str(line);
            }
            _ => self.pending.push(Block::Verbatim(line.to_owned())),
        }
    }

    /// Begins a heading. The paragraphs directly before it belong to it, because a comment is
    /// written above its table. A header that was used before becomes a heading of the second
    /// level.
    fn begin(&mut self, header: &str) {
        // The paragraphs after the last verbatim block explain the table that begins here.
        // Everything up to that block belongs to the heading before. They are kept back until the
        // new heading has been written.
        let own = self.pending.iter().rposition(|block| matches!(block, Block::Verbatim(_)));
        let next = self.pending.split_off(own.map_or(0, |last| last + 1));
        self.flush();
        let is_new = !self.headings.iter().any(|known| known == header);
        let is_section = is_new && !header.contains('.');
        let macro_name = if is_section { "SH" } else { "SS" };
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, ".{macro_name} \"{}\"", escaped(header));
        self.is_below_heading = true;
        self.headings.push(header.to_owned());
        header.clone_into(&mut self.heading);
        self.pending = next;
        // The explanation of the first setting is a paragraph of its own.
        self.is_broken = true;
    }

    fn flush(&mut self) {
        for block in std::mem::take(&mut self.pending) {
            // A heading begins a paragraph itself.
            if !std::mem::take(&mut self.is_below_heading) {
                self.text.push_str(".PP\n");
            }
            match block {
                Block::Prose(text) => self.lines(&text),
                Block::Verbatim(text) => {
                    self.text.push_str(".RS 4\n.nf\n");
                    self.lines(&text);
                    self.text.push_str(".fi\n.RE\n");
                }
            }
        }
    }

    fn lines(&mut self, text: &str) {
        for line in text.lines() {
            self.text.push_str(&escaped(line));
            self.text.push('\n');
        }
    }
}
