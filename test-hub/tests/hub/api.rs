use serde_json::Value;
use test_hub::Cdn;

use crate::support::{client, header, serve, still_client};

#[tokio::test]
async fn a_model_names_its_commit_and_files_and_so_does_the_commit() {
    let served = serve(|config| config);
    let get =
        async |path: &str| -> Value { client().get(served.url(path)).send().await.unwrap().json().await.unwrap() };
    let main = get("/api/models/acme/tiny").await;
    let sha = main["sha"].as_str().unwrap();
    assert_eq!(sha.len(), 40);
    assert_eq!((&main["id"], &main["private"], &main["gated"]), (&"acme/tiny".into(), &false.into(), &false.into()));
    let names: Vec<&str> =
        main["siblings"].as_array().unwrap().iter().map(|file| file["rfilename"].as_str().unwrap()).collect();
    assert!(names.contains(&"model.safetensors") && names.contains(&"onnx/notes with space.txt"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains(".hub")), "{names:?}");
    assert_eq!(get(&format!("/api/models/acme/tiny/revision/{sha}?blobs=true")).await["sha"], sha);
    assert_ne!(get("/api/models/acme/tiny/revision/v1").await["sha"], sha);
}

#[tokio::test]
async fn the_tree_comes_in_pages_that_link_to_the_next() {
    let served = serve(|config| test_hub::HubConfig { tree_page: 64, ..config });
    let mut next = Some(served.url("/api/models/acme/many/tree/main?recursive=True&expand=False"));
    let (mut pages, mut entries) = (0, Vec::<Value>::new());
    while let Some(url) = next {
        let response = client().get(url).send().await.unwrap().error_for_status().unwrap();
        let link = header(&response, "link");
        next = link.strip_prefix('<').and_then(|link| Some(link.split_once(">; rel=\"next\"")?.0.to_owned()));
        entries.extend(response.json::<Vec<Value>>().await.unwrap());
        pages += 1;
    }
    assert_eq!(pages, 4, "201 entries: 200 files and a folder");
    assert_eq!(entries.iter().filter(|entry| entry["type"] == "file").count(), 200);
    assert_eq!(entries.iter().filter(|entry| entry["type"] == "directory").count(), 1);
}

#[tokio::test]
async fn a_large_file_is_redirected_to_the_cdn_with_its_digest_on_the_redirect() {
    let served = serve(|config| config);
    let content = served.file("hf/acme/tiny/model.safetensors");
    let tree = client().get(served.url("/api/models/acme/tiny/tree/main?recursive=true")).send().await.unwrap();
    let tree: Vec<Value> = tree.json().await.unwrap();
    let entry = tree.iter().find(|entry| entry["path"] == "model.safetensors").unwrap();
    let sha256 = entry["lfs"]["oid"].as_str().unwrap();
    assert_eq!(entry["lfs"]["size"], content.len());

    let url = served.url("/acme/tiny/resolve/main/model.safetensors");
    let redirect = still_client().head(&url).send().await.unwrap();
    assert_eq!(redirect.status(), 302);
    assert_eq!(header(&redirect, "x-linked-etag"), format!("\"{sha256}\""));
    assert_eq!(header(&redirect, "x-linked-size"), content.len().to_string());
    assert_eq!(header(&redirect, "x-repo-commit").len(), 40);
    let location = header(&redirect, "location").to_owned();
    assert!(location.starts_with(&served.hub.cdn_url()), "{location}");

    let file = client().get(&url).bearer_auth("hf_test_token").send().await.unwrap();
    assert!(!header(&file, "etag").contains(sha256), "the cdn's tag is not the digest");
    assert_eq!(file.bytes().await.unwrap(), content);
    let part = client().get(&location).header("range", "bytes=10-19").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), content[10..20]);
    let forged = location.replace("Signature=", "Signature=0");
    assert_eq!(client().get(forged).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_small_file_is_redirected_within_the_hub() {
    let served = serve(|config| config);
    let url = served.url("/acme/tiny/resolve/main/onnx/notes%20with%20space.txt");
    let redirect = still_client().get(&url).send().await.unwrap();
    assert_eq!(redirect.status(), 307);
    assert!(header(&redirect, "location").starts_with("/api/resolve-cache/models/acme/tiny/"));
    let file = client().get(&url).send().await.unwrap();
    assert_eq!(header(&file, "etag"), header(&redirect, "x-linked-etag"));
    assert_eq!(file.bytes().await.unwrap(), "a name that has to be escaped\n");
}

#[tokio::test]
async fn the_cdn_can_be_the_hub_itself() {
    let served = serve(|config| test_hub::HubConfig { cdn: Cdn::Same, ..config });
    let url = served.url("/acme/tiny/resolve/main/model.safetensors");
    let file = client().get(url).bearer_auth("hf_test_token").send().await.unwrap();
    assert_eq!(file.bytes().await.unwrap(), served.file("hf/acme/tiny/model.safetensors"));
}

#[tokio::test]
async fn changed_files_make_a_new_commit_and_hostile_names_can_be_listed() {
    let served = serve(|config| config);
    let commit = async || {
        let model: Value =
            client().get(served.url("/api/models/acme/tiny")).send().await.unwrap().json().await.unwrap();
        model["sha"].as_str().unwrap().to_owned()
    };
    let before = commit().await;
    std::fs::write(served.root.path().join("hf/acme/tiny/.hub/repo.json"), r#"{"listed": ["../../evil"]}"#).unwrap();
    assert_eq!(commit().await, before, "a repository is read once");
    served.hub.refresh();
    assert_ne!(commit().await, before);
    let tree = client().get(served.url("/api/models/acme/tiny/tree/main?recursive=true")).send().await.unwrap();
    assert!(tree.text().await.unwrap().contains("\"../../evil\""));
}
