//! `bundles/lock.schema.json` is generated from the types.

use std::path::Path;

use serde_json::Value;

use super::*;

/// The text of the schema.
fn schema() -> String {
    let generator = schemars::generate::SchemaSettings::draft07().into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<BundleLock>());
    schema["title"] = "cnister lock".into();
    json::readable(&schema)
}

fn shipped(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles").join(name)
}

#[test]
fn the_file_beside_the_bundles_is_the_schema_of_the_types() {
    let path = shipped("lock.schema.json");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, schema()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(found == schema(), "{} is out of date: UPDATE_SNAPSHOTS=1", path.display());
}

#[test]
fn the_shipped_lock_names_the_schema_and_is_written_as_it_is() {
    let text = std::fs::read_to_string(shipped("from-source.lock.json")).unwrap();
    let lock = BundleLock::parse("from-source.lock.json", text.as_bytes()).unwrap();
    assert_eq!(lock.schema.as_deref(), Some("lock.schema.json"));
    assert_eq!(lock.to_text(), text);
}
