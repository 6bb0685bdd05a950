//! `assistant-operator`: serves the Assistants of the current namespace, and downloads their models with stock images; a
//! real one would name the loader's image, which verifies what it downloads.

use assistant_operator::run;
use model_controller::DownloadSettings;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = kube::Client::try_default().await?;
    let stop = async {
        // Without signals it runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    Ok(run(client, DownloadSettings::default(), stop).await?)
}
