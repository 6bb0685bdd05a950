//! Prints `docs/reasons.md`: `cargo run -p model-core --example reasons > docs/reasons.md`.

mod page;

fn main() {
    print!("{}", page::page());
}
