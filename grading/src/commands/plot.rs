//! `touchstone plot`.

use super::USAGE;
use clap::Args;
use grading::profile::{charts, results};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct PlotArguments {
    /// Results files: benches/results/*.json
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The folder that pictures are written to
    #[arg(long, value_name = "DIR", default_value = "plots")]
    out: PathBuf,
}

pub(crate) fn plot(arguments: &PlotArguments) -> ExitCode {
    let mut read = Vec::new();
    for file in &arguments.files {
        match results::read(file) {
            Ok(results) => read.push(results),
            Err(error) => {
                eprintln!("touchstone: {error}");
                return ExitCode::from(USAGE);
            }
        }
    }
    let (charts, blank) = match charts::charts(read) {
        Ok(drawn) => drawn,
        Err(error) => {
            eprintln!("touchstone: {error}");
            return ExitCode::from(crate::EX_SOFTWARE);
        }
    };
    let made = std::fs::create_dir_all(&arguments.out);
    if let Err(error) = made {
        eprintln!("touchstone: {}: {error}", arguments.out.display());
        return ExitCode::from(USAGE);
    }
    for chart in &charts {
        let path = arguments.out.join(&chart.file);
        if let Err(error) = std::fs::write(&path, &chart.svg) {
            eprintln!("touchstone: {}: {error}", path.display());
            return ExitCode::from(USAGE);
        }
        println!("{}", path.display());
    }
    for why in &blank {
        println!("not drawn: {why}");
    }
    ExitCode::from(if charts.is_empty() { 3 } else { 0 })
}
