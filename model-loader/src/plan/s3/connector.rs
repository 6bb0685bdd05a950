//! What `object_store` sends its requests with: our client, and with it our TLS, patience and reasons.

use async_trait::async_trait;
use model_core::report::Failure;
use object_store::{
    ClientOptions,
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService},
};

use crate::{
    Error,
    http::{Dialect, Http},
};

/// Makes `object_store` use our client, and with it our TLS, patience and reasons.
#[derive(Debug)]
pub(super) struct Connector(pub(super) Http);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(Http);

/// One of our errors on its way through `object_store`.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub(super) struct Passed(pub(super) Failure);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = body.as_bytes().cloned().unwrap_or_default();
        let again = || {
            let request = self.0.client().request(parts.method.clone(), parts.uri.to_string());
            request.headers(parts.headers.clone()).body(body.clone())
        };
        let passed = |error: Error| HttpError::new(HttpErrorKind::Unknown, Passed(error.failure()));
        let answer = self.0.small(again, Dialect::S3, &format!("{} request", parts.method)).await.map_err(passed)?;
        let mut response = HttpResponse::new(answer.body.into());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}
