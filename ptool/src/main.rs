//! `ptool`: makes and manages tokens from the command line. Every verb is a call into the token's administration, the code
//! the PKCS#11 module runs too, so that this program can do nothing the module does not understand.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod errors;
mod output;
mod pins;
mod progress;
mod terminal;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(&cli, &mut pins::Process) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when standard error is gone; the status still says it.
            let _ = writeln!(std::io::stderr().lock(), "{failure}");
            failure.status.into()
        }
    }
}
