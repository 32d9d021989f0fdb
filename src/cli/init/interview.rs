//! The questions of `tollhouse init`, each answered by a flag, by its default, or on the terminal.
//!
//! Every answer is tried at once: the configuration is made with it and checked. On the terminal a
//! wrong answer is explained and asked for again; a wrong flag ends the command. Without a terminal
//! the flags that are missing are collected and named together.

use std::path::Path;

use anyhow::anyhow;

use super::super::confirm::is_yes;
use super::super::{CommandError, environment, terminal};
use super::answers::Answers;
use super::trial::problems;

/// Upper bound in bytes of an answer: what a terminal hands on as one line.
const LONGEST_ANSWER: u64 = 4096;

/// One question.
pub(super) struct Question<'a> {
    /// The flag that answers it, as it is written: `--upstream URL`.
    pub(super) flag: &'static str,
    /// The text that the person at the terminal reads; may have several lines.
    pub(super) text: &'static str,
    /// The answer that Enter stands for. Without a terminal it is taken only if `is_optional`.
    pub(super) default: Option<&'a str>,
    /// True if the default is right where nobody is asked, or where nobody had to be asked so far.
    pub(super) is_optional: bool,
}

/// The answers so far, and how the next ones are got.
pub(super) struct Interview<'a> {
    /// Invariant: its file passes `check`, but for questions that are not finished.
    pub(super) answers: Answers,
    /// The file that is to be written; paths in it are relative to its folder.
    path: &'a Path,
    is_interactive: bool,
    /// True once a question was put. Whoever gives all that is needed as flags is asked nothing.
    has_asked: bool,
    missing: Vec<&'static str>,
}

/// Flags whose value may have a password in it by mistake.
const SECRET_FLAGS: [&str; 2] = ["--sql-url", "--ldap-bind-password"];

impl<'a> Interview<'a> {
    pub(super) fn new(answers: Answers, path: &'a Path, is_interactive: bool) -> Self {
        Self { answers, path, is_interactive, has_asked: false, missing: Vec::new() }
    }

    /// Puts the answer into the answers by `apply`, and tries the file that is made of them. The
    /// error of `apply` says what is wrong with the answer as such.
    pub(super) fn ask(
        &mut self,
        question: &Question<'_>,
        flag: Option<&str>,
        apply: impl Fn(&mut Answers, &str) -> Result<(), String>,
    ) -> Result<(), CommandError> {
        self.ask_part(question, flag, None, apply)
    }

    /// The same for an answer that a further one completes: problems of the key that ends with
    /// `unfinished` are not of this one.
    pub(super) fn ask_part(
        &mut self,
        question: &Question<'_>,
        flag: Option<&str>,
        unfinished: Option<&str>,
        apply: impl Fn(&mut Answers, &str) -> Result<(), String>,
    ) -> Result<(), CommandError> {
        let base = self.answers.clone();
        let path = self.path;
        let accepted = self.accept(question, flag, |answer| {
            let mut next = base.clone();
            apply(&mut next, answer)?;
            let found = problems(&next, path, &environment).into_iter();
            let remedies: Vec<String> = found
                .filter(|issue| unfinished.is_none_or(|key| !issue.path.as_str().ends_with(key)))
                .map(|issue| issue.remedy)
                .collect();
            if remedies.is_empty() { Ok(next) } else { Err(remedies.join("; ")) }
        })?;
        if let Some(next) = accepted {
            self.answers = next;
        }
        Ok(())
    }

    /// Asks which of several words is meant. Without an answer the first is taken for what follows.
    pub(super) fn choose<T: Copy>(
        &mut self,
        question: &Question<'_>,
        flag: Option<&str>,
        options: &[(&str, T)],
    ) -> Result<Option<T>, CommandError> {
        self.accept(question, flag, |answer| {
            let found = options.iter().find(|(word, _)| *word == answer.trim());
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<&str> = options.iter().map(|(word, _)| *word).collect();
                format!("must be one of {}", words.join(", "))
            })
        })
    }

    /// Asks for a text that is tried together with a later one.
    pub(super) fn text(
        &mut self,
        question: &Question<'_>,
        flag: Option<&str>,
    ) -> Result<Option<String>, CommandError> {
        self.accept(question, flag, |answer| Ok(answer.trim().to_owned()))
    }

    /// Asks for yes or no on the terminal. Without one the flag alone means yes.
    pub(super) fn confirm(&mut self, question: &str, flag: bool) -> Result<bool, CommandError> {
        if flag || !self.is_interactive {
            return Ok(flag);
        }
        self.has_asked = true;
        let answer = terminal::ask(&format!("\n{question} [y/N] "), LONGEST_ANSWER)?;
        Ok(is_yes(&answer.ok_or_else(ended)?))
    }

    /// Names all flags that would have answered a question, if there are any.
    pub(super) fn finish(self) -> Result<Answers, CommandError> {
        if self.missing.is_empty() {
            return Ok(self.answers);
        }
        Err(CommandError::Usage(anyhow!(
            "there is no terminal to ask on, and these are missing: {} (init --sample writes the \
             complete sample instead)",
            self.missing.join(", ")
        )))
    }

    /// The answer as `accept` reads it. `None` if it is missing, which is remembered.
    fn accept<T>(
        &mut self,
        question: &Question<'_>,
        flag: Option<&str>,
        accept: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, CommandError> {
        let taken = match flag {
            Some(_) => flag,
            None if self.is_interactive && (self.has_asked || !question.is_optional) => {
                self.has_asked = true;
                return self.ask_terminal(question, &accept).map(Some);
            }
            None => question.default.filter(|_| question.is_optional),
        };
        let Some(answer) = taken else {
            self.missing.push(question.flag);
            return Ok(None);
        };
        let accepted = accept(answer).map_err(|why| {
            let name = question.flag.split(' ').next().unwrap_or_default();
            CommandError::Usage(anyhow!("{name}: {} {why}", repeated(question, answer)))
        });
        accepted.map(Some)
    }

    /// Asks until there is an answer that is accepted. It ends with the input.
    fn ask_terminal<T>(
        &self,
        question: &Question<'_>,
        accept: &impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, CommandError> {
        terminal::tell(&format!("\n{}", question.text))?;
        let prompt = match question.default {
            Some(default) => format!("[{default}] > "),
            None => "> ".to_owned(),
        };
        loop {
            let typed = terminal::ask(&prompt, LONGEST_ANSWER)?.ok_or_else(ended)?;
            let answer = match (typed.trim(), question.default) {
                ("", Some(default)) => default,
                ("", None) => {
                    terminal::tell("There is no default for this.")?;
                    continue;
                }
                (typed, _) => typed,
            };
            match accept(answer) {
                Ok(accepted) => return Ok(accepted),
                Err(why) => terminal::tell(&format!("{} {why}.", repeated(question, answer)))?,
            }
        }
    }
}

/// A wrong answer as messages repeat it. One that may be a password in the wrong place is not
/// repeated, since messages end up in logs.
fn repeated(question: &Question<'_>, answer: &str) -> String {
    if SECRET_FLAGS.iter().any(|flag| question.flag.starts_with(flag)) {
        return "the answer".to_owned();
    }
    format!("`{}`", answer.escape_debug())
}

fn ended() -> CommandError {
    CommandError::Other(anyhow!("the answers ended, and nothing was written"))
}
