//! The one call of STS that pods with a role make: a web identity token for the keys of a session.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// Where it is, on the S3 endpoint. No bucket can have this name there.
pub(super) const PATH: &str = "/sts";
/// The token that is accepted.
pub const WEB_IDENTITY_TOKEN: &str = "test-web-identity-token";

/// The keys that are given.
#[derive(Clone)]
pub(super) struct Session {
    pub access: String,
    pub secret: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Asked {
    action: String,
    role_arn: String,
    web_identity_token: String,
}

pub(super) async fn assume_role(State(session): State<Session>, Query(asked): Query<Asked>) -> Response {
    let xml = [(CONTENT_TYPE, "text/xml")];
    let is_role = asked.role_arn.starts_with("arn:aws:iam::");
    if asked.action != "AssumeRoleWithWebIdentity" || !is_role || asked.web_identity_token != WEB_IDENTITY_TOKEN {
        let body = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code></Error></ErrorResponse>";
        return (StatusCode::BAD_REQUEST, xml, body).into_response();
    }
    let Session { access, secret } = session;
    let body = format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
         <AccessKeyId>{access}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>test-session-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    (xml, body).into_response()
}
