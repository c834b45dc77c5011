//! A mosquitto of our own on a port that the system gave.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running broker; killed when dropped.
pub(super) struct Mosquitto {
    folder: tempfile::TempDir,
    child: Option<Child>,
    port: u16,
}

fn binary() -> Option<PathBuf> {
    let places = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let places = places.unwrap_or_default().into_iter().chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join("mosquitto")).find(|file| file.exists())
}

impl Mosquitto {
    /// Starts one with these further lines of configuration, or says why the test is skipped.
    pub(super) fn start(config: &str) -> Option<Self> {
        if binary().is_none() {
            assert_ne!(
                std::env::var("THALWEG_REQUIRE_SERVERS").as_deref(),
                Ok("1"),
                "mosquitto is not installed"
            );
            println!("skipped: mosquitto is not installed (apt-get install mosquitto)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nmax_queued_messages 0\n{config}\n"
        );
        std::fs::write(folder.path().join("mosquitto.conf"), text).unwrap();
        let mut broker = Self { folder, child: None, port };
        broker.restart();
        Some(broker)
    }

    /// Starts the same broker again.
    pub(super) fn restart(&mut self) {
        let binary = binary().expect("looked for it when the broker was first started");
        let mut command = Command::new(binary);
        command.arg("-c").arg(self.folder.path().join("mosquitto.conf"));
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }

    /// Ends it without any farewell.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(super) fn server(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}
