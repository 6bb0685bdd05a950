use test_hub::Origin;

use crate::support::{client, header, serve};

const MEMBER: Option<&str> = Some("hf_test_token");
const OUTSIDER: Option<&str> = Some("hf_outsider_token");

#[tokio::test]
async fn refusals_carry_the_codes_that_clients_go_by() {
    let served = serve(|config| config);
    for (path, token, status, code, message) in [
        ("/api/models/acme/none", None, 401, "", "Invalid username or password."),
        ("/api/models/acme/none", MEMBER, 404, "RepoNotFound", "Repository not found"),
        ("/api/models/acme/private", None, 401, "", "Invalid username or password."),
        ("/api/models/acme/private", OUTSIDER, 404, "RepoNotFound", "Repository not found"),
        ("/api/models/acme/private", MEMBER, 200, "", ""),
        ("/api/models/acme/gated", None, 200, "", ""),
        ("/api/models/acme/gated/tree/main", None, 200, "", ""),
        ("/acme/gated/resolve/main/config.json", None, 401, "GatedRepo", "Access to model acme/gated is restricted."),
        (
            "/acme/gated/resolve/main/config.json",
            OUTSIDER,
            403,
            "GatedRepo",
            "Access to model acme/gated is restricted",
        ),
        ("/acme/gated/resolve/main/config.json", MEMBER, 200, "", ""),
        ("/acme/tiny/resolve/main/config.json", Some("bad"), 401, "", "Invalid credentials in Authorization header"),
        ("/acme/tiny/resolve/main/none.json", None, 404, "EntryNotFound", "Entry not found"),
        ("/acme/tiny/resolve/none/config.json", None, 404, "RevisionNotFound", "Invalid rev id: none"),
        ("/api/models/acme/tiny/revision/none", None, 404, "RevisionNotFound", "Invalid rev id: none"),
        ("/acme/tiny/resolve/main/..%2F..%2Fgated%2Fconfig.json", None, 404, "EntryNotFound", "Entry not found"),
    ] {
        let mut request = client().get(served.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path} {token:?}");
        assert_eq!(header(&response, "x-error-code"), code, "{path} {token:?}");
        assert!(header(&response, "x-error-message").starts_with(message), "{path} {token:?}");
    }
}

#[tokio::test]
async fn a_token_that_reaches_the_cdn_is_refused_and_counted() {
    let served = serve(|config| config);
    let url = served.url("/acme/gated/resolve/main/model.safetensors");
    let file = client().get(&url).bearer_auth("hf_test_token").send().await.unwrap();
    let signed = file.url().clone();
    assert_eq!(file.status(), 200);
    let stats = served.hub.stats();
    assert_eq!(stats.origin(Origin::Hub).with_credentials, 1);
    assert_eq!(stats.origin(Origin::Cdn).with_credentials, 0);

    let leak = client().get(signed).bearer_auth("hf_test_token").send().await.unwrap();
    assert_eq!(leak.status(), 400);
    assert_eq!(served.hub.stats().origin(Origin::Cdn).with_credentials, 1);
}
