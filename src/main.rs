//! The `cnister` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cnister::cli::main()
}
