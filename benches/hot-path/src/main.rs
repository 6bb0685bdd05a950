//! Runs one case so many times, to be looked at from outside: `bench-hot-path CASE TIMES`. Without arguments it lists the
//! cases.

use anyhow::{Context as _, bail};
use bench_hot_path::cases;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for case in cases() {
            println!("{}", case.name);
        }
        return Ok(());
    };
    let times: u32 = arguments.next().and_then(|times| times.parse().ok()).context("how many times?")?;
    let Some(case) = cases().into_iter().find(|case| case.name == name) else { bail!("there is no case {name}") };
    for _ in 0..times {
        case.run();
    }
    Ok(())
}
