//! Measures Celeriac beside what it replaces and prints the tables; `tests/benches/run` installs what this needs.

mod consumer;
mod fill;
mod ingest;
mod memory;
mod publish;
mod query;
mod stream;
mod swarm;
mod table;
mod usage;

use anyhow::{Context, Result, bail};

/// How much is measured.
struct Size {
    ingest: ingest::Size,
    finished: u64,
    unfinished: u64,
    pages: usize,
    swarm: swarm::Size,
}

const FULL: Size = Size {
    ingest: ingest::Size::FULL,
    finished: 1_000_000,
    unfinished: 100_000,
    pages: 100,
    swarm: swarm::Size::FULL,
};
const QUICK: Size = Size {
    ingest: ingest::Size::QUICK,
    finished: 200_000,
    unfinished: 50_000,
    pages: 20,
    swarm: swarm::Size::QUICK,
};
/// Shows that everything works, and measures nothing.
const SMOKE: Size = Size {
    ingest: ingest::Size::SMOKE,
    finished: 4_000,
    unfinished: 2_000,
    pages: 2,
    swarm: swarm::Size::SMOKE,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["floor", redis] = words[..] {
        return publish::floor(redis.parse()?);
    }
    let mut size = FULL;
    let mut only = "abce";
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word {
            "--quick" => size = QUICK,
            "--smoke" => size = SMOKE,
            "--own" => size.ingest.peers = false,
            "--only" => only = words.next().context("--only a, b, c or e")?,
            // Cargo says this to every bench.
            "--bench" => {}
            _ => bail!("unknown argument {word}"),
        }
    }
    println!("{}", table::machine()?);
    tokio::runtime::Runtime::new()?.block_on(measure(&size, only))
}

async fn measure(size: &Size, only: &str) -> Result<()> {
    if only.contains('a') {
        println!("\n{}", ingest::measure(&size.ingest).await?);
    }
    // Both need the same full history.
    if only.contains('b') || only.contains('c') {
        let profile = size.ingest.profile;
        let (aggregator, mut filler, memory) =
            memory::measure(size.finished, size.unfinished, profile).await?;
        println!("\n{memory}");
        if only.contains('c') {
            let all = size.finished + size.unfinished;
            filler.fill(all, false).await?;
            println!("\n{}", query::measure(&aggregator, size.pages).await?);
            println!("{}", query::scan(&aggregator).await?);
        }
    }
    if only.contains('e') {
        println!("\n{}", swarm::measure(&size.swarm).await?);
    }
    Ok(())
}
