//! The layer around every server: counts requests and applies fault rules.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, LOCATION, RANGE, RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;

use super::rule::Fault;
use super::set::{Asked, FaultSet};
use super::shape::{Shape, shaped};
use crate::Origin;
use crate::connection::Connection;
use crate::stats::Recorder;

/// The hub's own limits, as the IETF draft on rate limit fields writes them.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The tag of the file that a redirect of the hub leads to.
pub(crate) const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");

/// What the layer of one server needs.
#[derive(Clone)]
pub(crate) struct Watch {
    pub origin: Origin,
    pub faults: Arc<FaultSet>,
    pub recorder: Arc<Recorder>,
}

/// Counts the request, serves it through `next`, and disturbs both as the rules say.
pub(crate) async fn watch(
    State(watch): State<Watch>,
    Extension(connection): Extension<Arc<Connection>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
    let method = request.method().clone();
    let credentials = request.headers().contains_key(AUTHORIZATION);
    let in_flight = watch.recorder.begin(watch.origin, &path, credentials);
    let asked = Asked { origin: watch.origin, method: method.as_str(), path: &path };

    let faults = watch.faults.of_request(&asked, request.headers().contains_key(RANGE));
    for fault in &faults {
        if let Fault::Latency { millis } = fault {
            tokio::time::sleep(Duration::from_millis(*millis)).await;
        }
    }
    if faults.contains(&Fault::IgnoreRange) {
        request.headers_mut().remove(RANGE);
    }
    let response = match faults.iter().find_map(|fault| instead(fault, &request)) {
        Some(response) => response,
        None => disturbed(next.run(request).await, &watch.faults, &asked, connection),
    };
    in_flight.answered(response)
}

/// The answer that a fault gives in place of the real one.
fn instead(fault: &Fault, request: &Request) -> Option<Response> {
    match fault {
        Fault::Status { code, retry_after, rate_limit_reset, html } => {
            let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = if *html {
                let page = format!("<!DOCTYPE html><html><body><h1>{status}</h1></body></html>\n");
                ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
            } else {
                format!("{status}\n").into_response()
            };
            *response.status_mut() = status;
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
            }
            if let Some(seconds) = rate_limit_reset {
                let spent = HeaderValue::from_str(&format!("\"resolvers\";r=0;t={seconds}"));
                response.headers_mut().extend(spent.ok().map(|spent| (RATE_LIMIT, spent)));
            }
            Some(response)
        }
        Fault::RedirectLoop => {
            let here = HeaderValue::from_str(&request.uri().to_string()).ok()?;
            Some((StatusCode::FOUND, [(LOCATION, here)]).into_response())
        }
        Fault::Latency { .. }
        | Fault::IgnoreRange
        | Fault::Etag { .. }
        | Fault::Close { .. }
        | Fault::Stall { .. }
        | Fault::Flip { .. }
        | Fault::ContentLength { .. }
        | Fault::Truncate { .. }
        | Fault::Rate { .. } => None,
    }
}

/// Applies the faults of the answer.
fn disturbed(mut response: Response, rules: &FaultSet, asked: &Asked, connection: Arc<Connection>) -> Response {
    let headers = response.headers();
    let succeeded = matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    let has_bytes = succeeded && asked.method != "HEAD";
    if !has_bytes && !headers.contains_key(ETAG) && !headers.contains_key(LINKED_ETAG) {
        return response;
    }
    let start = first_byte(headers);
    let length = number(headers, &CONTENT_LENGTH);
    let faults = rules.of_answer(asked, has_bytes.then_some((start, length)));
    let mut keeps_length = true;
    for fault in &faults {
        match fault {
            Fault::Etag { value } => replace_etags(response.headers_mut(), value),
            Fault::ContentLength { delta } => {
                let stated = length.map_or(0, |length| length.saturating_add_signed(*delta));
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(stated));
            }
            Fault::Truncate { .. } => keeps_length = false,
            _ => {}
        }
    }
    if !keeps_length {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    match Shape::of(&faults, start) {
        Some(shape) => response.map(|body| shaped(body, shape, connection)),
        // An unsized body keeps the server from noticing that the stated length is wrong.
        _ if faults.iter().any(|fault| matches!(fault, Fault::ContentLength { .. })) => {
            response.map(|body| Body::from_stream(body.into_data_stream()))
        }
        _ => response,
    }
}

fn replace_etags(headers: &mut HeaderMap, value: &str) {
    let Ok(tag) = HeaderValue::from_str(&format!("\"{value}\"")) else { return };
    for name in [&ETAG, &LINKED_ETAG] {
        if let Some(old) = headers.get_mut(name) {
            *old = tag.clone();
        }
    }
}

/// Where the answer's body starts in its file: 0 unless `Content-Range` says otherwise.
fn first_byte(headers: &HeaderMap) -> u64 {
    let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    start.unwrap_or(0)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
