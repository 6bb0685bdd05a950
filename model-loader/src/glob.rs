//! Include and exclude patterns with the meaning that `huggingface_hub` gives them.
//!
//! Patterns are those of Python's `fnmatch`: `*` stands for any characters, `/` among them, `?` for one, `[…]` for one of
//! a set, `[!…]` for one outside of it. A pattern that ends in `/` means everything below that directory.

/// Which files of a source are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Patterns {
    /// Files that match one of `include`, or all files where it is empty, without those that match one of `exclude`.
    #[must_use]
    pub fn new(include: &[String], exclude: &[String]) -> Self {
        let whole = |pattern: &String| if pattern.ends_with('/') { format!("{pattern}*") } else { pattern.clone() };
        Self { include: include.iter().map(whole).collect(), exclude: exclude.iter().map(whole).collect() }
    }

    /// Whether the file of this name is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// Whether the whole name matches one pattern.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let tokens = parse(pattern);
    let name: Vec<char> = name.chars().collect();
    let (mut at_token, mut at_char) = (0, 0);
    // The last star seen and how much of the name it has swallowed. Only that one ever needs to be reconsidered.
    let mut star = None;
    while at_char < name.len() {
        match tokens.get(at_token) {
            Some(Token::Star) => {
                star = Some((at_token, at_char));
                at_token += 1;
            }
            Some(Token::One(set)) if set.holds(name[at_char]) => {
                at_token += 1;
                at_char += 1;
            }
            _ => {
                let Some((token, swallowed)) = star else { return false };
                star = Some((token, swallowed + 1));
                at_token = token + 1;
                at_char = swallowed + 1;
            }
        }
    }
    tokens[at_token..].iter().all(|token| matches!(token, Token::Star))
}

enum Token {
    Star,
    One(Set),
}

enum Set {
    Any,
    Char(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Set {
    fn holds(&self, c: char) -> bool {
        match self {
            Self::Any => true,
            Self::Char(own) => *own == c,
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

fn parse(pattern: &str) -> Vec<Token> {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < pattern.len() {
        let c = pattern[at];
        at += 1;
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::One(Set::Any),
            '[' => match class(&pattern[at..]) {
                Some((set, length)) => {
                    at += length;
                    Token::One(set)
                }
                // A bracket that nothing closes stands for itself.
                None => Token::One(Set::Char('[')),
            },
            c => Token::One(Set::Char(c)),
        });
    }
    tokens
}

/// Reads a set after its `[`: the set and the number of characters it takes, the `]` included.
fn class(rest: &[char]) -> Option<(Set, usize)> {
    let negated = rest.first() == Some(&'!');
    let start = usize::from(negated);
    // A bracket in first place belongs to the set.
    let first = start + usize::from(rest.get(start) == Some(&']'));
    let end = first + rest.get(first..)?.iter().position(|c| *c == ']')?;
    let mut ranges = Vec::new();
    let mut at = start;
    while at < end {
        if at + 2 < end && rest[at + 1] == '-' {
            ranges.push((rest[at], rest[at + 2]));
            at += 3;
        } else {
            ranges.push((rest[at], rest[at]));
            at += 1;
        }
    }
    Some((Set::Class { negated, ranges }, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_pythons_fnmatch_does() {
        // Each row was checked against Python's `fnmatch.fnmatch`.
        for (pattern, name, wanted) in [
            ("*.safetensors", "model.safetensors", true),
            ("*.safetensors", "a/b/model.safetensors", true),
            ("*.safetensors", "model.safetensors.index.json", false),
            ("onnx/*", "onnx/a/b", true),
            ("onnx/*", "x/onnx/a", false),
            ("onnx", "onnx/a", false),
            ("**/a", "x/y/a", true),
            ("**/a", "a", false),
            ("?", "/", true),
            ("?", "", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("[abc].txt", "b.txt", true),
            ("[!abc].txt", "b.txt", false),
            ("[!abc].txt", "d.txt", true),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", false),
            ("[!c-a]x", "bx", true),
            ("[]]", "]", true),
            ("[!]]", "]", false),
            ("[", "[", true),
            ("[a", "[a", true),
            ("[]", "[]", true),
            ("[!]", "[!]", true),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[--0]", ".", true),
            ("[^a]", "^", true),
            ("[a-c-e]", "-", true),
            ("[a-c-e]", "d", false),
            ("[\\]", "\\", true),
            ("a.b", "aXb", false),
            ("{a,b}", "a", false),
            ("*.BIN", "x.bin", false),
            ("ü?", "üñ", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn excludes_win_and_a_slash_means_all_below() {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let patterns = Patterns::new(&own(&["*.json", "onnx/"]), &own(&["onnx/big/", "secret.json"]));
        assert!(patterns.wants("config.json"));
        assert!(patterns.wants("onnx/model.onnx"));
        assert!(!patterns.wants("onnx/big/model.onnx"));
        assert!(!patterns.wants("secret.json"));
        assert!(!patterns.wants("model.bin"));
        assert!(Patterns::default().wants("anything"));
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_and_stars(name in "[a-z/._-]{0,20}", at in 0usize..20) {
            prop_assert!(matches(&name, &name));
            let at = at.min(name.len());
            let starred = format!("{}*{}", &name[..at], &name[at..]);
            prop_assert!(matches(&starred, &name));
        }

        #[test]
        fn any_pattern_ends(pattern in "[*?\\[\\]!a-c-]{0,24}", name in "[abc\\[\\]-]{0,24}") {
            let _ = matches(&pattern, &name);
        }
    }
}
