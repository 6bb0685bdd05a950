//! The plugin's binary: reads the command line, runs the library, gives the exit code.

use std::process::ExitCode;

use clap::Parser as _;
use kubectl_model::Cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // A command line that cannot be read ends here, with exit code 2.
    let cli = Cli::parse();
    kubectl_model::run(cli).await
}
