//! The benchmark; as `dlock-bench sample ..` it is one of its own children.

use std::env;
use std::process::ExitCode;

use dlock_bench::{Options, measure, report, run};
use dlock_bench_child::{Result, Sample, runtime};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("sample") => child(&arguments[1..]),
        _ => parent(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parent(arguments: &[String]) -> Result<()> {
    let Some(options) = Options::parse(arguments)? else {
        println!("{}", Options::HELP);
        return Ok(());
    };
    let results = measure(&options)?;
    print!("{}", report(&options, &results)?);
    Ok(())
}

fn child(arguments: &[String]) -> Result<()> {
    let sample = arguments.first().ok_or("a sample is missing")?;
    let sample: Sample = serde_json::from_str(sample)?;
    let outcome = runtime(&sample)?.block_on(run(&sample))?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}
