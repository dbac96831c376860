//! argv to exit code.

fn main() -> std::process::ExitCode {
    tidemark::cli::main()
}
