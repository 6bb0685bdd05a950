//! The Hugging Face hub: API, files, access.

pub(crate) mod access;
pub(crate) mod api;
pub(crate) mod cdn;
pub(crate) mod refusal;
pub(crate) mod resolve;
pub(crate) mod tree;
pub(crate) mod xet;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::response::Response;
use axum::routing::get;

use crate::shared::Shared;

/// Routes of the hub proper.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/models/{org}/{name}", get(api::model))
        .route("/api/models/{org}/{name}/revision/{revision}", get(api::model_at))
        .route("/api/models/{org}/{name}/tree/{revision}", get(tree::root))
        .route("/api/models/{org}/{name}/tree/{revision}/{*folder}", get(tree::folder))
        .route("/api/models/{org}/{name}/xet-read-token/{revision}", get(xet::read_token))
        .route("/{org}/{name}/resolve/{revision}/{*path}", get(resolve::resolve))
        .route("/api/resolve-cache/models/{org}/{name}/{commit}/{*path}", get(resolve::cached))
        .nest(cdn::SAME_ORIGIN, cdn::router())
        .layer(axum::middleware::map_response(rate_limited))
}

/// The hub tells every client how many requests it has left. Here there are always enough.
async fn rate_limited(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("ratelimit", HeaderValue::from_static("\"resolvers\";r=2999;t=300"));
    headers.insert("ratelimit-policy", HeaderValue::from_static("\"fixed window\";\"resolvers\";q=3000;w=300"));
    response
}
