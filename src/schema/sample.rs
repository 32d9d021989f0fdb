//! The commented sample `gateway.toml`, as far as programs read its comments: the manual page, the
//! JSON Schema and the reference are made from it.
//!
//! The rule for the meaning of a setting: the lines of text directly above it, and the comment
//! behind it with the lines that go on with that comment. An empty line ends a text. The text above
//! the header of a table is about the table. Settings in comments count like others.

/// The sample. It is compiled in, because somebody who has only the program does not have the
/// repository.
pub(crate) const SAMPLE: &str = include_str!("../../gateway.toml");

/// One line of the sample, by its meaning.
pub(crate) enum SampleLine<'a> {
    /// Ends a paragraph.
    Break,
    /// Ends everything that was explained before.
    Rule,
    /// The header of a table, without the comment mark.
    Header(&'a str),
    /// TOML, or an indented line: printed as it is.
    Verbatim(&'a str),
    Prose(&'a str),
}

impl<'a> SampleLine<'a> {
    pub(crate) fn of(line: &'a str) -> Self {
        let Some(comment) = line.strip_prefix('#') else {
            return match line.trim() {
                "" => Self::Break,
                header if header.starts_with('[') => Self::Header(header),
                _ => Self::Verbatim(line),
            };
        };
        // A nested comment belongs to an example.
        let text = comment.strip_prefix(" #").unwrap_or(comment);
        let Some(text) = text.strip_prefix(' ') else {
            return if text.is_empty() { Self::Break } else { Self::Verbatim(line) };
        };
        match text {
            _ if text.starts_with("  ") || setting(text).is_some() => Self::Verbatim(line),
            _ if text.starts_with("---") => Self::Rule,
            _ if text.starts_with('[') && text.contains(']') => Self::header_of(line, text),
            _ => Self::Prose(text),
        }
    }

    /// A header in an example may have a comment behind it. A heading has no room for that, so such
    /// a line is printed as it is.
    fn header_of(line: &'a str, text: &'a str) -> Self {
        match text.split_once("  ") {
            Some(_) => Self::Verbatim(line),
            None => Self::Header(text),
        }
    }
}

/// The key and the value of a setting, `key = value`; `None` if the text is none.
fn setting(text: &str) -> Option<(&str, &str)> {
    let is_key = |key: &str| {
        key.starts_with(|letter: char| letter.is_ascii_lowercase())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    text.split_once(" = ").filter(|(key, _)| is_key(key))
}

/// The explanations in the sample.
#[derive(Debug, Default)]
pub(crate) struct Explanations {
    notes: Vec<Explanation>,
}

/// One explanation: of a table, or of a key.
#[derive(Debug)]
struct Explanation {
    /// The path of the table or key: `listener.limits`, `listener.limits.connections`.
    path: String,
    /// The number of the section in the file. A section may stand there several times.
    block: usize,
    /// The value as it is written; empty for a table.
    value: String,
    /// The line states the default, `#key = value`. Such a line explains a key best: the others
    /// are about one of its uses.
    states_default: bool,
    text: String,
}

impl Explanations {
    /// Reads the explanations of a commented configuration.
    pub(crate) fn read(sample: &str) -> Self {
        let mut reading = SampleReading::default();
        for line in sample.lines() {
            reading.line(line);
        }
        Self { notes: reading.notes }
    }

    /// The text about the table or key at `path`. If the sample explains it several times, the
    /// section counts in which the key `form.0` has the value `form.1`, or is there; then the line
    /// that states the default; then the first.
    pub(crate) fn of(&self, path: &str, form: Option<(&str, Option<&str>)>) -> Option<&str> {
        let section = path.split('.').next().unwrap_or_default();
        let decides = |block: usize| {
            let Some((key, value)) = form else { return false };
            let wanted = format!("{section}.{key}");
            let mut notes = self.notes.iter().filter(|note| note.block == block);
            notes.any(|note| {
                note.path == wanted
                    && value.is_none_or(|value| note.value.starts_with(&format!("{value:?}")))
            })
        };
        let notes = self.notes.iter().filter(|note| note.path == path && !note.text.is_empty());
        // The smallest is found, and of equals the first.
        let found = notes.min_by_key(|note| (!decides(note.block), !note.states_default))?;
        Some(&found.text)
    }

    /// True if the setting has a line of its own, and so should have an explanation of its own.
    pub(crate) fn has_line(&self, path: &str) -> bool {
        self.notes.iter().any(|note| note.path == path)
    }

    /// The paths of all settings, each once.
    pub(crate) fn keys(&self) -> Vec<String> {
        let settings = self.notes.iter().filter(|note| !note.value.is_empty());
        let mut keys: Vec<String> = settings.map(|note| note.path.clone()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The place of a section in the sample; sections that it does not have come last.
    pub(crate) fn place(&self, section: &str) -> usize {
        let of_it = |note: &Explanation| note.path.split('.').next() == Some(section);
        self.notes.iter().position(of_it).unwrap_or(usize::MAX)
    }
}

/// The state between two lines.
#[derive(Default)]
struct SampleReading {
    notes: Vec<Explanation>,
    /// The table that settings belong to.
    table: String,
    block: usize,
    /// Paragraphs that nothing was found for yet.
    pending: Vec<String>,
    /// True if the last line was text, so that another line goes on with it.
    is_open: bool,
    /// True if the last line was a setting, or went on with one.
    is_in_setting: bool,
}

impl SampleReading {
    fn line(&mut self, line: &str) {
        match SampleLine::of(line) {
            SampleLine::Break => {
                self.is_open = false;
                self.is_in_setting = false;
            }
            SampleLine::Rule => {
                self.pending.clear();
                self.is_open = false;
                self.is_in_setting = false;
            }
            SampleLine::Prose(text) => self.prose(text),
            SampleLine::Header(header) => self.header(header, ""),
            SampleLine::Verbatim(line) => self.verbatim(line),
        }
    }

    fn prose(&mut self, text: &str) {
        match self.pending.last_mut() {
            Some(paragraph) if self.is_open => {
                paragraph.push('\n');
                paragraph.push_str(text);
            }
            _ => self.pending.push(text.to_owned()),
        }
        self.is_open = true;
        self.is_in_setting = false;
    }

    fn header(&mut self, header: &str, comment: &str) {
        self.table = header.trim_matches(['[', ']', ' ']).to_owned();
        if !self.table.contains('.') {
            self.block += 1;
        }
        self.pending.extend((!comment.is_empty()).then(|| comment.to_owned()));
        let text = std::mem::take(&mut self.pending).join("\n\n");
        self.add(self.table.clone(), String::new(), text);
        self.is_open = false;
        self.is_in_setting = false;
    }

    /// A setting, a header with a comment, a line that goes on with a setting, or an example in a
    /// text.
    fn verbatim(&mut self, line: &str) {
        let bare = line.strip_prefix('#').unwrap_or(line);
        let bare = bare.strip_prefix(" #").unwrap_or(bare);
        let bare = bare.strip_prefix(' ').unwrap_or(bare);
        let (code, comment) = split_comment(bare);
        if bare.starts_with('[') {
            self.header(code, comment);
        } else if let Some((key, value)) = setting(bare) {
            // Only a text directly above belongs to the setting.
            let text = if self.is_open { self.pending.pop() } else { None };
            self.pending.clear();
            let text = text.into_iter().chain(sentence(comment)).collect::<Vec<_>>().join("\n");
            self.add(format!("{}.{key}", self.table), value.to_owned(), text);
            if let (Some(note), true) =
                (self.notes.last_mut(), line.starts_with(&format!("#{key}")))
            {
                note.states_default = true;
            }
            self.is_open = false;
            self.is_in_setting = true;
        } else if self.is_in_setting {
            let Some(note) = self.notes.last_mut() else { return };
            if let Some(comment) = sentence(comment) {
                note.text.push_str(if note.text.is_empty() { "" } else { "\n" });
                note.text.push_str(&comment);
            }
        } else if self.is_open {
            self.prose(&format!("`{}`", code.trim()));
        }
    }

    /// Adds a text. A key that stands twice in a row, with two examples, is explained by both.
    fn add(&mut self, path: String, value: String, text: String) {
        match self.notes.last_mut() {
            Some(last) if last.path == path && last.block == self.block => {
                last.text.push_str(if text.is_empty() { "" } else { "\n" });
                last.text.push_str(&text);
            }
            _ => self.notes.push(Explanation {
                path,
                block: self.block,
                value,
                states_default: false,
                text,
            }),
        }
    }
}

fn sentence(comment: &str) -> Option<String> {
    (!comment.is_empty()).then(|| comment.to_owned())
}

/// The setting and the comment behind it, which is at least two spaces away.
fn split_comment(line: &str) -> (&str, &str) {
    let comment = line.trim_start().strip_prefix("# ");
    if let Some(comment) = comment {
        return ("", comment.trim());
    }
    match line.split_once("  # ") {
        Some((code, comment)) => (code.trim_end(), comment.trim()),
        None => (line, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# A head.
# -----
# About the table.

[table]
# Above,
# in two lines.
#one = 1
# two = 2            # Behind,
#                    # in two lines.
# Nobody's text.

#three = { a = 1,
#          b = 2 }   # After the end.
# [[many]]
# kind = \"x\"
# key = 1            # of x
#
# [[many]]
# kind = \"y\"
# key = 1            # of y
";

    #[test]
    fn a_text_belongs_to_what_it_stands_above_or_behind() {
        let read = Explanations::read(TEXT);

        for (path, text) in [
            ("table", "About the table."),
            ("table.one", "Above,\nin two lines."),
            ("table.two", "Behind,\nin two lines."),
            ("table.three", "After the end."),
            ("many.key", "of x"),
        ] {
            assert_eq!(read.of(path, None), Some(text), "{path}");
        }
        assert_eq!(read.of("many.key", Some(("kind", Some("y")))), Some("of y"));
        assert_eq!(read.of("table.four", None), None);
        assert!(read.place("table") < read.place("many"));
    }
}
