//! Downloads a repository with the crate hf-hub: `hf-hub ORG/NAME FOLDER FILES_AT_A_TIME`. `HF_ENDPOINT` names the hub.

use std::path::PathBuf;

const USAGE: &str = "usage: hf-hub ORG/NAME FOLDER FILES_AT_A_TIME";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--version"] {
        println!("hf-hub 1.0.0");
        return Ok(());
    }
    let [repository, folder, at_a_time] = arguments.try_into().map_err(|_| USAGE)?;
    let (organisation, name) = repository.split_once('/').ok_or(USAGE)?;
    let client = hf_hub::HFClient::new()?;
    let repository = client.model(organisation, name);
    let download =
        repository.snapshot_download().local_dir(PathBuf::from(folder)).max_workers(at_a_time.parse()?).send();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(download)?;
    Ok(())
}
