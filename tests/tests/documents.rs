//! What the documents say about the binary is what it does.
//!
//! In: the table of APIs in docs/protocol.md. Out: a failure that prints the table as it should be.

use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use protocol::ApiKey;
use tests::server::{Klamm, KlammOptions, probe};

/// Key of the ApiVersions API.
const API_VERSIONS: i16 = 18;

#[test]
fn the_apis_of_the_protocol_document_are_those_served() {
    let directory = tempfile::Builder::new().prefix("klamm-documents-").tempdir().unwrap();
    compare(directory.path()).unwrap_or_else(|error| panic!("{error:#}"));
}

fn compare(directory: &Path) -> Result<()> {
    let klamm = Klamm::start(KlammOptions::in_directory(&directory.join("data")))?;
    let served = served(&klamm.address())?;
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let document = std::fs::read_to_string(document)?;
    let documented: Vec<&str> = document.lines().filter(|line| line.starts_with('|')).collect();
    let rows: Vec<&str> = documented
        .into_iter()
        .filter(|line| line.split('|').nth(2).is_some_and(is_number))
        .collect();
    ensure!(rows == served, "docs/protocol.md has to say:\n{}", served.join("\n"));
    Ok(())
}

fn is_number(cell: &str) -> bool {
    cell.trim().parse::<i16>().is_ok()
}

/// The rows of the table, by the answer to ApiVersions in version 0.
fn served(address: &str) -> Result<Vec<String>> {
    let mut stream = TcpStream::connect(address)?;
    let body = probe::answer(&mut stream, API_VERSIONS, 0, &[])?;
    let mut numbers = body.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]]));
    let mut next = || numbers.next().context("the answer is cut off");
    ensure!(next()? == 0, "an error");
    // The count has 32 bits; no one has as many APIs as would need the upper ones.
    ensure!(next()? == 0, "a count beyond all reason");
    let count = next()?;
    let mut rows = Vec::new();
    for _ in 0..count {
        let (key, oldest, newest) = (next()?, next()?, next()?);
        let name = ApiKey::try_from(key)?.name();
        rows.push(format!("| {name} | {key} | {oldest} to {newest} |"));
    }
    Ok(rows)
}
