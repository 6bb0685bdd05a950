//! Whole objects: a human reads the difference.

use model_core::api::{AccessMode, Content, JobTemplate};
use model_core::observed::PruneStep;
use model_resources::{DownloadSettings, check_job, claim, download_job, plan_job, prune_job, verify_job};

use crate::fixtures::{full_template, hugging_face, loader, model, persisted, sources, stock};

const CLAIM_UID: &str = "5f3c9d1e-8a44-4f5b-9d0f-2d8f0d9bb002";

#[test]
fn the_claim_with_defaults() {
    insta::assert_yaml_snapshot!(claim(&persisted(&model("llama-3-8b", hugging_face())), "20Gi"));
}

#[test]
fn the_claim_with_every_field() {
    let mut model = model("llama-3-8b", hugging_face());
    model.spec.storage.storage_class = Some("longhorn".into());
    model.spec.storage.access_modes = vec![AccessMode::ReadWriteMany, AccessMode::ReadOnlyMany];
    insta::assert_yaml_snapshot!(claim(&persisted(&model), "1.5Ti"));
}

#[test]
fn the_job_of_each_source_in_each_mode() {
    for (kind, source) in sources() {
        for (mode, settings) in [("stock", stock()), ("loader", loader())] {
            let mut model = model("llama-3-8b", source.clone());
            let job = download_job(&persisted(&model), &settings, CLAIM_UID);
            insta::assert_yaml_snapshot!(format!("job_{kind}_{mode}"), job);

            model.spec.credentials_secret = Some("credentials".into());
            let job = download_job(&persisted(&model), &settings, CLAIM_UID);
            insta::assert_yaml_snapshot!(format!("job_{kind}_{mode}_credentials"), job);
        }
    }
}

#[test]
fn the_job_with_every_field_and_operator_environment() {
    let mut model = model("llama-3-8b", hugging_face());
    model.spec.version = Some("3.1".into());
    model.spec.node_selector = [("disk".to_owned(), "nvme".to_owned())].into();
    model.spec.job_template = Some(full_template());
    let env = [
        ("HF_ENDPOINT".to_owned(), "http://hub.models.svc".to_owned()),
        ("HTTPS_PROXY".to_owned(), "http://user:pa$(ss)@proxy:3128".to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
    ];
    for (mode, settings) in [("stock", stock()), ("loader", loader())] {
        let mut settings = settings;
        settings.env = env.clone().into();
        let job = download_job(&persisted(&model), &settings, CLAIM_UID);
        insta::assert_yaml_snapshot!(format!("job_every_field_{mode}"), job);
    }
}

#[test]
fn the_plan_job_has_no_claim_and_is_for_our_loader_only() {
    for (kind, source) in sources() {
        let mut model = model("llama-3-8b", source);
        model.spec.credentials_secret = Some("credentials".into());
        model.spec.job_template = Some(full_template());
        let mut settings = loader();
        settings.ca_config_map = Some("company-ca".into());
        let job = plan_job(&persisted(&model), &settings).unwrap();
        let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
        assert!(pod.volumes.iter().flatten().all(|volume| volume.persistent_volume_claim.is_none()));
        insta::assert_yaml_snapshot!(format!("job_plan_{kind}"), job);
        assert_eq!(plan_job(&persisted(&model), &stock()), None);
    }
    let model = model("llama-3-8b", hugging_face());
    insta::assert_yaml_snapshot!("job_plan_least", plan_job(&persisted(&model), &loader()));
}

#[test]
fn images_are_pulled_with_the_secrets_of_the_model_and_of_the_operator() {
    let named = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| serde_json::json!({ "name": name })).collect();
        (!names.is_empty()).then(|| serde_json::json!(names))
    };
    for (of_model, of_operator, want) in [
        (&[][..], &[][..], &[][..]),
        (&["own"], &[], &["own"]),
        (&[], &["registry"], &["registry"]),
        (&["own"], &["registry", "mirror"], &["own", "registry", "mirror"]),
        (&["registry", "own"], &["mirror", "registry"], &["registry", "own", "mirror"]),
    ] {
        let mut model = model("llama-3-8b", hugging_face());
        let secrets = named(of_model).unwrap_or_else(|| serde_json::json!([]));
        model.spec.job_template =
            Some(serde_json::from_value(serde_json::json!({ "imagePullSecrets": secrets })).unwrap());
        let image_pull_secrets: Vec<_> = of_operator.iter().map(|&name| name.to_owned()).collect();
        for settings in [stock(), loader()] {
            let mut settings = settings;
            settings.image_pull_secrets.clone_from(&image_pull_secrets);
            let job = download_job(&persisted(&model), &settings, CLAIM_UID);
            let seen = job.spec.unwrap().template.spec.unwrap().image_pull_secrets;
            assert_eq!(
                seen.map(|seen| serde_json::to_value(seen).unwrap()),
                named(want),
                "{of_model:?} {of_operator:?}"
            );
        }
    }
}

#[test]
fn the_job_with_certificate_authorities_of_the_operator() {
    let model = model("llama-3-8b", hugging_face());
    let env = [("SSL_CERT_FILE".to_owned(), "/of/another/image".to_owned())];
    let with_env = |mut settings: DownloadSettings| {
        settings.env = env.clone().into();
        settings
    };
    let with_authorities = |settings: DownloadSettings| {
        let mut settings = with_env(settings);
        settings.ca_config_map = Some("company-ca".into());
        settings
    };
    let job = download_job(&persisted(&model), &with_authorities(loader()), CLAIM_UID);
    insta::assert_yaml_snapshot!("job_authorities_loader", job);

    // The specification's Jobs stay as specified.
    assert_eq!(
        download_job(&persisted(&model), &with_authorities(stock()), CLAIM_UID),
        download_job(&persisted(&model), &with_env(stock()), CLAIM_UID)
    );
}

#[test]
fn the_job_that_prunes() {
    let mut model = model("llama-3-8b", hugging_face());
    model.spec.credentials_secret = Some("credentials".into());
    model.spec.node_selector = [("disk".to_owned(), "nvme".to_owned())].into();
    let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
    let set_aside = PruneStep::SetAside(ids(&["0a", "0b"]));
    let finish = PruneStep::Finish { put_back: ids(&["0a"]), delete: ids(&["0b"]) };
    for (name, step) in [("set_aside", set_aside), ("finish", finish)] {
        let job = prune_job(&persisted(&model), &loader(), CLAIM_UID, &step);
        insta::assert_yaml_snapshot!(format!("job_prune_{name}"), job);
        assert_eq!(prune_job(&persisted(&model), &stock(), CLAIM_UID, &step), None);
        // What the Model gives its download says nothing about this.
        model.spec.job_template.get_or_insert_default().active_deadline_seconds = Some(1);
        assert_eq!(prune_job(&persisted(&model), &loader(), CLAIM_UID, &step).unwrap().spec, job.unwrap().spec);
        model.spec.job_template = None;
    }
}

#[test]
fn the_job_that_verifies_cannot_write_and_has_no_credentials() {
    let mut model = model("llama-3-8b", hugging_face());
    model.spec.credentials_secret = Some("credentials".into());
    model.spec.job_template = Some(full_template());
    let content = Content::new("0a".into(), "revisions/0a".into(), hugging_face());
    let request = "2026-01-01T00:00:00Z";
    let job = verify_job(&persisted(&model), &loader(), CLAIM_UID, request, &content);
    insta::assert_yaml_snapshot!("job_verify", job);
    assert_eq!(verify_job(&persisted(&model), &stock(), CLAIM_UID, request, &content), None);
}

#[test]
fn a_check_is_a_plan_job_that_names_the_claim_and_has_an_end() {
    for own in [None, Some(60), Some(86_400)] {
        let mut model = model("llama-3-8b", hugging_face());
        let mut template = JobTemplate::default();
        template.active_deadline_seconds = own;
        model.spec.job_template = own.is_some().then_some(template);
        let plan = plan_job(&persisted(&model), &loader()).unwrap();
        let mut check = check_job(&persisted(&model), &loader(), "claim-uid").unwrap();
        let spec = check.spec.as_mut().unwrap();
        assert_eq!(spec.active_deadline_seconds, Some(own.unwrap_or(600).min(600)));
        spec.active_deadline_seconds = plan.spec.as_ref().unwrap().active_deadline_seconds;
        for annotations in [
            check.metadata.annotations.as_mut(),
            check.spec.as_mut().unwrap().template.metadata.as_mut().unwrap().annotations.as_mut(),
        ] {
            let uid = annotations.unwrap().remove("models.main-currents.news/claim-uid");
            assert_eq!(uid.as_deref(), Some("claim-uid"));
        }
        assert_eq!(check, plan, "no claim is mounted");
        assert_eq!(check_job(&persisted(&model), &stock(), "claim-uid"), None);
    }
}
