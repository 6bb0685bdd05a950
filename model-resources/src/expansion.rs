//! Text that Kubernetes must not read as `$(VARIABLE)`.

/// `text` for a container's command, arguments or environment, where Kubernetes replaces `$(NAME)` and reads `$$` as
/// one `$`. After that, the container sees exactly `text`.
#[must_use]
pub fn literal(text: &str) -> String {
    text.replace('$', "$$")
}
