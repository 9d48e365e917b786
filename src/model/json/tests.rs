use serde::Deserialize;
use serde_json::Value;

use super::*;

#[test]
fn refuses_a_repeated_key_at_any_depth() {
    for text in [r#"{"a":1,"a":1}"#, r#"{"b":[{"a":1,"a":2}]}"#, r#"{"a":1,"\u0061":2}"#] {
        let error = parse::<Value>("it", text.as_bytes(), 100).expect_err(text).to_string();
        assert!(error.contains("the key `a` appears twice"), "{text}: {error}");
    }
    assert_eq!(parse::<Value>("it", br#"{"a":{"a":1}}"#, 100).unwrap()["a"]["a"], 1);
}

/// A document that Go reads: `layers` and `config` are fields, `labels` has keys that are data.
const FIELDS: Outline = Outline::Fields(&Fields::exact(&[
    ("layers", Outline::List(&LAYER)),
    ("config", LAYER),
    ("labels", Outline::Map(&Outline::Any)),
    ("predicate", Outline::Ignored),
]));
const LAYER: Outline = Outline::Fields(&Fields::exact(&[("mediaType", Outline::Any)]));

fn outlined(text: &str, outline: Outline, values: usize) -> Result<Value, String> {
    let limits = Limits { bytes: 1 << 20, values };
    parse_as("it", text.as_bytes(), limits, outline).map_err(|error| error.to_string())
}

#[test]
fn refuses_another_spelling_of_a_field_where_fields_are_known() {
    let cases = [
        (r#"{"Layers":[]}"#, "the key `Layers` is another spelling of `layers` at line 1 column 9"),
        (r#"{"layers":[],"LAYERS":[]}"#, "the key `LAYERS` is another spelling of `layers`"),
        // What Go's `foldRune` folds into ASCII: U+017F and U+212A.
        (r#"{"layer\u017f":[]}"#, "the key `layer\u{17f}` is another spelling of `layers`"),
        ("{\"label\u{17f}\":{}}", "the key `label\u{17f}` is another spelling of `labels`"),
        (r#"{"_layers":[]}"#, "the key `_layers` is another spelling of `layers`"),
        (
            r#"{"layers":[{"media_type":1}]}"#,
            "the key `media_type` is another spelling of `mediaType`",
        ),
        (r#"{"config":{"MediaType":1}}"#, "the key `MediaType` is another spelling of `mediaType`"),
        // Two that only a newer reader may know.
        (r#"{"new":1,"New":2}"#, "the keys `new` and `New` are the same key to other readers"),
        (
            "{\"config\":{\"tick\":1,\"tic\u{212a}\":2}}",
            "the keys `tick` and `tic\u{212a}` are the same key",
        ),
        (r#"{"labels":{"a":1,"a":2}}"#, "the key `a` appears twice at line 1 column 20"),
        (r#"{"predicate":{"b":[{"a":1,"a":2}]}}"#, "the key `a` appears twice"),
    ];
    for (text, expected) in cases {
        let error = outlined(text, FIELDS, 100).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
    for text in [
        r#"{"layers":[{"mediaType":1}],"config":{"mediaType":1}}"#,
        r#"{"labels":{"A":1,"a":2,"Layers":3,"layers":4}}"#,
        r#"{"predicate":{"A":1,"a":2}}"#,
        r#"{"New":1,"newer":2}"#,
    ] {
        outlined(text, FIELDS, 100).expect(text);
    }
}

#[test]
fn a_field_alone_in_another_spelling_is_read_where_go_reads_it() {
    const GO: Outline = Outline::Fields(&Fields {
        known: &[("type", Outline::Any)],
        others: Outline::Any,
        spelling: Spelling::Read,
    });
    assert_eq!(outlined(r#"{"Type":1}"#, GO, 100).unwrap()["Type"], 1);
    for text in [r#"{"Type":1,"type":2}"#, r#"{"TYPE":1,"tYpe":2}"#, r#"{"x":1,"X":2}"#] {
        let error = outlined(text, GO, 100).expect_err(text);
        assert!(error.contains("are the same key to other readers"), "{text}: {error}");
    }
}

#[test]
fn values_are_counted_where_they_are_kept() {
    for (text, count) in [
        (r#"{"layers":[1,[2,3],{"a":4}]}"#, 6),
        (r#"{"layers":[{},{}],"predicate":[1,2,3,{"a":[4]}],"x":[5,6]}"#, 3),
        (r#"{"labels":{"a":"","b":""}}"#, 3),
        ("7", 0),
    ] {
        assert!(outlined(text, FIELDS, count).is_ok(), "{text}");
        if let Some(fewer) = count.checked_sub(1) {
            let error = outlined(text, FIELDS, fewer).expect_err(text);
            assert!(error.contains(&format!("more than {fewer} values at line 1")), "{error}");
        }
    }
}

#[test]
fn many_keys_are_told_apart() {
    let many: Vec<String> = (0..20_000).map(|n| format!(r#""{n}":{{"{n}":0}}"#)).collect();
    let text = format!("{{{}}}", many.join(","));
    assert!(outlined(&text, Outline::Ignored, 0).is_ok());
    let twice = text.replace(r#""19999":{"#, r#""7":{"#);
    let error = outlined(&twice, Outline::Ignored, 0).expect_err("a key twice");
    assert!(error.contains("the key `7` appears twice"), "{error}");
}

#[test]
fn refuses_a_document_past_its_limit() {
    assert_eq!(
        parse::<Value>("it", b"[1, 2]", 5).expect_err("six bytes").to_string(),
        "it is 6 bytes long, the limit is 5"
    );
    assert!(parse::<Value>("it", b"[1,2]", 5).is_ok());
}

#[test]
fn a_message_repeats_the_start_of_a_long_text() {
    let long = format!("[\"{}\"]", "x".repeat(5000));
    let error = parse::<Vec<u8>>("it", long.as_bytes(), 6000).expect_err("a string").to_string();
    assert!(error.ends_with("… at line 1 column 5003"), "{error}");
    assert!(error.len() < 1200 && error.contains("xxx"), "{error}");
    let error = parse::<Vec<crate::model::Digest>>("it", long.as_bytes(), 6000).expect_err("no");
    assert!(error.to_string().len() < 400, "{error}");
}

#[test]
fn names_line_and_column() {
    let error = parse::<Vec<u8>>("it", b"[1,\n \"x\"]", 50).expect_err("a string").to_string();
    assert!(error.contains("line 2 column"), "{error}");
}

#[test]
fn repeats_nothing_that_would_make_a_line_of_its_own() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[expect(dead_code, reason = "only parsed")]
        digest: crate::model::Digest,
    }
    let cases = [
        (r#"{"digest":"sha256:0\nproven: yes"}"#, "digest `0\\u{a}proven: yes` has `\\u{a}` where"),
        (r#"{"di\u001b[2J\ngest":1}"#, "unknown field `di\\u{1b}[2J\\u{a}gest`, expected `digest`"),
        (r#"{"digest":"\u202e"}"#, "digest `\\u{202e}` does not start with"),
    ];
    for (text, expected) in cases {
        let error = parse::<File>("it", text.as_bytes(), 100).expect_err(text).to_string();
        assert!(error.contains(expected) && !error.contains(char::is_control), "{error}");
    }
    assert!(
        parse::<File>("it", br#"{"di\u0067est":1}"#, 100)
            .expect_err("a number")
            .to_string()
            .contains("integer")
    );
}

#[test]
fn writes_equal_values_as_equal_bytes() {
    let map = std::collections::HashMap::from([("b", 1), ("a", 2), ("c", 3)]);
    assert_eq!(canonical(&map), br#"{"a":2,"b":1,"c":3}"#);
    assert_eq!(readable(&map), "{\n  \"a\": 2,\n  \"b\": 1,\n  \"c\": 3\n}\n");
}
