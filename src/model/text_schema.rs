//! JSON schemas of the types that are written as one text: a pattern for each. Only the tests that
//! compare the shipped schemas with the types use them.

use super::{BundleName, Digest, Platform, PluginName, Sha512};

/// Implements `JsonSchema` for a type that is a text of this pattern.
macro_rules! text_schema {
    ($($text:ident $pattern:literal)+) => {
        $(impl schemars::JsonSchema for $text {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($text).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        })+
    };
}
pub(crate) use text_schema;

text_schema! {
    BundleName "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
    Digest "^sha256:[0-9a-f]{64}$"
    PluginName "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
    Sha512 "^sha512:[0-9a-f]{128}$"
}

impl schemars::JsonSchema for Platform {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Platform".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "enum": Platform::all().collect::<Vec<_>>() })
    }
}
