//! What somebody may have meant.

/// The name that differs least from `wanted`, if it is near enough to be a typing error or one begins with the other.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &&str| strsim::jaro_winkler(wanted, name) > 0.8 || name.starts_with(wanted);
    names
        .into_iter()
        .filter(near)
        .max_by(|a, b| strsim::jaro_winkler(wanted, a).total_cmp(&strsim::jaro_winkler(wanted, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised_and_other_names_are_not() {
        let names = ["llama-3-8b", "mistral", "whisper-large"];
        for (wanted, want) in [
            ("lama-3-8b", Some("llama-3-8b")),
            ("llama", Some("llama-3-8b")),
            ("mistrall", Some("mistral")),
            ("whisper", Some("whisper-large")),
            ("gpt2", None),
        ] {
            assert_eq!(nearest(wanted, names), want, "{wanted}");
        }
    }
}
