//! The texts of the field, as runtimes print them. What a real libcni prints is compared in
//! `tests/node/explain.rs`.

use super::mark::{ENDED, LONGEST_WORD, MARKS, start};
use super::*;

fn found(plugin: &str, directories: &[&str]) -> Complaint {
    let directories = directories.iter().map(|path| (*path).to_owned()).collect();
    Complaint::NotFound { plugin: plugin.to_owned(), directories }
}

fn refused(path: &str, reason: Refused) -> Complaint {
    Complaint::NotStarted { path: path.to_owned(), reason }
}

fn one(text: &str) -> Symptom {
    let symptoms = Symptoms::read(text.as_bytes());
    let [symptom] = symptoms.known.as_slice() else {
        panic!("{}\n{symptoms:?}", start(text, 1000))
    };
    assert_eq!((symptoms.more, symptoms.unknown.len()), (0, 0), "{text}");
    symptom.clone()
}

#[test]
fn reads_the_texts_of_the_field() {
    const BIN: &str = "/opt/cni/bin";
    type Row<'a> = (&'a str, Complaint, Option<&'a str>, &'a [Phase], Option<&'a str>);
    let rows: &[Row] = &[
        // containerd, in an event of the kubelet.
        (
            r#"  Warning  FailedCreatePodSandBox  3m47s  kubelet  Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "05c40433": plugin type="macvlan" failed (add): failed to find plugin "macvlan" in path [/opt/cni/bin]"#,
            found("macvlan", &[BIN]),
            Some("macvlan"),
            &[Phase::Add],
            None,
        ),
        // Thin Multus 4, and its `binDir` before CNI_PATH.
        (
            r#"failed to setup network for sandbox "05c40433": plugin type="multus" name="multus-cni-network" failed (add): [demo/samplepod/:mv-secondary]: error adding container to network "mv-secondary": failed to find plugin "macvlan" in path [/opt/cni/bin /opt/cni/bin]"#,
            found("macvlan", &[BIN]),
            None,
            &[Phase::Add],
            Some("mv-secondary"),
        ),
        // Thin Multus 3.7: no word of libcni around it.
        (
            r#"failed to setup network for sandbox "c569": [default/macvlan1-worker0:macvlan1-config]: error adding container to network "macvlan1-config": failed to find plugin "macvlan" in path [/opt/cni/bin /opt/cni/bin]"#,
            found("macvlan", &[BIN]),
            None,
            &[Phase::Add],
            Some("macvlan1-config"),
        ),
        // Thick Multus, folded by a terminal.
        (
            "networkPlugin cni failed to set up pod \"test-pod-01_test\" network: plugin type=\"multus-shim\" \
             name=\"multus-cni-network\"\n failed (add): CmdAdd (shim): CNI request failed with status 400: \
             'ContainerID:\"85c3\" Netns:\"/proc/1274083/ns/net\" IfName:\"eth0\" Path:\"\" ERRORED: error configuring \
             pod [test/test-pod-01] networking: [test/test-pod-01/:macvlan-conf]: error adding container to network \
             \"macvlan-conf\": plugin type=\"macvlan\" failed (add): failed to find plugin \"macvlan\" in path \
             [/opt/cni/bin]    \n': StdinData: {\"capabilities\":{\"bandwidth\":true}}",
            found("macvlan", &[BIN]),
            Some("macvlan"),
            &[Phase::Add],
            Some("macvlan-conf"),
        ),
        // The kubelet's log: quotation marks twice escaped.
        (
            r#"E1204 22:58:14.014713 4344 pod_workers.go:182] "Error syncing pod" err="failed to \"KillPodSandbox\" for \"9a5e\" with KillPodSandboxError: \"rpc error: code = Unknown desc = failed to destroy network for sandbox \\\"05c4\\\": plugin type=\\\"macvlan\\\" failed (delete): failed to find plugin \\\"macvlan\\\" in path [/opt/cni/bin]\"" pod="demo/samplepod""#,
            found("macvlan", &[BIN]),
            Some("macvlan"),
            &[Phase::Delete],
            None,
        ),
        // Before containerd: dockershim.
        (
            r#"NetworkPlugin cni failed to teardown pod \"kube-dns-545bc4bfd4-djsm4_kube-system\" network: failed to find plugin \"portmap\" in path [/opt/flannel/bin /opt/cni/bin]"#,
            found("portmap", &["/opt/flannel/bin", BIN]),
            None,
            &[Phase::Delete],
            None,
        ),
        // CRI-O.
        (
            r#"failed to create pod network sandbox k8s_samplepod_demo_0(05c4): error adding pod demo_samplepod to CNI network "net": plugin type="bridge" failed (add): failed to find plugin "host-local" in path [/opt/cni/bin]"#,
            found("host-local", &[BIN]),
            Some("bridge"),
            &[Phase::Add],
            None,
        ),
        // The runtime asks for the STATUS of a plugin that is gone.
        (
            r#"Network plugin returns error: failed to find plugin "bridge" in path [/opt/cni/bin]"#,
            found("bridge", &[BIN]),
            None,
            &[Phase::Status],
            None,
        ),
        (
            r#"plugin type="macvlan" failed (add): netplugin failed with no error message: fork/exec /opt/cni/bin/macvlan: text file busy"#,
            refused("/opt/cni/bin/macvlan", Refused::Busy),
            Some("macvlan"),
            &[Phase::Add],
            None,
        ),
        (
            r#"plugin type="multus" name="multus-cni-network" failed (add): [demo/samplepod/:net]: error adding container to network "net": netplugin failed with no error message: fork/exec /opt/cni/bin/macvlan: exec format error"#,
            refused("/opt/cni/bin/macvlan", Refused::Format),
            None,
            &[Phase::Add],
            Some("net"),
        ),
        (
            r#"plugin type="macvlan" failed (add): netplugin failed: "fatal error: unexpected\n": signal: segmentation fault"#,
            Complaint::Crashed,
            Some("macvlan"),
            &[Phase::Add],
            None,
        ),
        (
            r#"network: netplugin failed but error parsing its diagnostic message \"\": unexpected end of JSON input"#,
            Complaint::Ended { how: ENDED },
            None,
            &[],
            None,
        ),
        (
            r#"plugin type="macvlan" failed (add): failed to lookup master "eth9": Link not found"#,
            Complaint::NoLink { name: Some("eth9".to_owned()) },
            Some("macvlan"),
            &[Phase::Add],
            None,
        ),
        (
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
            Complaint::NoConfiguration { directory: None },
            None,
            &[Phase::Status],
            None,
        ),
        (
            "runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:docker: network plugin is not ready: cni config uninitialized",
            Complaint::NoConfiguration { directory: None },
            None,
            &[Phase::Status],
            None,
        ),
        (
            "unable to validate: no networks found in /etc/cni/net.d",
            Complaint::NoConfiguration { directory: Some("/etc/cni/net.d".to_owned()) },
            None,
            &[],
            None,
        ),
        (
            "No CNI configuration file in /etc/cni/net.d/. Has your network provider started?",
            Complaint::NoConfiguration { directory: Some("/etc/cni/net.d".to_owned()) },
            None,
            &[],
            None,
        ),
    ];
    for (text, complaint, blamed, phases, network) in rows {
        let symptom = one(text);
        assert_eq!(symptom.complaint, *complaint, "{text}");
        assert_eq!(symptom.blamed.as_deref(), *blamed, "{text}");
        assert_eq!(symptom.phases.into_iter().collect::<Vec<_>>(), *phases, "{text}");
        assert_eq!(symptom.networks.first().map(String::as_str), *network, "{text}");
    }
}

#[test]
fn what_is_reported_twice_is_one_symptom() {
    // Multus 3.1: the error of ADD, and the one of cleaning up.
    let text = r#"NetworkPlugin cni failed to set up pod "samplepod_default" network: Multus: Err adding pod to network "macvlan-conf": Multus: error in invoke Delegate add - "macvlan": failed to find plugin "macvlan" in path [/opt/cni/bin], failed to clean up sandbox container "7caa": NetworkPlugin cni failed to teardown pod "samplepod_default" network: Multus: error in invoke Delegate del - "macvlan": failed to find plugin "macvlan" in path [/opt/cni/bin]]"#;
    let symptom = one(text);
    assert_eq!((symptom.times, symptom.blamed.as_deref()), (2, Some("macvlan")));
    assert_eq!(symptom.phases.into_iter().collect::<Vec<_>>(), [Phase::Add, Phase::Delete]);
    let text = "cni config load failed: no network config found in /etc/cni/net.d: cni plugin not initialized: failed to load cni config";
    let directory = Some("/etc/cni/net.d".to_owned());
    assert_eq!(one(text).complaint, Complaint::NoConfiguration { directory: directory.clone() });
    let text = "cni plugin not initialized; no networks found in /etc/cni/net.d";
    assert_eq!(one(text).complaint, Complaint::NoConfiguration { directory });
    assert_eq!(one(&format!("{text}\n").repeat(10_000)).times, 20_000);
}

#[test]
fn one_error_lends_its_context_to_no_other() {
    let text = "plugin type=\"calico\" failed (add): stat /var/lib/calico/nodename: no such file or directory\n\
                plugin type=\"macvlan\" failed (delete): Link not found\n\
                failed to find plugin \"vlan\" in path [/opt/cni/bin]\n";
    let symptoms = Symptoms::read(text.as_bytes());
    let found: Vec<_> = symptoms
        .known
        .iter()
        .map(|symptom| (symptom.blamed.as_deref(), symptom.phases.len()))
        .collect();
    assert_eq!(found, [(Some("macvlan"), 1), (None, 0)]);
    assert_eq!(symptoms.unknown.into_iter().collect::<Vec<_>>(), ["calico"]);
}

#[test]
fn the_errors_of_other_programs_are_none_of_cni() {
    for text in [
        "",
        "all is well",
        "fork/exec /usr/bin/tool: permission denied",
        "signal: segmentation fault (core dumped)",
        "https://example.com/Link not found",
        "Error: read: unexpected end of JSON input",
        "exec: already started",
        "failed to create directory /a: operation not supported",
        "failed to find plugin",
        "failed to find plugin \"macvlan",
        "plugin type=\"macvlan\" failed",
        "plugin type=\"macvlan\" failed (add): fork/exec /opt/cni/bin/macvlan: too many open files",
    ] {
        assert_eq!(Symptoms::read(text.as_bytes()).known, [], "{text}");
    }
    // Their twins.
    for text in [
        "plugin type=\"x\" failed (add): fork/exec /usr/bin/tool: permission denied",
        "netplugin failed with no error message: signal: segmentation fault",
        "Error: Link not found",
        "netplugin failed with no error message: exec: already started",
        "failed to create vlan: operation not supported",
        "failed to find plugin \"macvlan\"",
    ] {
        one(text);
    }
}

#[test]
fn hostile_texts_stay_text() {
    let cases = [
        (
            &b"failed to find plugin \"../../etc/x\" in path [/opt/../etc \x1b[2J]"[..],
            found("../../etc/x", &["/opt/../etc", "\\u{1b}[2J"]),
        ),
        (
            b"failed to find plugin \"a\x1b[31m\x00\xff\" in path []",
            found("a\\u{1b}[31m\\u{0}\u{fffd}", &[]),
        ),
        (
            b"plugin type=\"x\" failed (add): fork/exec /a\x07b: permission denied",
            refused("/a\\u{7}b", Refused::Permission),
        ),
        (
            b"no networks found in /etc/\xe2\x80\xaeb",
            Complaint::NoConfiguration { directory: Some("/etc/\\u{202e}b".to_owned()) },
        ),
    ];
    for (text, expected) in cases {
        let symptoms = Symptoms::read(text);
        assert_eq!(symptoms.known[0].complaint, expected);
        assert_eq!(symptoms.known.len(), 1);
    }
    // A name, a path or a list that does not end.
    let long = "x".repeat(TEXT_LIMIT);
    for text in [
        format!("failed to find plugin \"{long}\" in path [/opt/cni/bin]"),
        format!("plugin type=\"{long}\" failed (add): Link not found"),
        format!("plugin type=\"x\" failed (add): fork/exec {long}: permission denied"),
    ] {
        assert_eq!(Symptoms::read(text.as_bytes()).known.len(), 0);
    }
    let Complaint::NotFound { directories, .. } =
        one(&format!("failed to find plugin \"x\" in path [{long}]")).complaint
    else {
        panic!("another complaint")
    };
    assert_eq!(directories, ["x".repeat(LONGEST_WORD)]);
}

#[test]
fn ten_thousand_different_errors_are_counted_and_not_kept() {
    let text: String = (0..10_000)
        .map(|number| format!("failed to find plugin \"p{number}\" in path [/opt/cni/bin]\n"))
        .collect();
    let symptoms = Symptoms::read(text.as_bytes());
    assert_eq!((symptoms.known.len(), symptoms.more), (MOST_SYMPTOMS, 10_000 - MOST_SYMPTOMS));
    let text: String =
        (0..10_000).map(|number| format!("plugin type=\"p{number}\" failed (add): x\n")).collect();
    assert_eq!(Symptoms::read(text.as_bytes()).unknown.len(), MOST_SYMPTOMS);
}

/// Marks without an end, the worst that a mebibyte can hold: the work must not grow with its
/// square.
#[test]
fn a_mebibyte_of_beginnings_takes_no_time() {
    let start = std::time::Instant::now();
    for (words, _) in MARKS {
        let text = format!("{words}\" in path [").repeat(TEXT_LIMIT / (words.len() + 12));
        Symptoms::read(text.as_bytes());
    }
    for filler in ["\\", "\"", " ", "\n", "\n ", "\u{0}", "\u{fffd}"] {
        Symptoms::read(filler.repeat(TEXT_LIMIT / filler.len()).as_bytes());
    }
    // One text per mark and filler; with work that grows with the square each would take hours.
    assert!(start.elapsed().as_secs() < 1200, "{:?}", start.elapsed());
}

/// The complaints of a text, each with the plugin that it blames.
fn read(text: &str) -> Vec<(Complaint, Option<String>)> {
    let symptoms = Symptoms::read(text.as_bytes());
    symptoms.known.into_iter().map(|known| (known.complaint, known.blamed)).collect()
}

#[test]
fn the_name_of_an_interface_is_that_of_no_network_pod_or_sandbox() {
    let add = r#"plugin type="bridge" failed (add): "#;
    for (text, name) in [
        (r#"failed to lookup master "eth9": Link not found"#, Some("eth9")),
        (r#"could not lookup "cni9": Link not found"#, Some("cni9")),
        // The pod's own: `ConfigureIface`, `tuning`, and the status of Multus.
        (r#"failed to lookup "eth0": Link not found"#, None),
        (r#"failed to get "net1": Link not found"#, None),
        (r#"getNetworkStatus: interface "net1": Link not found"#, None),
        (r#"failed to find interface name "eth0": Link not found"#, None),
        (r#"failed to lookup vf device "eth9": Link not found"#, Some("eth9")),
        (r#"failed to lookup master "eth9": Link eth9 not found"#, Some("eth9")),
        ("Link ens5 not found", Some("ens5")),
        ("failed to find host device: Link not found", None),
        (r#"error adding container to network "knxbus-network": Link not found"#, None),
        (r#"error adding pod demo_pod to CNI network "pods": Link not found"#, None),
        (r#"Multus: Err adding pod to network "macvlan-conf": Link not found"#, None),
        (r#"failed to setup network for sandbox "0be5": Link not found"#, None),
        (r#"failed to set up sandbox container "9f53" network for pod "p": Link not found"#, None),
    ] {
        let expected = Complaint::NoLink { name: name.map(str::to_owned) };
        let found = read(&format!("{add}{text}"));
        assert_eq!(found.first().map(|found| &found.0), Some(&expected), "{text}");
    }
    for text in ["Link is down", "Link eth0 was not found", "Link"] {
        assert_eq!(read(&format!("{add}{text}")), [], "{text}");
    }
}

#[test]
fn a_plugin_that_ends_without_a_word_has_crashed() {
    let old = "netplugin failed but error parsing its diagnostic message \"\": unexpected end of JSON input";
    let new = "netplugin failed with no error message: ";
    for (text, how) in [
        (old.to_owned(), ENDED),
        (format!("{new}exit status 2"), ENDED),
        (format!("{new}signal: killed"), "was killed"),
        (format!("{new}signal: aborted (core dumped)"), "aborted"),
        (format!("{new}signal: bus error"), "crashed with a bus error"),
        ("netplugin failed: \"panic: runtime error: index out of range\"".to_owned(), "panicked"),
    ] {
        let text = format!("plugin type=\"ptp\" failed (add): {text}");
        assert_eq!(read(&text), [(Complaint::Ended { how }, Some("ptp".to_owned()))], "{text}");
    }
    // What it printed is not an end, and other programs are also killed.
    for text in [
        "netplugin failed but error parsing its diagnostic message \"x\": invalid character 'x'",
        "container exited: signal: killed",
        "panic: runtime error",
    ] {
        assert_eq!(read(text), [], "{text}");
    }
}

#[test]
fn a_driver_that_is_missing_is_known_by_what_was_to_be_made() {
    for (text, kind) in [
        (
            r#"failed to create bridge "cni0": could not add "cni0": operation not supported"#,
            Some("bridge"),
        ),
        ("failed to create macvlan: operation not supported", Some("macvlan")),
        ("failed to make veth pair: operation not supported", Some("veth")),
        ("could not add VRF blue: operation not supported", Some("vrf")),
        ("adding link: operation not supported", Some("ifb")),
        ("failed to set bridge addr: operation not supported", None),
        ("failed to create directory /a: operation not supported", None),
    ] {
        let expected: Vec<_> =
            kind.map(|kind| Complaint::Driver { kind: kind.to_owned() }).into_iter().collect();
        let found: Vec<_> = read(text).into_iter().map(|found| found.0).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_configuration_that_is_missing_is_known_in_every_wording() {
    for (text, directory) in [
        (
            "GetCNIConfig: err in GetCNIConfigFromFile: No networks found in /etc/cni/multus/net.d",
            "/etc/cni/multus/net.d",
        ),
        ("Unable to update cni config: No networks found in /etc/cni/net.d", "/etc/cni/net.d"),
        (
            "Unable to update cni config: no valid networks found in /etc/cni/net.d",
            "/etc/cni/net.d",
        ),
        ("no valid networks found in /etc/cni/net.d: cni plugin not initialized", "/etc/cni/net.d"),
        (
            r#"no net configuration with name "mv" in /etc/cni/multus/net.d"#,
            "/etc/cni/multus/net.d",
        ),
    ] {
        let directory = Some(directory.to_owned());
        assert_eq!(read(text), [(Complaint::NoConfiguration { directory }, None)], "{text}");
    }
}

#[test]
fn a_validation_names_the_plugin_and_the_version() {
    for (text, plugin, wanted) in [
        (
            r#"Error validating CNI config &{cbr0  false [0xc0] [123 10 32]}: [plugin flannel does not support config version ""]"#,
            "flannel",
            "",
        ),
        (
            r#"Error validating CNI config file /etc/cni/net.d/10-a.conf: [plugin bridge does not support config version "1.1.0"]"#,
            "bridge",
            "1.1.0",
        ),
        (r#"plugin \"ptp\" does not support config version \"0.1.0\""#, "ptp", "0.1.0"),
    ] {
        let complaint = Complaint::Versions { wanted: wanted.to_owned(), supported: vec![] };
        assert_eq!(read(text), [(complaint, Some(plugin.to_owned()))], "{text}");
    }
    assert_eq!(read(r#"the driver does not support config version "1""#), []);
}

#[test]
fn each_event_of_a_description_is_read_on_its_own() {
    const UNAUTHORIZED: &str = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup \
        network for sandbox \"7c1d\": plugin type=\"calico\" failed (add): connection is unauthorized";
    let calico = || BTreeSet::from(["calico".to_owned()]);
    let events = |messages: &[&str]| {
        let mut text = "Events:\n  Type     Reason  Age  From     Message\n  ----     ------  ---  ----     -------\n".to_owned();
        for message in messages {
            text.push_str(&format!("  Warning  Failed  9m   kubelet  {message}\n"));
        }
        Symptoms::read(text.as_bytes())
    };
    let probe = "Liveness probe errored: failed to start exec \"ab\": fork/exec /usr/bin/nsenter: no such file or directory";
    let symptoms = events(&[UNAUTHORIZED, probe]);
    assert_eq!((symptoms.known, symptoms.unknown), (vec![], calico()));
    let not_ready = "network is not ready: NetworkReady=false reason:NetworkPluginNotReady message:docker: cni config uninitialized";
    for messages in [[UNAUTHORIZED, not_ready], [not_ready, UNAUTHORIZED]] {
        let symptoms = events(&messages);
        assert_eq!(symptoms.unknown, calico());
        let [only] = symptoms.known.as_slice() else { panic!("{:?}", symptoms.known) };
        assert_eq!(only.complaint, Complaint::NoConfiguration { directory: None });
        assert_eq!(only.phases, BTreeSet::from([Phase::Status]));
    }
    let killed = "Liveness probe failed: signal: segmentation fault";
    assert_eq!(events(&["netplugin failed", killed]).known, []);
}

mod forms;
