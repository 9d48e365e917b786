//! Real registries on loopback: Debian's docker-registry, which has no referrers API, and olareg,
//! which has one.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::peer;

/// A running registry, stopped when it is dropped.
pub struct Server {
    child: Child,
    pub host: String,
    pub name: &'static str,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts both registries, or those that are installed.
pub fn both(folder: &Path) -> Vec<Server> {
    [docker_registry(folder), olareg(folder)].into_iter().flatten().collect()
}

/// Starts docker-registry with its content below `folder`.
pub fn docker_registry(folder: &Path) -> Option<Server> {
    let program = peer("docker-registry")?;
    let host = free_address();
    let config = folder.join("docker-registry.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  delete: {{enabled: true}}\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: '{host}'}}\n",
        folder.join("docker-registry").display()
    );
    std::fs::write(&config, text).expect("a configuration");
    let mut command = Command::new(program);
    command.arg("serve").arg(config);
    Some(start(command, host, "docker-registry"))
}

/// Starts olareg with its content in memory.
pub fn olareg(folder: &Path) -> Option<Server> {
    let program = peer("olareg")?;
    let host = free_address();
    let (address, port) = host.split_once(':').expect("an address with a port");
    let mut command = Command::new(program);
    command
        .args(["serve", "--store-type", "mem", "--addr", address, "--port", port])
        .current_dir(folder);
    Some(start(command, host, "olareg"))
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

fn start(mut command: Command, host: String, name: &'static str) -> Server {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server { child: child.expect("a registry starts"), host, name };
    let started = Instant::now();
    // The only sign that a server listens is that it accepts a connection.
    while TcpStream::connect(&server.host).is_err() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{name} does not listen on {}",
            server.host
        );
        std::thread::yield_now();
    }
    server
}
