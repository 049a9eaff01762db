//! The `touchstone` command.
#![forbid(unsafe_code)]

mod commands;

use clap::{Parser, Subcommand};
use grading::{doctor, run};
use std::path::Path;
use std::process::ExitCode;

/// Our own fault, by sysexits.
const EX_SOFTWARE: u8 = 70;

#[derive(Parser)]
#[command(
    name = "touchstone",
    version,
    about = "Tests GPU kernels against float64 oracles"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what this machine has of what the project can use, and how to get the rest
    Doctor {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a kernel of a PTX file on the CPU, with every access checked
    #[command(
        after_help = "Exit codes: 0 ran clean; 1 the program is at fault; 2 usage; \
        3 unsupported; 4 a limit; 70 our own bug."
    )]
    Run(Box<run::RunArguments>),
    /// List the tasks
    Tasks {
        /// As JSON: the whole contracts
        #[arg(long)]
        json: bool,
    },
    /// Print a task's contract, complete enough to implement from
    Explain {
        /// The task
        task: String,
    },
    /// Grade an implementation
    #[command(
        after_help = "Exit codes: 0 all pass; 1 something is wrong; 2 usage or manifest; \
        3 nothing was graded; 4 the sandbox could not be set up; 70 our own bug."
    )]
    Grade(commands::grade::GradeArguments),
    /// Repeat one check with one seed and one set of sizes, as a report prints it
    Replay(commands::replay::ReplayArguments),
    /// Count what a task's kernels cost, line by line, and how far that is from the floor
    #[command(
        after_help = "Exit codes: 0 counted, and right; 1 the program is at fault, or its answer is \
        wrong; 2 usage; 3 unsupported; 4 a limit; 70 our own bug."
    )]
    Profile(commands::profile::ProfileArguments),
    /// Draw results of benches: rooflines, ratios to peers, history by commit
    #[command(
        after_help = "Exit codes: 0 drawn; 2 usage, or a file that is none; 3 nothing to draw."
    )]
    Plot(commands::plot::PlotArguments),
    /// Write a submission that runs and answers zeros: where the work begins
    New(commands::new::NewArguments),
    /// Make small mistakes in our own kernels and see which ones grading finds
    #[command(
        after_help = "Exit codes: 0 at least 97% are found; 1 fewer, or grading/mutants.toml \
        is wrong; 2 usage."
    )]
    Mutate(commands::mutate::MutateArguments),
}

fn main() -> ExitCode {
    if let Some(code) = grading::lane::process::launcher::entered() {
        return code;
    }
    // A panic is our own fault, whatever the command was; it has its own exit code.
    std::panic::catch_unwind(main_or_panic).unwrap_or_else(|_| {
        eprintln!("touchstone: this is a bug of touchstone's, not of the program it was given");
        ExitCode::from(EX_SOFTWARE)
    })
}

fn main_or_panic() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => match run::run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(error.exit_code())
            }
        },
        Command::Tasks { json } => commands::tasks::tasks(json),
        Command::Explain { task } => commands::tasks::explain(&task),
        Command::Grade(arguments) => commands::grade::grade(&arguments),
        Command::Profile(arguments) => commands::profile::profile(&arguments),
        Command::Plot(arguments) => commands::plot::plot(&arguments),
        Command::New(arguments) => commands::new::new(&arguments),
        Command::Mutate(arguments) => commands::mutate::mutate(&arguments),
        Command::Replay(arguments) => commands::replay::replay(&arguments),
        Command::Doctor { json } => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let target = root.parent().unwrap_or(root).join("target");
            let report = doctor::Report::examine(&target);
            if !json {
                print!("{report}");
                return ExitCode::SUCCESS;
            }
            match serde_json::to_string_pretty(&report) {
                Ok(text) => {
                    println!("{text}");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("touchstone: the report cannot be written as JSON: {error}");
                    ExitCode::from(EX_SOFTWARE)
                }
            }
        }
    }
}
