//! The form in which a command prints its result, the same for every command.

use clap::{Args, ValueEnum};

/// Whether a result is for a person or for a program.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct FormatArgs {
    /// For a person, or for a program; of a list, JSON is an object a line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: PrintFormat,

    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum PrintFormat {
    #[default]
    Human,
    Json,
}

impl FormatArgs {
    /// True if the result is for a program.
    pub fn is_json(self) -> bool {
        self.json || self.format == PrintFormat::Json
    }
}
