//! What a user can do about a refusal of S3, by the code that it answered.

use model_core::{reason::Reason, report::Failure};

use crate::Error;

/// Codes that mean one thing each, the reason that fits, and what to do.
const CODES: [(&str, Reason, &str); 11] = [
    ("NoSuchBucket", Reason::SourceNotFound, "no such bucket there: check its name, AWS_ENDPOINT_URL and AWS_REGION"),
    ("InvalidAccessKeyId", Reason::AccessDenied, "AWS_ACCESS_KEY_ID is not known there"),
    // What versitygw says in its place, with status 404.
    ("XAdminUserNotFound", Reason::AccessDenied, "AWS_ACCESS_KEY_ID is not known there"),
    ("SignatureDoesNotMatch", Reason::AccessDenied, "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID"),
    ("ExpiredToken", Reason::AccessDenied, "the session token has ended: get new credentials"),
    ("InvalidToken", Reason::AccessDenied, "AWS_SESSION_TOKEN does not belong to AWS_ACCESS_KEY_ID"),
    ("RequestTimeTooSkewed", Reason::AccessDenied, "the clock of this machine is wrong"),
    ("AuthorizationHeaderMalformed", Reason::SourceInvalid, "set AWS_REGION to the region of the bucket"),
    ("AuthorizationQueryParametersError", Reason::SourceInvalid, "set AWS_REGION to the region of the bucket"),
    ("InvalidIdentityToken", Reason::AccessDenied, "the token in AWS_WEB_IDENTITY_TOKEN_FILE is not accepted"),
    ("ExpiredTokenException", Reason::AccessDenied, "the token in AWS_WEB_IDENTITY_TOKEN_FILE has ended"),
];

/// The failure with what to do about it.
pub(super) fn advised(shown: &str, failure: &Failure, signed: bool) -> Error {
    let said = |code: &str| failure.message.contains(&format!("({code})"));
    let known = CODES.iter().find(|(code, ..)| said(code)).map(|(_, reason, advice)| (*reason, *advice));
    let (reason, advice) = match (known, failure.reason, signed) {
        (Some(known), ..) => known,
        (None, Reason::AccessDenied, true) => {
            (Reason::AccessDenied, "these credentials need the permissions s3:ListBucket and s3:GetObject on it")
        }
        (None, Reason::AccessDenied, false) => {
            (Reason::AccessDenied, "it is not public: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        }
        (None, reason, _) => return Error::new(reason, format!("{shown}: {}", failure.message)),
    };
    Error::new(reason, format!("{shown}: {}: {advice}", failure.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        for (message, reason, signed, want, word) in [
            ("404 (NoSuchBucket)", Reason::SourceNotFound, true, Reason::SourceNotFound, "AWS_ENDPOINT_URL"),
            ("403 (SignatureDoesNotMatch)", Reason::AccessDenied, true, Reason::AccessDenied, "AWS_SECRET_ACCESS_KEY"),
            ("400 (ExpiredToken)", Reason::SourceInvalid, true, Reason::AccessDenied, "ended"),
            ("400 (AuthorizationHeaderMalformed)", Reason::SourceInvalid, true, Reason::SourceInvalid, "AWS_REGION"),
            ("403 (AccessDenied)", Reason::AccessDenied, true, Reason::AccessDenied, "s3:ListBucket"),
            ("403", Reason::AccessDenied, false, Reason::AccessDenied, "not public"),
            ("500 (InternalError)", Reason::NetworkError, true, Reason::NetworkError, "500"),
        ] {
            let error = advised("s3://b/k", &Failure { reason, message: message.to_owned() }, signed);
            assert_eq!(error.reason(), want, "{error}");
            let text = error.to_string();
            assert!(text.starts_with("s3://b/k: ") && text.contains(word) && text.contains(message), "{text}");
        }
    }
}
