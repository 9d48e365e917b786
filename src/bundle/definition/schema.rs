//! The JSON schema of definitions, which editors read.
//!
//! `bundles/bundle.schema.json` is this text. The kinds of sources come from their table, platforms
//! and limits from where they are decided; the tests compare the rest with the parser.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::gates;
use super::source::{KINDS, Recipe, SourceDescription};
use crate::bundle::{Encoding, FileManifest};
use crate::model::{Platform, json};

/// Three numbers, and what semver allows behind them.
const VERSION: &str = concat!(
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)",
    r"(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$",
);

/// The text of the schema.
pub fn schema() -> String {
    json::readable(&json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "cnister bundle definition",
        "description":
            "Which CNI plugins a bundle contains, for which platforms, and where they come from.",
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "name", "version", "platforms", "sources", "plugins"],
        "properties": {
            "apiVersion": {
                "description": "The version of this format.",
                "const": "cnister.dev/v1",
            },
            "kind": { "description": "What this file is.", "const": "Bundle" },
            "name": {
                "description": "The bundle's name. Policies may list the names they accept.",
                "type": "string",
                "pattern": "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$",
            },
            "version": {
                "description":
                    "The bundle's version (semver). It is part of what is signed; policies may set \
                     a floor.",
                "type": "string",
                "pattern": VERSION,
            },
            "platforms": {
                "description": "The platforms that the bundle is built for.",
                "type": "array",
                "minItems": 1,
                "uniqueItems": true,
                "items": { "enum": Platform::all().collect::<Vec<_>>() },
            },
            "sources": {
                "description": "Where plugins come from.",
                "type": "array",
                "minItems": 1,
                "items": source(),
            },
            "plugins": plugins(),
            "compression": {
                "description":
                    "How layers are compressed: balanced (the default, also called zstd) and best \
                     are zstd, half the bytes of gzip; best takes longer for fewer bytes; gzip is \
                     for runtimes older than containerd 1.5; none has a digest that depends on no \
                     encoder.",
                "enum": Encoding::NAMES,
                "default": Encoding::default(),
            },
            "tool": {
                "description":
                    "none: the image does not contain cnister and cannot stage its own files. By default, it does.",
                "enum": ["none"],
            },
            "gates": gates::schema(),
            "repository": {
                "description": "The URL of where this definition is kept, for SBOMs.",
                "type": "string",
                "minLength": 1,
            },
            "image": {
                "description":
                    "The repository that the image will be pushed to, such as ghcr.io/acme/cni, \
                     for SBOMs.",
                "type": "string",
                "minLength": 1,
            },
            "author": {
                "description":
                    "Who makes the bundle, for SBOMs: `NAME`, `NAME <EMAIL>` or `NAME <URL>`.",
                "type": "string",
                "minLength": 1,
            },
        },
        "definitions": {
            "plugin": {
                "description": "The name of a plugin: the `type` of a CNI configuration.",
                "type": "string",
                "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$",
            },
            "recipe": Recipe::schema(),
        },
    }))
}

/// A name, and exactly one of the keys of the table.
fn source() -> Value {
    let name = json!({
        "description": "What plugins and `--directory NAME=PATH` call this source.",
        "type": "string",
        "pattern": "^[a-z0-9-]{1,63}$",
    });
    let version = json!({
        "description":
            "The version of the plugins in a directory; an archive or file has its own.",
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$",
    });
    let keys = KINDS.iter().map(|kind| (kind.key, (kind.schema)()));
    let others = [("name", name), ("version", version)];
    let others = others.into_iter().chain(SourceDescription::schema());
    let properties: BTreeMap<&str, Value> = keys.chain(others).collect();
    let kinds: Vec<String> =
        KINDS.iter().map(|kind| format!("`{}` ({})", kind.key, kind.article)).collect();
    json!({
        "description": format!("A name, and exactly one of: {}.", kinds.join(", ")),
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "oneOf": KINDS.iter().map(|kind| json!({ "required": [kind.key] })).collect::<Vec<_>>(),
        "properties": properties,
    })
}

fn plugins() -> Value {
    json!({
        "description":
            "The plugins: a name if there is one source, a name and a source if there are several.",
        "type": "array",
        "minItems": 1,
        "maxItems": FileManifest::MAX_PLUGINS,
        "uniqueItems": true,
        "items": {
            "anyOf": [
                { "$ref": "#/definitions/plugin" },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["name", "source"],
                    "properties": {
                        "name": { "$ref": "#/definitions/plugin" },
                        "source": {
                            "description": "The name of one of the sources.",
                            "type": "string",
                        },
                    },
                },
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_beside_the_bundles_is_this_schema() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/bundle.schema.json");
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&path, schema()).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap();
        assert!(found == schema(), "{} is out of date: UPDATE_SNAPSHOTS=1", path.display());
    }

    #[test]
    fn a_source_has_a_name_and_one_of_the_kinds() {
        let source = source();
        let keys: Vec<_> = KINDS.iter().map(|kind| kind.key).collect();
        assert_eq!(
            source["oneOf"],
            json!(keys.iter().map(|key| json!({"required": [key]})).collect::<Vec<_>>())
        );
        assert!(keys.iter().all(|key| source["properties"][key]["description"].is_string()));
        assert_eq!(source["additionalProperties"], json!(false));
    }
}
