//! `watch`: check again and again, as the process of a container.

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

/// Checks this node at once, whenever one of its files changed and at every interval, until SIGTERM
/// or SIGINT.
///
/// What changed is said on standard output, and `watch --ready` answers whether the last check said
/// yes: a readiness probe for containers that hold nothing but this program.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    node: NodeCheckArguments,
    /// How long to wait between two checks where nothing changes, as 90s, 5m or 1h.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_interval)]
    interval: Duration,
    /// Writes what is missing or altered again at once, from the copies that the node keeps. A file
    /// that somebody alters again and again is left alone for some time.
    #[arg(long)]
    repair: bool,
    /// Answers /metrics, /healthz and /readyz over HTTP at this address: a loopback address, or the
    /// pod's own.
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    condition: NodeConditionArguments,
    #[command(flatten)]
    termination: TerminationArguments,
    /// Asks a watch that is running under the same --root and --state-dir whether its last check
    /// said yes.
    #[arg(long)]
    ready: bool,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let ready = ReadyFile::new(&arguments.node.ready_path())?;
    if arguments.ready {
        return Ok(if ready.is_ready(SystemTime::now())? { Exit::Yes } else { Exit::No });
    }
    let node = match arguments.node.open(Occasion::Running, true)? {
        Ok(node) => {
            let sandbox = arguments.sandbox(&node);
            Arc::new(node.confined(sandbox))
        }
        Err(finding) => {
            let message = format!("no: {finding}");
            terminal.remark(&message);
            arguments.leave(&message, terminal);
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
                .hint("start the watch again; the kubelet does that by itself"))
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
            Message::LastWords(text) => self.leave(&text, terminal),
        }
    }

    fn leave(&self, text: &str, terminal: &Terminal) {
        if let Err(error) = self.termination.leave(text) {
            terminal
                .remark(&format!("warning: cannot leave a message for the pod's status: {error}"));
        }
    }

    /// What a watch writes and connects to besides its checks.
    fn sandbox(&self, node: &NodeCheck) -> Sandbox {
        let mut sandbox = Sandbox::default();
        // It says there whether the node is ready.
        sandbox.write_on(&node.root, &node.state);
        if self.repair {
            let installed = known_directories(&node.root, &node.state, node.patience);
            sandbox.write_and_move(&node.root, installed.iter().chain([&node.state]));
            // There a package makes the directory of plugins anew, or the first installation makes
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

/// Reads the address to listen at; one that everybody reaches is none.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "write an address and a port as 127.0.0.1:9464 or [::1]:9464".to_owned())?;
    let ip: IpAddr = address.ip().to_canonical();
    if ip.is_unspecified() || ip.is_multicast() {
        let hint = "name a loopback address, or the pod's own from `status.podIP`";
        return Err(format!("{ip} is no address of this machine alone; {hint}"));
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
        let hint = "name a loopback address, or the pod's own from `status.podIP`";
        for (text, ip) in [
            ("0.0.0.0:9464", "0.0.0.0"),
            ("[::]:9464", "::"),
            ("[::ffff:0.0.0.0]:9464", "0.0.0.0"),
            ("224.0.0.1:1", "224.0.0.1"),
        ] {
            let error = format!("{ip} is no address of this machine alone; {hint}");
            assert_eq!(parse_listen(text), Err(error), "{text}");
        }
        for text in
            ["", "9464", ":9464", "127.0.0.1", "localhost:9464", "*:9464", "127.0.0.1:99999"]
        {
            let error = "write an address and a port as 127.0.0.1:9464 or [::1]:9464".to_owned();
            assert_eq!(parse_listen(text), Err(error), "{text}");
        }
    }
}
