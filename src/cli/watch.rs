//! `watch`: checks continuously, as the process of a container.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;

use super::interval::parse_interval;
use super::node_check::NodeCheckArguments;
use super::node_condition::NodeConditionArguments;
use super::terminal::{Exit, Failure, Terminal};
use super::termination::TerminationArguments;
use crate::check::{NodeCheck, Occasion};
use crate::model::HostPath;
use crate::net;
use crate::node::{Sandbox, known_directories};
use crate::watch::{Ending, Health, Message, ReadyFile, Watch};

/// Checks this node when it starts, whenever an installed file changes, and at every interval,
/// until SIGTERM or SIGINT.
///
/// A result is printed when it differs from the last one. `watch --ready` reports whether the last
/// check succeeded: a readiness probe for containers that contain only this program.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    node: NodeCheckArguments,
    /// The time between two checks if nothing changes, such as 90s, 5m or 1h.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_interval)]
    interval: Duration,
    /// Restores missing or altered files immediately, from the node's copies. A file that is
    /// altered repeatedly is left alone for a while.
    #[arg(long)]
    repair: bool,
    /// Serves /metrics, /healthz and /readyz over HTTP at this address: a loopback address, or the
    /// pod's own.
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    condition: NodeConditionArguments,
    #[command(flatten)]
    termination: TerminationArguments,
    /// Reports whether the last check succeeded, of a running watch with the same --root and
    /// --state-dir.
    #[arg(long)]
    ready: bool,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let ready = ReadyFile::new(&arguments.node.ready_path())?;
    if arguments.ready {
        return Ok(if ready.is_ready(SystemTime::now())? { Exit::Yes } else { Exit::No });
    }
    let node = match arguments.node.open(Occasion::Running, true) {
        Ok(node) => {
            let sandbox = arguments.sandbox(&node);
            Arc::new(node.confined(sandbox))
        }
        Err(stop) => {
            for finding in stop.refusal()? {
                let message = format!("no: {finding}");
                terminal.remark(&message);
                arguments.leave(&message, terminal);
            }
            return Ok(Exit::No);
        }
    };
    let health = Arc::new(Health::new(arguments.interval, Instant::now()));
    if let Some(address) = arguments.listen {
        let health = Arc::clone(&health);
        let address = net::serve(address, move |path| health.answer(path, Instant::now()))
            .map_err(|error| Failure::could_not(format!("cannot listen at {address}: {error}")))?;
        terminal.remark(&format!("listening at http://{address}/metrics"));
    }
    let watch = Watch {
        node,
        interval: arguments.interval,
        repair: arguments.repair,
        ready: &ready,
        health: &health,
        condition: arguments.condition.start(*terminal)?,
    };
    match watch.run(&mut |message| arguments.tell(message, terminal))? {
        Ending::Signal => Ok(Exit::Yes),
        Ending::StillReady(error) => Err(error.into()),
        Ending::OutOfReach(lost) => {
            Err(Failure::could_not(lost)
                .hint("restart the watch; the kubelet does so automatically"))
        }
    }
}

impl Arguments {
    fn tell(&self, message: Message, terminal: &Terminal) {
        match message {
            Message::Report(report) => {
                if terminal.answer(&report).is_err() {
                    terminal.remark("warning: cannot write to standard output");
                }
            }
            Message::Remark(text) => terminal.remark(&text),
            Message::TerminationMessage(text) => self.leave(&text, terminal),
        }
    }

    fn leave(&self, text: &str, terminal: &Terminal) {
        if let Err(error) = self.termination.leave(text) {
            terminal
                .remark(&format!("warning: cannot leave a message for the pod's status: {error}"));
        }
    }

    /// What this verb may write and connect to.
    fn sandbox(&self, node: &NodeCheck) -> Sandbox {
        let mut sandbox = Sandbox::default();
        // The ready file is there.
        sandbox.write_on(&node.root, &node.state);
        if self.repair {
            let installed = known_directories(&node.root, &node.state, node.patience);
            sandbox.write_and_move(&node.root, installed.iter().chain([&node.state]));
            // A package creates the plugin directory again there, or the first installation creates
            // it.
            let above = HostPath::default_bin_directory().parent();
            above.iter().for_each(|path| sandbox.write_existing(&node.root, path));
        }
        sandbox.write_file(self.termination.path());
        if self.listen.is_some() {
            sandbox.listen();
        }
        if self.condition.is_asked_for() {
            sandbox.connect();
        }
        sandbox
    }
}

/// Parses the address to listen at, and rejects one that is reachable from everywhere.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        "expected an address and a port, such as 127.0.0.1:9464 or [::1]:9464".to_owned()
    })?;
    let ip: IpAddr = address.ip().to_canonical();
    if ip.is_unspecified() || ip.is_multicast() {
        let hint = "use a loopback address, or the pod's own from `status.podIP`";
        return Err(format!("{ip} is not limited to this machine; {hint}"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listens_at_one_address_of_this_machine() {
        for text in
            ["127.0.0.1:9464", "127.0.0.2:0", "[::1]:9464", "10.244.1.7:9464", "[fd00::7]:1"]
        {
            assert_eq!(parse_listen(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
        let hint = "use a loopback address, or the pod's own from `status.podIP`";
        for (text, ip) in [
            ("0.0.0.0:9464", "0.0.0.0"),
            ("[::]:9464", "::"),
            ("[::ffff:0.0.0.0]:9464", "0.0.0.0"),
            ("224.0.0.1:1", "224.0.0.1"),
        ] {
            let error = format!("{ip} is not limited to this machine; {hint}");
            assert_eq!(parse_listen(text), Err(error), "{text}");
        }
        for text in
            ["", "9464", ":9464", "127.0.0.1", "localhost:9464", "*:9464", "127.0.0.1:99999"]
        {
            let error =
                "expected an address and a port, such as 127.0.0.1:9464 or [::1]:9464".to_owned();
            assert_eq!(parse_listen(text), Err(error), "{text}");
        }
    }
}
