//! Everything that CI does, as one program.

mod codegen;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("generate") => codegen::run(arguments.iter().any(|argument| argument == "--check")),
        _ => anyhow::bail!("usage: cargo ci generate [--check]"),
    }
}
