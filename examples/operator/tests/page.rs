//! `docs/embedding.md` shows this example, and the other one, as they are.

use std::fs;
use std::path::Path;

#[test]
fn what_the_page_shows_is_in_the_examples() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let page = fs::read_to_string(docs.join("embedding.md")).unwrap();
    let mut parts = page.split("```rust\n");
    let mut before = parts.next().unwrap().to_owned();
    let mut shown = 0;
    for part in parts {
        let (code, after) = part.split_once("```").unwrap();
        // The last link before the code says where it is from.
        let (_, link) = before.rsplit_once("](../examples/").unwrap();
        let file = link.split_once(')').unwrap().0;
        let source = fs::read_to_string(docs.join("../examples").join(file)).unwrap();
        assert!(source.contains(code), "{file} has no longer:\n{code}");
        before.push_str(after);
        shown += 1;
    }
    assert_eq!(shown, 5);
}
