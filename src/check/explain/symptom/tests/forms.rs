//! One error in the forms that other programs put it in, and several in one text.

use super::*;

const CALICO: &str = r#"plugin type="calico" failed (add): error getting ClusterInformation: connection is unauthorized"#;
const PROBE: &str = "Readiness probe failed: fork/exec /usr/bin/nsenter: no such file or directory";

/// A text in JSON, as part of a string.
fn escaped(text: &str) -> String {
    serde_json::to_string(text).unwrap().trim_matches('"').to_owned()
}

#[test]
fn several_events_on_one_line_are_read_separately() {
    let crash = "Liveness probe errored: rpc error: signal: segmentation fault";
    let hook = "PostStartHook failed: fork/exec /bin/sh: permission denied";
    let task = "Error: failed to create containerd task: fork/exec /app/run: permission denied";
    for other in [PROBE, crash, hook, task] {
        let (first, second) = (escaped(CALICO), escaped(other));
        for text in [
            format!(r#"{{"items":[{{"message":"{first}"}},{{"message":"{second}"}}]}}"#),
            format!(r#"{{"items": [{{"message": "{first}"}}, {{"message": "{second}"}}]}}"#),
            format!(r#"{{"items":[{{"m":{{"message":"{first}"}}}},{{"message":"{second}"}}]}}"#),
            format!("{CALICO} {other}"),
            format!("{CALICO}\r{other}"),
            format!("{CALICO}\r\n{other}"),
            format!(r#"{{"msg":"{}"}}"#, escaped(&format!("{CALICO}\n{other}"))),
            escaped(&format!(r#"{{"msg":"{}"}}"#, escaped(&format!("{CALICO}\n{other}")))),
            format!("{other} Failed to create pod sandbox: {CALICO}"),
        ] {
            let symptoms = Symptoms::read(text.as_bytes());
            assert_eq!(symptoms.known, [], "{text}");
            assert_eq!(symptoms.unknown.into_iter().collect::<Vec<_>>(), ["calico"], "{text}");
        }
    }
    // What has its own context keeps it.
    let found = r#"plugin type="macvlan" failed (add): failed to find plugin "static" in path [/opt/cni/bin]"#;
    let text = format!(r#"[{{"m":"{}"}},{{"m":"{}"}}]"#, escaped(CALICO), escaped(found));
    let symptoms = Symptoms::read(text.as_bytes());
    let [only] = symptoms.known.as_slice() else { panic!("{symptoms:?}") };
    assert_eq!(only.blamed.as_deref(), Some("macvlan"));
    assert!(symptoms.unknown.contains("calico"));
}

#[test]
fn an_error_is_read_in_every_form_that_quotation_marks_have() {
    let plain = r#"plugin type="macvlan" failed (add): failed to find plugin "nosuch" in path [/opt/cni/bin]"#;
    let utf_16: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let folded = "message: \"plugin type=\\\"macvlan\\\" failed (add): failed\\\n    \\ to find plugin\\\n    \\ \\\"nosuch\\\" in path [/opt/cni/bin]\"\n";
    for text in [
        plain.as_bytes().to_vec(),
        [&b"\xff\xfe"[..], &utf_16].concat(),
        utf_16,
        plain.replace('"', "\\u0022").into_bytes(),
        plain.replace('"', "\\\\u0022").into_bytes(),
        plain.replace('"', "&quot;").into_bytes(),
        plain.replace('"', "&#34;").into_bytes(),
        folded.into(),
    ] {
        let symptoms = Symptoms::read(&text);
        let [only] = symptoms.known.as_slice() else {
            panic!("{}: {symptoms:?}", String::from_utf8_lossy(&text))
        };
        assert_eq!(only.complaint, found("nosuch", &["/opt/cni/bin"]));
        assert_eq!((only.blamed.as_deref(), only.phases.len()), (Some("macvlan"), 1));
    }
}

#[test]
fn a_crash_is_known_whatever_was_printed_before_it() {
    let add = r#"plugin type="macvlan" failed (add): "#;
    let nothing = "netplugin failed with no error message: ";
    let fatal = "crashed with a fatal error of its runtime";
    for (text, how) in [
        (r#"netplugin failed: "fatal error: runtime: out of memory\n\nruntime stack:\n""#.to_owned(), fatal),
        (r#"netplugin failed: "runtime: failed to create new OS thread\nfatal error: newosproc""#.to_owned(), fatal),
        (r#"netplugin failed: "unexpected fault address 0x7f\nfatal error: fault\n[signal SIGBUS: bus error]""#.to_owned(), fatal),
        (r#"netplugin failed: "[signal SIGSEGV: segmentation violation code=0x1]""#.to_owned(), fatal),
        (r#"netplugin failed: "2026/01/01 warn\npanic: boom\n\ngoroutine 1 [running]:""#.to_owned(), "panicked"),
        (r#"netplugin failed: "thread 'main' panicked at src/main.rs:1:1:\nboom""#.to_owned(), "panicked"),
        (
            r#"netplugin failed but error parsing its diagnostic message "panic: runtime error\n\ngoroutine 1": invalid character 'p' looking for beginning of value"#.to_owned(),
            "panicked",
        ),
        (format!("{nothing}signal: killed"), "was killed"),
        (format!("{nothing}signal: bad system call"), "was ended for a system call that it may not use"),
        (format!("{nothing}signal: trace/breakpoint trap"), "crashed at a trap"),
        (format!("{nothing}signal: floating point exception (core dumped)"), "crashed with an arithmetic error"),
        (format!("{nothing}signal: terminated"), "was terminated"),
        (format!("{nothing}signal: hangup"), "was ended by a hangup"),
        (format!("{nothing}signal: user defined signal 1"), "was ended by a signal"),
    ] {
        let expected = [(Complaint::Ended { how }, Some("macvlan".to_owned()))];
        assert_eq!(read(&format!("{add}{text}")), expected, "{text}");
        // As it stands in the log of a kubelet.
        assert_eq!(read(&format!(r#"msg="{}""#, escaped(&format!("{add}{text}")))), expected);
    }
    let crashed = [(Complaint::Crashed, Some("macvlan".to_owned()))];
    assert_eq!(read(&format!("{add}{nothing}signal: segmentation fault (core dumped)")), crashed);
    for text in [
        "panic: boom",
        "fatal error: x",
        "signal: hangup",
        r#"plugin type="x" failed (add): panic: x"#,
    ] {
        assert_eq!(read(text), [], "{text}");
    }
}

#[test]
fn a_library_that_is_missing_is_named() {
    let add = r#"plugin type="macvlan" failed (add): netplugin failed: "#;
    for (text, wanted) in [
        (
            r#""/opt/cni/bin/macvlan: /lib64/libc.so.6: version `GLIBC_2.34' not found (required by /opt/cni/bin/macvlan)\n""#,
            "GLIBC_2.34",
        ),
        (r#""/opt/cni/bin/x: version 'GLIBCXX_3.4' not found""#, "GLIBCXX_3.4"),
        (
            r#""/opt/cni/bin/x: error while loading shared libraries: libx.so.1: cannot open shared object file""#,
            "libx.so.1",
        ),
        (r#""Error loading shared library libx.so.1: No such file or directory""#, "libx.so.1"),
    ] {
        let complaint = Complaint::NoLibrary { wanted: wanted.to_owned() };
        assert_eq!(
            read(&format!("{add}{text}")),
            [(complaint, Some("macvlan".to_owned()))],
            "{text}"
        );
    }
    assert_eq!(read("tool: version `GLIBC_2.34' not found"), []);
}

#[test]
fn what_newer_runtimes_say_of_configuration_is_known() {
    let missing = |path: &str| Complaint::NoConfiguration { directory: Some(path.to_owned()) };
    let broken = |file: &str| Complaint::BrokenConfiguration { file: file.to_owned() };
    let file = "/etc/cni/net.d/10-x.conflist";
    for (text, expected) in [
        (
            "no CNI configuration file in /etc/kubernetes/cni/net.d/. Has your network provider started?",
            missing("/etc/kubernetes/cni/net.d"),
        ),
        (
            r#"plugin type="multus" failed (add): GetCNIConfig: err in GetCNIConfigFromFile: no network available in the name mynet in cni dir /etc/cni/multus/net.d"#,
            missing("/etc/cni/multus/net.d"),
        ),
        (
            "Error loading CNI conflist file /etc/cni/net.d/10-x.conflist: error parsing: no \"plugins\" key",
            broken(file),
        ),
        ("Error loading CNI config list file /etc/cni/net.d/10-x.conflist: no name", broken(file)),
        (
            "cni config load failed: failed to load CNI config list file /etc/cni/net.d/10-x.conflist: error parsing",
            broken(file),
        ),
        (
            "failed to load CNI config file /etc/cni/net.d/10-x.conf: error",
            broken("/etc/cni/net.d/10-x.conf"),
        ),
        (
            "cni config load failed: network type not found in /etc/cni/net.d/10-x.conf: invalid cni config",
            broken("/etc/cni/net.d/10-x.conf"),
        ),
        (
            "CNI config list in config file /etc/cni/net.d/10-x.conflist has no networks, skipping",
            broken(file),
        ),
    ] {
        assert_eq!(read(text), [(expected, None)], "{text}");
    }
    assert_eq!(read("network type not found in docker-config.ini"), []);
}

#[test]
fn multus_says_what_it_was_doing() {
    for (text, phase) in [
        (r#"DelegateDel: error invoking ConflistDel - "n": conflistDel: "#, Phase::Delete),
        (r#"DelegateDel: error invoking DelegateDel - "macvlan": "#, Phase::Delete),
        (r#"delegateAdd: error invoking ConflistAdd - "n": "#, Phase::Add),
        (r#"DelegateCheck: error invoking DelegateCheck - "macvlan": "#, Phase::Check),
    ] {
        let text = format!(r#"{text}failed to find plugin "nosuch" in path [/opt/cni/bin]"#);
        assert_eq!(one(&text).phases.into_iter().collect::<Vec<_>>(), [phase], "{text}");
    }
    let text = r#"[d/p/u:n]: error deleting container from network "n": DelegateDel: error invoking ConflistDel - "n": failed to find plugin "x""#;
    assert_eq!(one(text).networks.into_iter().collect::<Vec<_>>(), ["n"]);
}
