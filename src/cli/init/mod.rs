//! `tollhouse init`: a gateway.toml from a few answers, or the complete sample.
//!
//! Answers come from flags or, on a terminal, from questions. What is written passes `check`, and no
//! file that exists is overwritten. `template` makes the text, `trial` judges it; nothing of the
//! running gateway is touched.

mod answers;
mod args;
mod deployment;
mod interview;
mod questions;
mod template;
#[cfg(test)]
mod tests;
mod trial;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

pub(super) use self::args::InitArgs;
use self::interview::Interview;
use super::place::GatewayPlace;
use super::{CommandError, SAMPLE, environment, say, terminal};

/// A file that `init` writes.
struct NewFile {
    path: PathBuf,
    text: String,
}

/// The sample for a folder of an operator's, where the schema is beside it. In the repository the
/// schema is in `docs`.
fn sample() -> String {
    SAMPLE.replacen("#:schema docs/", "#:schema ", 1)
}

/// Writes the files, or prints them. Their paths are printed, since a relative one may be somewhere
/// else than expected.
pub(super) fn init(args: &InitArgs, place: &GatewayPlace) -> Result<(), CommandError> {
    let path = place.config.as_path();
    if args.sample {
        let sample = NewFile { path: path.to_owned(), text: sample() };
        return deliver(&[sample], args.print);
    }
    if !args.print {
        // Nobody should answer questions in vain.
        refuse_existing(path)?;
    }
    let files = answered(args, place)?;
    deliver(&files, args.print)?;
    if !args.print && terminal::is_interactive() {
        terminal::tell(deployment::next_steps(args))?;
    }
    Ok(())
}

/// Asks, and makes the files of the answers.
fn answered(args: &InitArgs, place: &GatewayPlace) -> Result<Vec<NewFile>, CommandError> {
    let path = place.config.as_path();
    let mut interview =
        Interview::new(questions::first_answers(args, place), path, terminal::is_interactive());
    questions::ask_all(&mut interview, args, path)?;
    let answers = interview.finish()?;
    // Each answer was tried with those before it. This is all of them together.
    let problems = trial::problems(&answers, path, &environment);
    if let Some(problem) = problems.first() {
        return Err(CommandError::Usage(anyhow!("these answers do not fit together: {problem}")));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let config = NewFile { path: path.to_owned(), text: template::gateway_toml(&answers) };
    let mut files = vec![config];
    if args.systemd {
        let path_of_unit = std::path::absolute(path)?;
        files.push(NewFile {
            path: folder.join(deployment::DROP_IN),
            text: deployment::drop_in(&answers, &path_of_unit),
        });
    }
    if args.compose {
        files.push(NewFile {
            path: folder.join(deployment::COMPOSE),
            text: deployment::compose(&answers, path),
        });
    }
    Ok(files)
}

fn refuse_existing(path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(anyhow!("{} was not written: it exists already", path.display()));
    }
    Ok(())
}

/// Prints the files, or writes all of them or none. A file that exists stays as it is.
fn deliver(files: &[NewFile], only_print: bool) -> Result<(), CommandError> {
    if only_print {
        let texts: Vec<&str> = files.iter().map(|file| file.text.trim_end()).collect();
        return Ok(say(texts.join("\n\n"))?);
    }
    for file in files {
        refuse_existing(&file.path)?;
    }
    for file in files {
        write_new(file).with_context(|| format!("{} was not written", file.path.display()))?;
        say(file.path.display())?;
    }
    Ok(())
}

/// Creates the file. One call checks and creates: if the two were separate, a file that appears in
/// between would be overwritten. Only the folder of a drop-in is made; that of the configuration
/// has to exist.
fn write_new(file: &NewFile) -> std::io::Result<()> {
    if file.path.ends_with(deployment::DROP_IN)
        && let Some(folder) = file.path.parent()
    {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::File::create_new(&file.path)?.write_all(file.text.as_bytes())
}
