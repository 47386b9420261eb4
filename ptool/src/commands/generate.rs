//! `generate`: manual pages and completions, made from the definition of the command line.

use std::path::Path;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::cli::shell::GenerateWhat;
use crate::errors::Failure;
use crate::output;

pub(super) fn generate(what: &GenerateWhat) -> Result<(), Failure> {
    match what {
        GenerateWhat::Man { directory } => man(directory),
        GenerateWhat::Completions { shell } => {
            let mut command = Cli::command();
            let name = command.get_name().to_owned();
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut command, name, &mut text);
            output::print_text(&String::from_utf8_lossy(&text))
        }
    }
}

/// One page for the program and one for each verb.
fn man(directory: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::general(format!("{} cannot be written: {error}", directory.display()), "Name another directory.")
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)
}
