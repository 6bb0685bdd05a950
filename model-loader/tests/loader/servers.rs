//! Real servers that are not our own, and the clients that fill them. Each is built once, into the cache.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use test_hub::fixtures::{GoProgram, python_clients};

use crate::world::DEADLINE;

/// Key pair of the S3 server.
pub const S3_KEY: (&str, &str) = ("gateway-key", "gateway-secret");
/// A running server. It ends when it is dropped.
pub struct Server {
    child: Child,
    /// `HOST:PORT`.
    pub host: String,
    /// What it keeps.
    folder: tempfile::TempDir,
}

impl Server {
    fn start(command: impl FnOnce(&Path, &str) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let log = folder.path().join("server.log");
        let mut command = command(folder.path(), &host);
        command.env("HOME", folder.path()).stdin(Stdio::null());
        command.stdout(fs::File::create(&log).unwrap()).stderr(fs::File::options().append(true).open(&log).unwrap());
        let mut server = Self { child: command.spawn().unwrap(), host, folder };
        let start = Instant::now();
        while TcpStream::connect(&server.host).is_err() {
            let ended = server.child.try_wait().unwrap();
            let said = fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none() && start.elapsed() < DEADLINE, "the server does not start: {ended:?}: {said}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        server
    }

    /// A registry that lets everybody in.
    pub fn registry() -> Self {
        Self::start(|folder, host| {
            let mut command = program(GoProgram::Crane);
            command.args(["registry", "serve", "--address", host, "--disk"]).arg(folder);
            command
        })
    }

    /// An S3 server that knows [`S3_KEY`], also as `http://BUCKET.s3.test`.
    pub fn s3() -> Self {
        Self::start(|folder, host| {
            let (data, extra) = (folder.join("data"), folder.join("extra"));
            fs::create_dir(&data).unwrap();
            fs::create_dir(&extra).unwrap();
            let mut command = program(GoProgram::VersityGw);
            command.args(["--access", S3_KEY.0, "--secret", S3_KEY.1, "--port", host, "--virtual-domain", "s3.test"]);
            // Beside the objects, so that the file system needs no extended attributes.
            command.args(["--quiet", "posix", "--sidecar"]).arg(extra).arg(data);
            command
        })
    }

    /// Runs `aws` against this S3 server and gives what it prints.
    pub fn aws(&self, arguments: &[&str]) -> String {
        self.aws_with(&[], arguments)
    }

    /// The same with further variables in its environment.
    pub fn aws_with(&self, env: &[(&str, &str)], arguments: &[&str]) -> String {
        let mut command = Command::new(python_clients().unwrap().join("aws"));
        command.env_clear().env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin").env("NO_PROXY", "*");
        command.env("AWS_ACCESS_KEY_ID", S3_KEY.0).env("AWS_SECRET_ACCESS_KEY", S3_KEY.1);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "us-east-1");
        command.envs(env.iter().copied());
        said(command.args(["--endpoint-url", &format!("http://{}", self.host)]).args(arguments))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(which: GoProgram) -> Command {
    let mut command = Command::new(which.path().unwrap());
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command
}

/// Runs `oras` in this folder and gives what it prints.
pub fn oras(folder: &Path, arguments: &[&str]) -> String {
    let mut command = program(GoProgram::Oras);
    said(command.env("HOME", folder).current_dir(folder).args(arguments))
}

fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", command.get_args().collect::<Vec<_>>());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
