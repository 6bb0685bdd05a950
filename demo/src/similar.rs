//! What the demo makes of embeddings: how alike the sentences are, as a table.

use std::fmt::Write as _;

use e2e::embedding::similarity;

/// The sentences under letters, and how alike each two are: 1 is the same, 0 has nothing in common.
pub fn table(texts: &[&str], embeddings: &[Vec<f32>]) -> String {
    let letters = || 'A'..;
    let mut table = String::new();
    for (letter, text) in letters().zip(texts) {
        let _ = writeln!(table, "{letter}  {text}");
    }
    let _ = write!(table, "\nalike ");
    for (letter, _) in letters().zip(texts) {
        let _ = write!(table, "{letter:>8}");
    }
    for (letter, one) in letters().zip(embeddings) {
        let _ = write!(table, "\n{letter:>6}");
        for other in embeddings {
            let _ = write!(table, "{:>8.2}", similarity(one, other));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_how_alike_sentences_are() {
        let embeddings = [vec![1.0, 0.0], vec![0.6, 0.8]];
        let wanted =
            ["A  one", "B  two", "", "alike        A       B", "     A    1.00    0.60", "     B    0.60    1.00"];
        assert_eq!(table(&["one", "two"], &embeddings), wanted.join("\n"));
    }
}
