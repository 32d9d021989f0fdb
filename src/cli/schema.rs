//! `tollhouse schema`: the keys of gateway.toml, or of a dialect, for an editor or a reader.

use std::io::Write as _;

use clap::ValueEnum;

use crate::schema;

#[derive(Debug, clap::Args)]
pub(super) struct SchemaArgs {
    /// What the schema is of.
    #[arg(value_enum, default_value = "gateway")]
    of: SchemaSubject,

    /// A JSON Schema, or a page for people.
    #[arg(long, value_enum, default_value = "json")]
    format: SchemaFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaSubject {
    /// gateway.toml.
    Gateway,
    /// A `[[dialect]]`, or a file with one.
    Dialect,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaFormat {
    Json,
    Markdown,
}

/// Prints a schema. It is that of this build: of sources that were left out it has nothing.
pub(super) fn print(args: &SchemaArgs) -> std::io::Result<()> {
    let text = match (args.of, args.format) {
        (SchemaSubject::Gateway, SchemaFormat::Json) => schema::gateway_json(),
        (SchemaSubject::Gateway, SchemaFormat::Markdown) => schema::gateway_markdown(),
        (SchemaSubject::Dialect, SchemaFormat::Json) => schema::dialect_json(),
        (SchemaSubject::Dialect, SchemaFormat::Markdown) => schema::dialect_markdown(),
    };
    std::io::stdout().write_all(text.as_bytes())
}
