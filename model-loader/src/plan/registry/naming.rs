//! Names for blobs that have none, by their kind.

use std::collections::{BTreeMap, BTreeSet};

/// Gives out names: the first of a kind is `model.gguf`, the next ones `model-2.gguf`, `model-3.gguf`.
#[derive(Default)]
pub(in crate::plan) struct Naming {
    taken: BTreeSet<String>,
    /// The number that was given last, by name.
    last: BTreeMap<String, usize>,
}

impl Naming {
    /// Keeps a name from being given out.
    pub(in crate::plan) fn take(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// The next free name of this kind.
    pub(in crate::plan) fn next(&mut self, plain: &str) -> String {
        let number = self.last.entry(plain.to_owned()).or_default();
        loop {
            *number += 1;
            let name = numbered(plain, *number);
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

fn numbered(plain: &str, number: usize) -> String {
    match (number, plain.rsplit_once('.')) {
        (1, _) => plain.to_owned(),
        (_, Some((stem, extension))) => format!("{stem}-{number}.{extension}"),
        (_, None) => format!("{plain}-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_once() {
        let mut naming = Naming::default();
        naming.take("license");
        naming.take("model-2.gguf");
        let given: Vec<_> = ["model.gguf", "model.gguf", "license", "model.gguf", "license"]
            .iter()
            .map(|plain| naming.next(plain))
            .collect();
        assert_eq!(given, ["model.gguf", "model-3.gguf", "license-2", "model-4.gguf", "license-3"]);
    }
}
