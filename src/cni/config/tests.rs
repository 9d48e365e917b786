use super::*;

/// Renders the needs of a configuration as `role plugin version`, and its problems other than a
/// missing name, which most texts here do without.
fn described(text: &str, form: Form) -> Result<(Vec<String>, Vec<String>), String> {
    let network = parse_config("it", text.as_bytes(), form).map_err(|error| error.to_string())?;
    let need = |need: &Need| {
        let first =
            need.looks_first_in.as_ref().map_or_else(String::new, |path| format!(" in {path}"));
        format!("{:?} {} {}{first}", need.role, need.plugin, need.version)
    };
    let other = |problem: &&Problem| !matches!(problem, Problem::NoName { .. });
    let problems = network.problems.iter().filter(other).map(ToString::to_string).collect();
    Ok((network.needs.iter().map(need).collect(), problems))
}

#[test]
fn knows_main_chained_ipam_and_delegates() {
    let cases: [(Form, &str, &[&str]); 12] = [
        (Form::Single, r#"{"type":"macvlan","cniVersion":"0.4.0"}"#, &["Main macvlan 0.4.0"]),
        (
            Form::Single,
            r#"{"type":"bridge","ipam":{"type":"host-local"}}"#,
            &["Main bridge 0.1.0", "Ipam host-local 0.1.0"],
        ),
        (Form::Single, r#"{"type":"bridge","ipam":{}}"#, &["Main bridge 0.1.0"]),
        (Form::Single, r#"{"type":"bridge","ipam":{"type":""}}"#, &["Main bridge 0.1.0"]),
        (
            Form::List,
            r#"{"cniVersion":"1.0.0","plugins":[{"type":"ptp","cniVersion":"0.1.0","ipam":{"type":"static"}},{"type":"portmap"},{"type":"tuning"}]}"#,
            &[
                "Main ptp 1.0.0",
                "Ipam static 1.0.0",
                "Chained portmap 1.0.0",
                "Chained tuning 1.0.0",
            ],
        ),
        // What libcni 1.3 picks from a list: the newest version that it knows.
        (
            Form::List,
            r#"{"cniVersion":"0.4.0","cniVersions":["1.0.0","1.1.0","1.2.0"],"plugins":[{"type":"a"}]}"#,
            &["Main a 1.1.0"],
        ),
        (Form::List, r#"{"cniVersion":"2.0.0","plugins":[{"type":"a"}]}"#, &["Main a 2.0.0"]),
        (
            Form::Single,
            r#"{"cniVersion":"000000000000000000000000000000000001.0.0","type":"a"}"#,
            &["Main a 00000000000000000000000000000000"],
        ),
        // Go ignores the case of field names.
        (
            Form::Single,
            r#"{"Type":"bridge","IPAM":{"TYPE":"static"}}"#,
            &["Main bridge 0.1.0", "Ipam static 0.1.0"],
        ),
        (
            Form::Single,
            r#"{"type":"flannel"}"#,
            &["Main flannel 0.1.0", "Delegate bridge 0.1.0", "Ipam host-local 0.1.0"],
        ),
        (
            Form::Single,
            r#"{"type":"flannel","ipam":{"type":"dhcp"},"delegate":{"type":"ipvlan"}}"#,
            &["Main flannel 0.1.0", "Delegate ipvlan 0.1.0", "Ipam dhcp 0.1.0"],
        ),
        (
            Form::Single,
            r#"{"type":"multus","cniVersion":"1.0.0","binDir":"/var/lib/rancher/k3s/data/cni","clusterNetwork":"x",
              "defaultNetworks":["y"],"delegates":[
              {"cniVersion":"0.3.1","plugins":[{"type":"bridge","ipam":{"type":"whereabouts"}},{"type":"sbr"}]},
              {"type":"multus","delegates":[{"type":"macvlan"}]}]}"#,
            &[
                "Main multus 1.0.0",
                "Delegate bridge 0.3.1 in /var/lib/rancher/k3s/data/cni",
                "Ipam whereabouts 0.3.1 in /var/lib/rancher/k3s/data/cni",
                "Chained sbr 0.3.1 in /var/lib/rancher/k3s/data/cni",
                "Delegate multus 0.1.0 in /var/lib/rancher/k3s/data/cni",
                "Delegate macvlan 0.1.0 in /var/lib/rancher/k3s/data/cni",
            ],
        ),
    ];
    for (form, text, expected) in cases {
        let (needs, problems) = described(text, form).unwrap();
        assert_eq!(
            (needs, problems),
            (expected.iter().map(ToString::to_string).collect(), vec![]),
            "{text}"
        );
    }
}

#[test]
fn a_type_that_is_not_a_file_name_is_a_problem_and_not_a_need() {
    let slash = "letters, digits, `-`, `_` and `.` are allowed";
    let cases = [
        (
            Form::Single,
            r#"{"type":"../../../bin/sh"}"#,
            format!("invalid `type`: plugin name `../../../bin/sh` contains `/`; {slash}"),
        ),
        (
            Form::Single,
            r#"{"type":"a\u001b[2J"}"#,
            format!("invalid `type`: plugin name `a\\u{{1b}}[2J` contains `\\u{{1b}}`; {slash}"),
        ),
        (
            Form::Single,
            r#"{"type":".."}"#,
            "invalid `type`: plugin name `..` starts with `.` or `-`".to_owned(),
        ),
        (Form::Single, r#"{"type":""}"#, "it has no `type`".to_owned()),
        (Form::Single, r#"{"plugins":[{"type":"a"}]}"#, "it has no `type`".to_owned()),
        (Form::Either, "{}", "it has no `type`".to_owned()),
        (Form::Single, r#"{"type":7}"#, "it has no `type`".to_owned()),
        (Form::List, r#"{"plugins":[]}"#, "`plugins` must be a non-empty list".to_owned()),
        (Form::List, r#"{"plugins":{}}"#, "`plugins` must be a non-empty list".to_owned()),
        (Form::List, r#"{"plugins":["a"]}"#, "`plugins[0]` is not a JSON object".to_owned()),
    ];
    for (form, text, expected) in cases {
        assert_eq!(described(text, form), Ok((vec![], vec![expected])), "{text}");
    }
    // Valid entries beside an invalid one are still needed.
    let (needs, problems) =
        described(r#"{"type":"bridge","ipam":{"type":"x/y"},"delegates":7}"#, Form::Single)
            .unwrap();
    assert_eq!((needs, problems.len()), (vec!["Main bridge 0.1.0".to_owned()], 2));
    let (needs, problems) =
        described(r#"{"type":"bridge","ipam":{"type":7}}"#, Form::Single).unwrap();
    assert_eq!(
        (needs, problems),
        (vec!["Main bridge 0.1.0".to_owned()], vec!["`ipam` has no `type`".to_owned()])
    );
}

#[test]
fn a_version_that_is_missing_or_empty_is_the_oldest() {
    let cases = [
        (Form::Single, r#"{"type":"bridge"}"#, "0.1.0"),
        (Form::Single, r#"{"type":"bridge","cniVersion":""}"#, "0.1.0"),
        (Form::Single, r#"{"type":"bridge","cniVersion":null}"#, "0.1.0"),
        (Form::Single, r#"{"type":"bridge","CNIVersion":"0.3.1"}"#, "0.3.1"),
        (Form::List, r#"{"plugins":[{"type":"bridge","cniVersion":"1.0.0"}]}"#, "0.1.0"),
        (Form::List, r#"{"cniVersion":"","plugins":[{"type":"bridge"}]}"#, "0.1.0"),
        (
            Form::List,
            r#"{"cniVersion":"","cniVersions":["0.4.0"],"plugins":[{"type":"bridge"}]}"#,
            "0.4.0",
        ),
        // One that libcni does not know is as good as none.
        (Form::List, r#"{"cniVersions":["9.0.0"],"plugins":[{"type":"bridge"}]}"#, "0.1.0"),
        (Form::Either, r#"{"plugins":[{"type":"bridge"}]}"#, "0.1.0"),
    ];
    for (form, text, version) in cases {
        let expected = (vec![format!("Main bridge {version}")], vec![]);
        assert_eq!(described(text, form), Ok(expected), "{text}");
        assert_eq!(parse_config("it", text.as_bytes(), form).unwrap().version, version, "{text}");
    }
    // The version of a list also counts if its plugins are in a directory.
    let network = parse_config("it", br#"{"cniVersion":"1.0.0","name":"n"}"#, Form::List);
    assert_eq!(network.unwrap().version, "1.0.0");
    let (_, problems) = described(r#"{"type":"a","cniVersion":1.0}"#, Form::Single).unwrap();
    assert_eq!(problems, ["`cniVersion` is not a string"]);
}

#[test]
fn a_problem_names_its_place_in_the_document() {
    let cases = [
        (
            r#"{"plugins":[{"type":"a"},{"type:":"vrf"}]}"#,
            "`plugins[1]` has no `type`; it has `type:`",
        ),
        (
            r#"{"plugins":[{"type":"a"},{" Type":"vrf"}]}"#,
            "`plugins[1]` has no `type`; it has ` Type`",
        ),
        (r#"{"plugins":[{"type":"a"},{"typ":"vrf"}]}"#, "`plugins[1]` has no `type`"),
        (r#"{"plugins":[{"type":"a"},{},7]}"#, "`plugins[1]` has no `type`"),
        (r#"{"plugins":[{"type":"a","ipam":{"type":7}}]}"#, "`plugins[0].ipam` has no `type`"),
        (
            r#"{"type":"multus","delegates":[{"type":"a"},{"plugins":[{"type":"b"},{"x":1}]}]}"#,
            "`delegates[1].plugins[1]` has no `type`",
        ),
        (
            r#"{"type":"multus","delegates":[{"plugins":[{"type":"b","delegates":7}]}]}"#,
            "`delegates[0].plugins[0].delegates` must be a list",
        ),
        (
            r#"{"type":"multus","delegates":[{"plugins":{}}]}"#,
            "`delegates[0].plugins` must be a non-empty list",
        ),
    ];
    for (text, expected) in cases {
        let (_, problems) = described(text, Form::Either).unwrap();
        assert_eq!(problems.first().map(String::as_str), Some(expected), "{text}");
    }
}

#[test]
fn of_a_repeated_key_the_last_value_counts_and_is_reported() {
    let cases = [
        (r#"{"type":"a","type":"b"}"#, Form::Single, "Main b 0.1.0", "`type`"),
        (
            r#"{"cniVersion":"0.3.1","type":"a","cniVersion":"1.0.0"}"#,
            Form::Single,
            "Main a 1.0.0",
            "`cniVersion`",
        ),
        (
            r#"{"plugins":[{"type":"a"}],"plugins":[{"type":"b"}]}"#,
            Form::List,
            "Main b 0.1.0",
            "`plugins`",
        ),
        (r#"{"plugins":[{"type":"a","x":1,"x":2}]}"#, Form::List, "Main a 0.1.0", "`x`"),
    ];
    for (text, form, need, key) in cases {
        assert_eq!(described(text, form).unwrap(), (vec![need.to_owned()], vec![]), "{text}");
        let repeated = parse_config("it", text.as_bytes(), form).unwrap().repeated;
        let expected = format!("the key {key} appears twice");
        assert!(repeated.is_some_and(|told| told.starts_with(&expected)), "{text}");
    }
    assert_eq!(parse_config("it", br#"{"type":"a"}"#, Form::Single).unwrap().repeated, None);
    // What follows the repetition is still read strictly.
    assert!(parse_config("it", br#"{"a":1,"a":2,}"#, Form::Single).is_err());
}

#[test]
fn an_ipam_that_its_plugin_handles_itself_is_no_need() {
    let cases: [(&str, &[&str]); 6] = [
        (r#"{"type":"azure-vnet","ipam":{"type":"azure-cns"}}"#, &["Main azure-vnet 0.1.0"]),
        (
            r#"{"type":"azure-vnet","ipam":{"type":"azure-vnet-ipam"}}"#,
            &["Main azure-vnet 0.1.0", "Ipam azure-vnet-ipam 0.1.0"],
        ),
        (
            r#"{"type":"bridge","ipam":{"type":"azure-cns"}}"#,
            &["Main bridge 0.1.0", "Ipam azure-cns 0.1.0"],
        ),
        // These have the field and never call what it names.
        (r#"{"type":"tuning","ipam":{"type":"static"}}"#, &["Main tuning 0.1.0"]),
        (r#"{"type":"portmap","ipam":{"type":"static"}}"#, &["Main portmap 0.1.0"]),
        (r#"{"type":"ptp","ipam":{"type":"static"}}"#, &["Main ptp 0.1.0", "Ipam static 0.1.0"]),
    ];
    for (text, expected) in cases {
        let expected = (expected.iter().map(ToString::to_string).collect(), vec![]);
        assert_eq!(described(text, Form::Single), Ok(expected), "{text}");
    }
}

#[test]
fn two_spellings_of_one_field_are_not_guessed_at() {
    for text in [
        r#"{"type":"a","Type":"b"}"#,
        r#"{"TYPE":"a","tYPE":"b"}"#,
        r#"{"type":"a","ipam":{"type":"b","typ\u0045":"c"}}"#,
        r#"{"type":"a","delegates":[{"type":"b","TYPE":"c"}]}"#,
        r#"{"type":"a","binDir":"/a","bindir":"/b"}"#,
    ] {
        let error = described(text, Form::Single).expect_err(text);
        assert!(error.contains("are the same key to other readers"), "{text}: {error}");
    }
    let list = r#"{"plugins":[{"type":"a","Type":"b"}]}"#;
    assert!(described(list, Form::List).is_err());
    // Names that belong to a plugin are data to all other readers.
    let data = r#"{"type":"a","args":{"cni":{"labels":{"A":1,"a":2}}}}"#;
    assert_eq!(described(data, Form::Single).unwrap().0, ["Main a 0.1.0"]);
}

#[test]
fn says_whether_libcni_looks_for_more_plugins() {
    for (form, text, expected) in [
        (Form::List, r#"{"name":"n","plugins":[{"type":"a"}]}"#, true),
        (Form::List, r#"{"name":"n"}"#, true),
        (Form::List, r#"{"loadOnlyInlinedPlugins":true,"plugins":[{"type":"a"}]}"#, false),
        (Form::List, r#"{"loadOnlyInlinedPlugins":"True","plugins":[{"type":"a"}]}"#, false),
        (Form::Single, r#"{"type":"a"}"#, false),
    ] {
        assert_eq!(
            parse_config("it", text.as_bytes(), form).unwrap().loads_more,
            expected,
            "{text}"
        );
    }
}

#[test]
fn hostile_input_is_refused_or_bounded() {
    let nested = |depth: usize| {
        let open = r#"{"type":"m","delegates":["#.repeat(depth);
        format!(r#"{open}{{"type":"end"}}{}"#, "]}".repeat(depth))
    };
    let (needs, _) = described(&nested(60), Form::Single).unwrap();
    assert_eq!((needs.len(), needs[60].as_str()), (61, "Delegate end 0.1.0"));
    let deep = Err("it is nested more than 127 levels deep".to_owned());
    assert_eq!(described(&nested(64), Form::Single), deep);
    assert_eq!(described(&nested(10_000), Form::Single), deep);
    assert_eq!(described(&"[".repeat(CONFIG_LIMIT), Form::Either), deep);

    let plugins = |count: usize| {
        format!(r#"{{"name":"n","plugins":[{}]}}"#, vec![r#"{"type":"a"}"#; count].join(","))
    };
    assert_eq!(described(&plugins(1023), Form::List).unwrap().0.len(), 1023);
    let (needs, problems) = described(&plugins(1_500), Form::List).unwrap();
    assert_eq!((needs.len(), problems), (1024, vec!["it names more than 1024 plugins".to_owned()]));

    // One long line is just a long string.
    let line = |length: usize| format!(r#"{{"type":"bridge","name":"{}"}}"#, "x".repeat(length));
    assert_eq!(described(&line(CONFIG_LIMIT - 27), Form::Single).unwrap().0, ["Main bridge 0.1.0"]);
    let error = described(&line(CONFIG_LIMIT - 26), Form::Single).expect_err("one byte too long");
    assert_eq!(error, "it is 1048577 bytes long, the limit is 1048576");
    assert_eq!(described("[]", Form::Either), Err("it is not a JSON object".to_owned()));
    assert!(described("", Form::Either).expect_err("nothing").starts_with("it is not valid: EOF"));
}

/// The problems of a configuration; as libcni 1.3 refuses each.
fn problems(text: &str, form: Form) -> Vec<String> {
    let network = parse_config("it", text.as_bytes(), form).unwrap();
    network.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn what_libcni_refuses_in_a_list_is_a_problem() {
    let cases = [
        ("", r#""name":3"#, "`name` is not a string"),
        ("", r#""name":null"#, "`name` is not a string"),
        ("", "", "it has no `name`"),
        ("", r#""Name":"n""#, "it has no `name`"),
        ("", r#""name":"""#, "it has no `name`"),
        (
            "",
            r#""name":"my net""#,
            "it has the `name` `my net`, which is not a valid network name: expected letters, digits, `.`, `_` and `-`, starting with a letter or digit",
        ),
        (r#""cniVersion":null,"#, "", "`cniVersion` is not a string"),
        (r#""cniVersion":1.0,"#, "", "`cniVersion` is not a string"),
        (r#""cniVersions":"1.0.0","#, "", "`cniVersions` is not a list"),
        (r#""cniVersions":null,"#, "", "`cniVersions` is not a list"),
        (r#""cniVersions":["x"],"#, "", "`cniVersions` has an entry that is not a version"),
        (r#""cniVersions":[1],"#, "", "`cniVersions` has an entry that is not a version"),
        (r#""cniVersions":["1.0.0.0"],"#, "", "`cniVersions` has an entry that is not a version"),
        (r#""disableCheck":"maybe","#, "", "`disableCheck` is neither true nor false"),
        (r#""disableCheck":1,"#, "", "`disableCheck` is neither true nor false"),
        (r#""disableCheck":null,"#, "", "`disableCheck` is neither true nor false"),
        (r#""disableGC":"x","#, "", "`disableGC` is neither true nor false"),
        (
            r#""loadOnlyInlinedPlugins":"","#,
            "",
            "`loadOnlyInlinedPlugins` is neither true nor false",
        ),
    ];
    for (fields, name, expected) in cases {
        let name = match (name, expected) {
            ("", "it has no `name`") => String::new(),
            ("", _) => r#""name":"n","#.to_owned(),
            (name, _) => format!("{name},"),
        };
        let text = format!(r#"{{{fields}{name}"plugins":[{{"type":"a"}}]}}"#);
        assert_eq!(problems(&text, Form::List), [expected], "{text}");
    }
    // Their twins.
    for fields in [
        "",
        r#""cniVersion":"","#,
        r#""cniVersions":[],"#,
        r#""cniVersions":["","1","1.0","1.0.0","9.9.9"],"#,
        r#""disableCheck":"TRUE","#,
        r#""DisableCheck":"x","#,
        r#""disableGC":false,"loadOnlyInlinedPlugins":"False","#,
        r#""dns":3,"ipam":[],"#,
    ] {
        let text = format!(r#"{{{fields}"name":"n.1-a_B","plugins":[{{"type":"a"}}]}}"#);
        assert_eq!(problems(&text, Form::List), [""; 0], "{text}");
    }
    let none = r#"{"name":"n","loadOnlyInlinedPlugins":true}"#;
    assert_eq!(problems(none, Form::List), ["`plugins` is missing"]);
}

#[test]
fn what_libcni_refuses_in_a_plugin_is_a_problem_wherever_the_plugin_is() {
    let cases = [
        (r#""ipam":"x""#, "ipam", "is not a JSON object"),
        (r#""IPAM":[]"#, "ipam", "is not a JSON object"),
        (r#""dns":"x""#, "dns", "is not a JSON object"),
        (r#""dn\u017f":3"#, "dns", "is not a JSON object"),
        (r#""dns":{"domain":1}"#, "dns.domain", "is not a string"),
        (r#""dns":{"search":"x"}"#, "dns.search", "is not a list"),
        (r#""dns":{"Search":["a",null,1]}"#, "dns.search[2]", "is not a string"),
        (r#""capabilities":["x"]"#, "capabilities", "is not a JSON object"),
        (
            r#""capabilities":{"a":"true"}"#,
            "capabilities",
            "has a value that is neither true nor false",
        ),
        (r#""cniVersion":4"#, "cniVersion", "is not a string"),
        (r#""prevResult":[]"#, "prevResult", "is not a JSON object"),
        (r#""cni.dev/valid-attachments":{}"#, "cni.dev/valid-attachments", "is not a list"),
        (
            r#""cni.dev/valid-attachments":[{"ifname":1}]"#,
            "cni.dev/valid-attachments[0].ifname",
            "is not a string",
        ),
    ];
    for (field, place, reason) in cases {
        let plugin = format!(r#"{{"type":"tuning",{field}}}"#);
        let single = plugin.replacen('{', r#"{"name":"n","#, 1);
        for (text, form, above) in [
            (&single, Form::Single, ""),
            (&plugin, Form::Plugin, ""),
            // A definition, and what Multus calls.
            (&plugin, Form::Either, ""),
            (&format!(r#"{{"name":"n","plugins":[{plugin}]}}"#), Form::List, "plugins[0]."),
            (&format!(r#"{{"plugins":[{{"type":"a"}},{plugin}]}}"#), Form::Either, "plugins[1]."),
            (
                &format!(r#"{{"name":"m","type":"multus","delegates":[{single}]}}"#),
                Form::Single,
                "delegates[0].",
            ),
        ] {
            assert_eq!(problems(text, form), [format!("`{above}{place}` {reason}")], "{text}");
        }
    }
    let name = r#"{"name":"n","plugins":[{"type":"a","name":4}]}"#;
    assert_eq!(problems(name, Form::List), ["`plugins[0].name` is not a string"]);
    // `tuning` never calls it, and libcni refuses it anyway.
    let ipam = r#"{"name":"n","type":"tuning","ipam":{"type":3}}"#;
    assert_eq!(problems(ipam, Form::Single), ["`ipam` has no `type`"]);
    // Null is as good as none.
    for field in ["ipam", "dns", "capabilities", "cniVersion", "prevResult"] {
        let text = format!(r#"{{"name":"n","type":"a","{field}":null}}"#);
        assert_eq!(problems(&text, Form::Single), [""; 0], "{text}");
    }
    let text = r#"{"name":"n","type":"a","ipam":{"type":null},"dns":{"search":[null]},"capabilities":{"a":null,"b":true}}"#;
    assert_eq!(problems(text, Form::Single), [""; 0]);
}

#[test]
fn a_network_has_a_name_unless_multus_gives_it_one() {
    let loaded = |text: &str, form| {
        let network = parse_config("it", text.as_bytes(), form).unwrap();
        network
            .problems
            .iter()
            .map(|problem| match problem {
                Problem::NoName { is_loaded, .. } => Some(*is_loaded),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    for (text, form, expected) in [
        // libcni does not load a list without the key.
        (r#"{"plugins":[{"type":"a"}]}"#, Form::List, vec![Some(false)]),
        (r#"{"name":"","plugins":[{"type":"a"}]}"#, Form::List, vec![Some(true)]),
        (r#"{"type":"a"}"#, Form::Single, vec![Some(true)]),
        (r#"{"type":"a","name":""}"#, Form::Single, vec![Some(true)]),
        (r#"{"type":"a","name":null}"#, Form::Single, vec![Some(true)]),
        (r#"{"type":"a","NAME":"n"}"#, Form::Single, vec![]),
        (r#"{"type":"a"}"#, Form::Plugin, vec![]),
        (r#"{"type":"a"}"#, Form::Either, vec![]),
        (r#"{"plugins":[{"type":"a"}]}"#, Form::Either, vec![]),
        (r#"{"type":"a","name":""}"#, Form::Either, vec![]),
        (r#"{"type":"a","name":null}"#, Form::Either, vec![Some(true)]),
        (r#"{"type":"a","name":"my net"}"#, Form::Either, vec![None]),
        (r#"{"type":"a","name":"-n"}"#, Form::Single, vec![None]),
        (
            r#"{"type":"multus","name":"m","delegates":[{"type":"a"}]}"#,
            Form::Single,
            vec![Some(true)],
        ),
    ] {
        assert_eq!(loaded(text, form), expected, "{text}");
    }
}

#[test]
fn a_key_counts_under_the_names_that_libcni_reads() {
    let cases = [
        // A list is read by exact names.
        (Form::List, r#"{"CNIVersion":"0.4.0","plugins":[{"type":"firewall"}]}"#, "firewall 0.1.0"),
        (Form::Either, r#"{"CNIVersion":"0.4.0","plugins":[{"type":"a"}]}"#, "a 0.1.0"),
        (
            Form::List,
            r#"{"cniVersion":"0.4.0","CNIVersions":["1.0.0"],"plugins":[{"type":"a"}]}"#,
            "a 0.4.0",
        ),
        // A single plugin in any case, and without `cniVersions`.
        (Form::Single, r#"{"cniversion":"0.4.0","type":"a"}"#, "a 0.4.0"),
        (
            Form::Single,
            r#"{"cniVersion":"0.3.1","cniVersions":["0.4.0"],"type":"firewall"}"#,
            "firewall 0.3.1",
        ),
        (
            Form::Single,
            r#"{"cniVersion":"0.3.1","cniVersions":["1.1.0"],"type":"macvlan"}"#,
            "macvlan 0.3.1",
        ),
        (Form::Single, r#"{"cniVersions":["0.4.0"],"type":"a"}"#, "a 0.1.0"),
        (Form::Either, r#"{"cniVersion":"0.3.1","cniVersions":["0.4.0"],"type":"a"}"#, "a 0.3.1"),
        // The list's version is written before this key and read after it, or the other way round.
        (
            Form::List,
            r#"{"cniVersion":"0.4.0","plugins":[{"type":"a","cniversion":"0.1.0"}]}"#,
            "a 0.1.0",
        ),
        (
            Form::List,
            r#"{"cniVersion":"0.4.0","plugins":[{"type":"a","cniversion":""}]}"#,
            "a 0.1.0",
        ),
        (
            Form::List,
            r#"{"cniVersion":"0.4.0","plugins":[{"type":"a","cniversion":null}]}"#,
            "a 0.4.0",
        ),
        (
            Form::List,
            r#"{"cniVersion":"0.4.0","plugins":[{"type":"a","CNIVersion":"0.1.0"}]}"#,
            "a 0.4.0",
        ),
        (
            Form::List,
            r#"{"cniVersion":"0.4.0","plugins":[{"Type":"a","cniVersion":"0.1.0"}]}"#,
            "a 0.4.0",
        ),
    ];
    for (form, text, expected) in cases {
        assert_eq!(described(text, form), Ok((vec![format!("Main {expected}")], vec![])), "{text}");
    }
    for (form, text, expected) in [
        (Form::List, r#"{"name":"n","Plugins":[{"type":"a"}]}"#, vec![]),
        (Form::Either, r#"{"name":"n","Plugins":[{"type":"a"}]}"#, vec!["it has no `type`"]),
        (
            Form::List,
            r#"{"name":"n","Plugins":[{"type":"a"}],"loadOnlyInlinedPlugins":true}"#,
            vec!["`plugins` is missing"],
        ),
    ] {
        let expected = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(described(text, form), Ok((vec![], expected)), "{text}");
    }
    let network = parse_config("it", br#"{"Name":"n","plugins":[{"type":"a"}]}"#, Form::List);
    assert_eq!(network.unwrap().name, None);
}

#[test]
fn text_that_is_not_unicode_is_read_as_go_reads_it() {
    for note in [
        &b"\xff"[..],
        b"M\xfcller",
        b"\xed\xa0\x80",
        br"\ud800",
        br"\udc00 and \uD83D",
        br"\ud83d\ude00",
        b"\xf0\x9f",
    ] {
        let mut text = br#"{"cniVersion":"0.4.0","name":"n","note":""#.to_vec();
        text.extend(note);
        text.extend(br#"","plugins":[{"type":"a"}]}"#);
        let network = parse_config("it", &text, Form::List).unwrap();
        assert_eq!((network.needs.len(), network.problems.len()), (1, 0), "{note:?}");
    }
    // Outside of texts it is no JSON, and a plugin's name has no such character.
    for text in [&b"{\"name\":\"n\",\"type\":\xff}"[..], b"\xff{}", br#"{"type":\ud800}"#] {
        assert!(parse_config("it", text, Form::Single).is_err());
    }
    let network = parse_config("it", b"{\"name\":\"n\",\"type\":\"a\xff\"}", Form::Single);
    let Ok(Network { problems, .. }) = network else { panic!("{network:?}") };
    assert!(matches!(problems.as_slice(), [Problem::Type(_)]), "{problems:?}");
    // Replaced, it would be longer than any configuration.
    let long = [&br#"{"type":"a","x":""#[..], &[0xff; CONFIG_LIMIT / 2], b"\"}"].concat();
    assert!(parse_config("it", &long, Form::Single).is_err());
}
