//! `generate`: manual pages and completions, made from the definition of the command line.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

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
            let text = String::from_utf8_lossy(&text);
            match shell {
                Shell::Bash => output::print_text(&with_equals_signs(&text)),
                _ => output::print_text(&text),
            }
        }
    }
}

/// To bash an equals sign is a word, and what follows it another: the generated function then knows no option before the value.
const BY_WORDS: &str = r#"
_ptool_by_words() {
    local cur="$2" prev="$3"
    [[ $cur != = ]] || cur=
    [[ $prev != = ]] || prev="${COMP_WORDS[COMP_CWORD-2]}"
    _ptool "$1" "$cur" "$prev"
}
"#;

fn with_equals_signs(completions: &str) -> String {
    let text = completions.replace("complete -F _ptool ", "complete -F _ptool_by_words ");
    match text.find("\nif [[ \"${BASH_VERSINFO[0]}\" -eq 4") {
        Some(at) => {
            let (function, registration) = text.split_at(at);
            format!("{function}{BY_WORDS}{registration}")
        }
        None => text + BY_WORDS,
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
