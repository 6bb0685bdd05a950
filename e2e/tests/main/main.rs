//! What must hold on a real node: controller, webhook and hub run in it as pods, one node for all scenarios.
//!
//! `cargo test -p e2e -- WORD…` runs the scenarios whose name contains one of the words. Those of [`on_request`] run only so.

mod askers;
mod authority;
mod broken;
mod cert_manager;
mod certificates;
mod chart;
mod checks;
mod children;
mod conflicts;
mod contents;
mod crd;
mod denials;
mod embedding;
mod failures;
mod faults;
mod gates;
mod history;
mod killer;
mod kills;
mod leader;
mod memory;
mod metrics;
mod namespaces;
mod plugin;
mod pods;
mod preflight;
mod processes;
mod progress;
mod proxy;
mod prunes;
mod rbac;
mod refreshes;
mod restricted;
mod retained;
mod runner;
mod samples;
mod scene;
mod sources;
mod stock;
mod storage;
mod taken_away;
mod terminal;
mod time_to_ready;
mod two_controllers;
mod updates;
mod watches;
mod webhook_down;
mod witness;

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use dev_cluster::{Node, NodeOptions};
use e2e::images::{self, Image};
use e2e::{Error, Hub, deploy};

use crate::runner::{Filter, Scenario, World, run, scenario};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Most of a scenario is waiting, for pods to start and for bytes that are held back.
const AT_ONCE: usize = 6;

fn main() -> ExitCode {
    let filter = Filter::from_arguments();
    if filter.list {
        for group in [side_by_side(), on_two_nodes(), alone(), with_stock_images()] {
            runner::list(&group);
        }
        return ExitCode::SUCCESS;
    }
    match run_all(&filter) {
        Ok(failed) if failed.is_empty() => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("failed: {}", failed.join(", "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the node could not be prepared: {error}{}", runner::causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// Scenarios that do not disturb each other.
fn side_by_side() -> Vec<Scenario> {
    vec![
        // The longest first.
        scenario("a_deployment_waits_for_its_model", denials::a_deployment_waits_for_its_model),
        scenario("new_version_beside_the_old_one", updates::a_new_version_downloads_beside_the_old_one),
        scenario("gated_deployment", gates::a_gated_deployment_reads_its_model),
        scenario("gated_spec_change", gates::the_spec_changes_while_a_deployment_is_gated),
        scenario("gate_removed_by_hand", gates::a_gate_is_removed_by_hand),
        scenario("plugin", plugin::a_person_works_with_the_plugin_in_a_terminal),
        scenario("prune", prunes::earlier_content_is_pruned_once_no_pod_names_it),
        scenario("refresh_fetches_what_changed", refreshes::a_refresh_fetches_what_changed),
        scenario("newer_content", checks::newer_content_is_told_and_fetched_on_request),
        scenario("lost_status", refreshes::a_lost_status_downloads_nothing_again),
        scenario("restricted_namespace", restricted::models_in_a_restricted_namespace),
        scenario("refused_by_the_cluster", broken::what_the_cluster_refuses_is_named),
        scenario("evicted_download", taken_away::an_evicted_download_says_so_and_goes_on),
        scenario("changed_download_pods", taken_away::what_a_policy_makes_of_a_download_pod_is_named),
        scenario("out_of_memory", taken_away::a_download_out_of_memory_says_so),
        scenario("preflight", preflight::the_source_is_asked_before_there_is_a_claim),
        scenario("percent_grows", progress::the_percent_grows_and_never_goes_back),
        scenario("large_model_in_little_memory", memory::a_large_model_in_little_memory),
        scenario("embedding_server", embedding::a_server_answers_from_its_model),
        scenario("real_model", sources::real_model),
        scenario("hugging_face", sources::hugging_face_repository),
        scenario("chosen_files", sources::chosen_files_of_a_repository),
        scenario("single_url", sources::single_url),
        scenario("private_url", sources::private_url),
        scenario("s3_prefix", sources::objects_below_a_prefix),
        scenario("private_repository", sources::private_repository),
        scenario("missing_repository", failures::missing_repository),
        scenario("missing_url", failures::missing_url),
        scenario("bad_token", failures::bad_token),
        scenario("missing_secret", failures::missing_secret),
        scenario("deleting_the_failed_job", failures::deleting_the_failed_job_retries),
        scenario("job_fails", failures::the_job_fails),
        scenario("deployment_reads_and_cannot_write", pods::a_deployment_reads_and_cannot_write),
        scenario("annotations_of_the_specification", pods::the_annotations_of_the_specification),
        scenario("writable_mount", pods::a_writable_mount_on_request),
        scenario("wishes_that_cannot_be_met", denials::wishes_that_cannot_be_met),
        scenario("failed_model_is_not_ready", denials::a_failed_model_is_not_ready),
        scenario("plain_pods", denials::pods_that_ask_for_nothing_are_left_alone),
        scenario("missing_storage_class", failures::a_storage_class_that_does_not_exist),
        scenario("deleting_the_model", children::deleting_the_model_collects_claim_and_job),
        scenario("deleting_a_mounted_model", children::a_mounted_model_is_not_deleted_by_mistake),
        scenario("deleted_namespace", namespaces::a_namespace_goes_with_models_that_pods_mount),
        scenario("retained_claim", retained::a_retained_claim_is_taken_over),
        scenario("deleting_the_claim", children::deleting_the_claim_of_a_ready_model_starts_over),
        scenario("deleting_a_mounted_claim", children::a_claim_that_goes_while_it_is_mounted),
        scenario("foreign_claim", children::a_claim_of_somebody_else_is_left_untouched),
        scenario("foreign_job", children::a_job_of_somebody_else_is_left_untouched),
        scenario("failed_update", updates::a_failed_update_takes_nothing_down),
        scenario("stale_job", updates::a_stale_job_is_replaced),
        scenario("other_changes", updates::other_changes_download_nothing),
        scenario("impossible_models", updates::impossible_models_are_refused),
        scenario("metrics", metrics::alerts_and_dashboard_name_figures_that_are_exported),
        scenario("one_binary_each", contents::each_image_holds_one_binary),
        scenario("samples", samples::every_sample_is_accepted),
    ]
}

/// Scenarios that need a second node. They disturb nobody either: nothing runs there that does not ask for it.
fn on_two_nodes() -> Vec<Scenario> {
    vec![
        scenario("claim_of_one_pod", storage::a_refresh_waits_for_the_one_pod_of_a_claim),
        scenario("refresh_follows_pods", storage::a_refresh_runs_where_pods_use_the_claim),
        scenario("claim_of_many_nodes", storage::pods_of_both_nodes_read_a_claim_of_many),
        scenario("full_disk", storage::a_full_disk_takes_nothing_down),
        scenario("shared_claim", storage::two_models_share_a_claim),
    ]
}

/// Scenarios that take away what the others need.
fn alone() -> Vec<Scenario> {
    vec![
        scenario("no_default_storage_class", failures::no_default_storage_class),
        scenario("private_authority", authority::downloads_from_a_hub_that_only_a_private_authority_vouches_for),
        scenario("controller_restarts", progress::the_controller_restarts_in_the_middle_of_a_download),
        scenario("killed", kills::everybody_is_killed_again_and_again),
        scenario("leader_gone", leader::the_other_replica_goes_on_when_the_leader_is_gone),
        scenario("webhook_down", webhook_down::without_the_webhook_only_pods_with_models_are_refused),
        scenario("webhook_hangs", webhook_down::a_webhook_that_hangs_is_a_timeout),
        scenario("webhook_without_rights", webhook_down::a_webhook_without_rights_does_not_become_ready),
        scenario("api_server_away", faults::the_api_server_is_away),
        scenario("etcd_away", faults::etcd_is_away),
        scenario("hub_cut_off", faults::the_hub_is_cut_off),
        scenario("watches_cut", watches::watches_are_cut_and_expire),
        scenario("conflicts", conflicts::each_write_meets_a_conflict),
        scenario("two_controllers", two_controllers::two_controllers_act_at_once),
        scenario("crd_upgraded", crd::the_definition_is_upgraded_and_taken_back),
        scenario("chart", chart::the_chart_is_upgraded_rolled_back_uninstalled_and_installed_again),
        scenario("certificate", certificates::the_certificate_goes_from_maker_to_maker),
    ]
}

/// Scenarios of the long forms, which need what is not built for `make test`. Run alone, where a word asks for them.
fn on_request() -> Vec<Scenario> {
    vec![
        scenario("cert_manager", cert_manager::cert_manager_issues_renews_and_hands_back),
        scenario("time_to_ready", time_to_ready::time_to_ready),
    ]
}

/// Scenarios with a controller that has no loader image.
fn with_stock_images() -> Vec<Scenario> {
    vec![
        scenario("stock_missing_source", stock::a_missing_source_fails_each_job),
        scenario("stock_python", stock::python_downloads_a_repository),
        scenario("stock_aws", stock::aws_downloads_a_prefix),
        scenario("stock_curl", stock::curl_downloads_a_file),
    ]
}

/// Starts a node, deploys everything into it and runs what the filter keeps. Gives the names of what failed.
fn run_all(filter: &Filter) -> Result<Vec<&'static str>, Error> {
    let wants_stock = runner::any(filter, &with_stock_images());
    let (node, images) = phase("node and images", || prepare(filter, wants_stock))?;
    phase("images into the node", || images.iter().try_for_each(|image| Ok(node.load_image(&image.archive)?)))?;
    let content = tempfile::tempdir().expect("a temporary directory can be made");
    phase("request log", || rbac::listen(node.kubectl()))?;
    let world = phase("operator and hub", || deploy(&node, content.path()))?;
    let (failed, addresses) = rbac::addresses_during(&world.connect()?, || {
        let mut failed = run(&world, filter, AT_ONCE, on_two_nodes().into_iter().chain(side_by_side()).collect());
        failed.extend(run(&world, filter, 1, alone()));
        if !filter.keeps_all() {
            failed.extend(run(&world, filter, 1, on_request()));
        }
        if wants_stock {
            deploy::set_controller_env(&world.connect()?, &["MODEL_CONTROLLER_LOADER_IMAGE-"])?;
            failed.extend(run(&world, filter, AT_ONCE, with_stock_images()));
        }
        Ok(failed)
    });
    let mut failed = failed?;
    // A right may be used by any scenario, so this means something after all of them only.
    if filter.keeps_all() {
        let log = node.cluster().dir().join("logs/kube-apiserver.log");
        failed.extend(phase("least privilege", || rbac::check(&world.connect()?, &log, &addresses))?);
    }
    Ok(failed)
}

/// The node starts while the images are made: one waits for processes, the other for compilers and downloads.
fn prepare(filter: &Filter, stock: bool) -> Result<(Node, Vec<Image>), Error> {
    let worker = runner::any(filter, &on_two_nodes());
    thread::scope(|scope| {
        let node = scope.spawn(|| Node::start(&NodeOptions { worker, ..NodeOptions::default() }));
        let mut images = images::operator(Path::new(WORKSPACE))?;
        // The image of one scenario, which takes minutes to compile.
        if filter.keeps("embedding_server") {
            images.push(images::embedding_server(Path::new(WORKSPACE))?);
        }
        if stock {
            images.extend(images::stock()?);
        }
        let node = node.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((node, images))
    })
}

fn deploy(node: &Node, content: &Path) -> Result<World, Error> {
    let world = World {
        kubectl: node.binaries().path("kubectl"),
        kubeconfig: node.kubeconfig().to_owned(),
        hub: Hub::new(content),
        node: node.cluster().clone(),
    };
    let cluster = world.connect()?;
    world.hub.deploy(&cluster, "test-hub:dev")?;
    deploy::operator(&cluster, Path::new(WORKSPACE), &deploy::values(e2e::hub::URL))?;
    Ok(world)
}

fn phase<T>(name: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let start = Instant::now();
    let result = work();
    println!("{name}: {:.1} s", start.elapsed().as_secs_f32());
    result
}
