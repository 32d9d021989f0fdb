//! A page of the book, taken apart: its fenced blocks, and what the marks above them say.

use std::path::{Path, PathBuf};

use crate::harness::process::root;

/// A Markdown file.
pub struct Page {
    /// Its path from the repository's root.
    pub name: String,
    pub text: String,
    pub blocks: Vec<Block>,
}

/// A fenced block.
pub struct Block {
    /// The line of its opening fence.
    pub line: usize,
    pub language: String,
    pub text: String,
    pub marks: Vec<Mark>,
    /// Nothing stands between it and the block above.
    pub follows: bool,
}

/// What an HTML comment directly above a block tells the test.
#[derive(Debug)]
pub enum Mark {
    /// It cannot be run or checked in a test, for this reason.
    NotRun(String),
    /// It is written to this file of the page's folder.
    File(String),
    /// The same, and a gateway is started on it.
    Serve(String),
    /// The last command of the block ends with this status.
    Exits(i32),
    /// `check` has this warning of it.
    Warns(String),
}

impl Page {
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        Self::parse(&name, &text).unwrap_or_else(|wrong| panic!("{name}:{wrong}"))
    }

    /// A page of this text, or the line at which it is none.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        Ok(Self { name: name.to_owned(), text: text.to_owned(), blocks: blocks(text)? })
    }

    /// Every page of `docs/`, decisions included.
    pub fn book() -> Vec<Self> {
        let mut paths = Vec::new();
        collect(&root().join("docs"), &mut paths);
        paths.sort();
        paths.iter().map(|path| Self::load(path)).collect()
    }

    /// Documents beside the book.
    pub fn documents() -> Vec<Self> {
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benches/README.md"]
            .map(|name| Self::load(&root().join(name)))
            .into()
    }

    /// Where a block is, as an editor takes it.
    pub fn place(&self, block: &Block) -> String {
        format!("{}:{}", self.name, block.line)
    }
}

impl Block {
    pub fn is(&self, language: &str) -> bool {
        self.language == language
    }

    pub fn not_run(&self) -> Option<&str> {
        self.marks.iter().find_map(|mark| match mark {
            Mark::NotRun(reason) => Some(reason.as_str()),
            _ => None,
        })
    }

    /// The file that it is written to.
    pub fn file(&self) -> Option<&str> {
        self.marks.iter().find_map(|mark| match mark {
            Mark::File(path) | Mark::Serve(path) => Some(path.as_str()),
            _ => None,
        })
    }

    pub fn is_served(&self) -> bool {
        self.marks.iter().any(|mark| matches!(mark, Mark::Serve(_)))
    }

    /// A gateway.toml from its first line to its last; a listener alone is a part of one.
    pub fn is_whole_configuration(&self) -> bool {
        self.is("toml") && self.text.contains("[[listener]]") && self.text.contains("[token]")
    }

    pub fn exits(&self) -> Option<i32> {
        self.marks.iter().find_map(|mark| match mark {
            Mark::Exits(status) => Some(*status),
            _ => None,
        })
    }

    pub fn warns_of(&self, name: &str) -> bool {
        self.marks.iter().any(|mark| matches!(mark, Mark::Warns(named) if named == name))
    }
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|end| end == "md") {
            paths.push(path);
        }
    }
}

fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut marks = Vec::new();
    let mut follows = false;
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let words = line.trim_start();
        if let Some(language) = words.strip_prefix("```") {
            let indent = line.len() - words.len();
            let mut content = String::new();
            loop {
                let Some((line, _)) = lines.next() else {
                    return Err(format!("{number}: the block has no end"));
                };
                if line.trim() == "```" {
                    break;
                }
                content.push_str(line.get(indent..).unwrap_or_else(|| line.trim_start()));
                content.push('\n');
            }
            let (language, marks) = (language.trim().to_owned(), std::mem::take(&mut marks));
            blocks.push(Block { line: number, language, text: content, marks, follows });
            follows = true;
        } else if let Some(comment) = words.strip_prefix("<!--") {
            let comment = comment.strip_suffix("-->").map(str::trim);
            let mark = comment.map(mark).transpose();
            marks.extend(mark.map_err(|wrong| format!("{number}: {wrong}"))?);
        } else if !words.is_empty() {
            marks.clear();
            follows = false;
        }
    }
    Ok(blocks)
}

fn mark(comment: &str) -> Result<Mark, String> {
    if let Some(status) = comment.strip_prefix("exits ") {
        return status
            .parse()
            .map(Mark::Exits)
            .map_err(|_| format!("`{comment}`: exits with what?"));
    }
    let (name, value) = comment.split_once(':').unwrap_or((comment, ""));
    let value = value.trim().to_owned();
    match name {
        "not run" if !value.is_empty() => Ok(Mark::NotRun(value)),
        "file" if !value.is_empty() => Ok(Mark::File(value)),
        "serve" if value.is_empty() => Ok(Mark::Serve("gateway.toml".to_owned())),
        "serve" => Ok(Mark::Serve(value)),
        "warns" if !value.is_empty() => Ok(Mark::Warns(value)),
        _ => Err(format!("the comment `{comment}` is none that the tests know")),
    }
}
