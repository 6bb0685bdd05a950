//! The name that a single downloaded file gets.

/// Name where the source has none that a file could have.
const FALLBACK: &str = "model";

/// The file name of an address: the last segment of its path, percent-decoded, without query and fragment.
///
/// `model` where that is empty, `.` or `..`, has a slash or a control character in it, or is not UTF-8.
#[must_use]
pub fn url_file_name(url: &str) -> String {
    let address = url.split_once("://").map_or(url, |(_, rest)| rest);
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let path = address.split_once('/').map_or("", |(_, path)| path);
    let segment = path.rsplit('/').next().unwrap_or_default();
    percent_decoded(segment).map_or_else(|| FALLBACK.to_owned(), file_name)
}

/// The file name of an S3 key: what follows its last slash. `model` where that cannot name a file.
#[must_use]
pub fn key_file_name(key: &str) -> String {
    file_name(key.rsplit('/').next().unwrap_or_default().to_owned())
}

fn file_name(name: String) -> String {
    let special = matches!(name.as_str(), "" | "." | "..");
    if special || name.contains(|c: char| c == '/' || c.is_control()) { FALLBACK.to_owned() } else { name }
}

/// `None` when the decoded bytes are not UTF-8. A `%` that two hex digits do not follow stands for itself.
fn percent_decoded(text: &str) -> Option<String> {
    let digit =
        |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            decoded.push(high * 16 + low);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_names_its_file() {
        for (url, name) in [
            ("https://example.com/a/model.gguf", "model.gguf"),
            ("https://example.com/a/model.gguf?download=true#top", "model.gguf"),
            ("https://example.com/my%20model%2Bx.bin", "my model+x.bin"),
            ("https://example.com/100%", "100%"),
            ("https://example.com/%zz", "%zz"),
            ("https://example.com/--output", "--output"),
            ("https://example.com/$(id)", "$(id)"),
            ("https://example.com", "model"),
            ("https://example.com/", "model"),
            ("https://example.com?file=/x", "model"),
            ("https://example.com/a/..", "model"),
            ("https://example.com/a/%2e%2e", "model"),
            ("https://example.com/..%2f..%2fetc%2fpasswd", "model"),
            ("https://example.com/a%00b", "model"),
            ("https://example.com/a%0Ab", "model"),
            ("https://example.com/%ff", "model"),
        ] {
            assert_eq!(url_file_name(url), name, "{url}");
        }
    }

    #[test]
    fn a_key_names_its_file() {
        for (key, name) in
            [("a/b.bin", "b.bin"), ("b.bin", "b.bin"), ("a/", "model"), ("a/..", "model"), ("a%20b", "a%20b")]
        {
            assert_eq!(key_file_name(key), name, "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_its_directory(text in ".*", path in "(/|%2f|%2e|\\.|a|%00|\\?){0,12}") {
            for name in [url_file_name(&text), url_file_name(&format!("https://h/{path}")), key_file_name(&text)] {
                prop_assert!(!name.is_empty() && name != "." && name != "..", "{name:?}");
                prop_assert!(!name.contains(['/', '\0']), "{name:?}");
            }
        }
    }
}
