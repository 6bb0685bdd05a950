//! The words of a fault rule, as JSON and as Rust values.

use serde::{Deserialize, Serialize};

use crate::Origin;

/// One fault and the requests that it hits.
///
/// As JSON: `{"path": "*.safetensors", "origin": "cdn", "skip": 1, "count": 2,
/// "fault": {"status": {"code": 503}}}`. Every field but `fault` may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Glob over the request's decoded path, with its leading `/`. `*` also matches `/`, so
    /// `*.safetensors` means every such file. Default `*`.
    #[serde(default = "everything")]
    pub path: String,
    /// The server to disturb. Absent means all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The HTTP method to disturb, in capitals. Absent means all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// How many matching requests pass unharmed before the first is hit. Default 0.
    #[serde(default)]
    pub skip: u32,
    /// How many requests are hit before the rule is spent. Absent means all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// What goes wrong.
    pub fault: Fault,
}

fn everything() -> String {
    "*".to_owned()
}

impl Rule {
    /// A rule that hits every request on every server.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { path: everything(), origin: None, method: None, skip: 0, count: None, fault }
    }

    /// Narrows the rule to paths that match `glob`, see [`Rule::path`].
    #[must_use]
    pub fn path(mut self, glob: &str) -> Self {
        glob.clone_into(&mut self.path);
        self
    }

    /// Narrows the rule to one server.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Narrows the rule to one HTTP method, in capitals.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Lets the first `requests` matching requests pass unharmed.
    #[must_use]
    pub fn skip(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Ends the rule after it has hit `requests` requests.
    #[must_use]
    pub fn count(mut self, requests: u32) -> Self {
        self.count = Some(requests);
        self
    }
}

/// What goes wrong with a request or its answer.
///
/// As JSON the variant's name in `snake_case` with its fields, such as `"ignore_range"` or
/// `{"stall": {"after": 65536, "seconds": 30}}`. Byte counts are of this answer's body. Faults
/// of the body hit answers 200 and 206 to other methods than HEAD, and count those only, so
/// that the redirect before a large file does not use one up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An error instead of the file.
    Status {
        /// HTTP status, 400 to 599.
        code: u16,
        /// `Retry-After`, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
        /// The hub's `RateLimit` header with nothing remaining, reset after so many seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate_limit_reset: Option<u64>,
        /// Answer with an HTML page, as a proxy in between does, rather than plain text.
        #[serde(default)]
        html: bool,
    },
    /// 302 to the very same URL, for ever.
    RedirectLoop,
    /// Wait before anything is answered.
    Latency {
        /// Milliseconds.
        millis: u64,
    },
    /// Answer 200 with the whole file although a range was asked for.
    IgnoreRange,
    /// Another `ETag` (and `X-Linked-ETag`), as if the file had just been replaced.
    Etag {
        /// The new tag, without quotes.
        value: String,
    },
    /// End the connection within the body.
    Close {
        /// Bytes of body sent before.
        after: u64,
        /// RST instead of FIN. The client may then lose the last bytes sent.
        #[serde(default)]
        reset: bool,
    },
    /// Send nothing for a while within the body, then go on.
    Stall {
        /// Bytes of body sent before.
        after: u64,
        /// Seconds.
        seconds: f64,
    },
    /// Flip the lowest bit of one byte. Counts only answers that hold that byte.
    Flip {
        /// Offset in the file, whatever range was asked for.
        offset: u64,
    },
    /// State a wrong `Content-Length`. Too large: the connection ends early. Too small: the
    /// answer looks whole and is not.
    ContentLength {
        /// Bytes added to the true length.
        delta: i64,
    },
    /// Leave `Content-Length` out and end the body early but neatly.
    Truncate {
        /// Bytes of body sent.
        after: u64,
    },
    /// Send slowly. Answers on one connection share the rate.
    Rate {
        /// Bytes per second on one connection, at least 1.
        bytes_per_second: u64,
    },
}

impl Fault {
    /// Whether the fault is applied once the answer is known, rather than to the request.
    pub(crate) fn is_of_answer(&self) -> bool {
        match self {
            Self::Status { .. } | Self::RedirectLoop | Self::Latency { .. } | Self::IgnoreRange => false,
            Self::Etag { .. }
            | Self::Close { .. }
            | Self::Stall { .. }
            | Self::Flip { .. }
            | Self::ContentLength { .. }
            | Self::Truncate { .. }
            | Self::Rate { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_json_is_what_is_read() {
        for (json, want) in [
            (r#"{"fault": "ignore_range"}"#, Rule::new(Fault::IgnoreRange)),
            (
                r#"{"path": "*.safetensors", "origin": "cdn", "skip": 1, "count": 2, "fault": {"status": {"code": 503}}}"#,
                Rule::new(Fault::Status { code: 503, retry_after: None, rate_limit_reset: None, html: false })
                    .path("*.safetensors")
                    .origin(Origin::Cdn)
                    .skip(1)
                    .count(2),
            ),
            (
                r#"{"method": "GET", "fault": {"close": {"after": 10, "reset": true}}}"#,
                Rule::new(Fault::Close { after: 10, reset: true }).method("GET"),
            ),
        ] {
            let read: Rule = serde_json::from_str(json).expect(json);
            assert_eq!(read, want, "{json}");
            let again: Rule = serde_json::from_value(serde_json::to_value(&read).unwrap()).unwrap();
            assert_eq!(again, want, "{json}");
        }
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        for json in [
            r#"{"fault": {"close": {"afterwards": 1}}}"#,
            r#"{"counts": 1, "fault": "ignore_range"}"#,
            r#"{"fault": "ignore_ranges"}"#,
        ] {
            assert!(serde_json::from_str::<Rule>(json).is_err(), "{json}");
        }
    }
}
