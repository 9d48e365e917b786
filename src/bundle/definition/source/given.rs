//! Reading a value that may be written in two ways, and a key that may not be left without a value.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

/// A key without a value is a mistake, and not the same as no key.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// For types that are read with `#[serde(try_from = "String")]`: the text is parsed by `FromStr`.
macro_rules! checked_texts {
    ($($text:ident)+) => {
        $(impl TryFrom<String> for $text {
            type Error = <Self as FromStr>::Err;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        })+
    };
}
pub(super) use checked_texts;

/// A text that is parsed.
pub(in crate::bundle::definition) fn parsed<'de, D, T>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

/// A value as it was written.
#[derive(Debug)]
pub(super) enum Written<F> {
    /// As plain text.
    Text(String),
    /// As a mapping.
    Fields(F),
}

/// Reads plain text or a mapping. By hand, since serde's `untagged` loses the place and the reason
/// of a mistake. `expected` is what an error says is allowed.
pub(super) fn text_or_fields<'de, D: Deserializer<'de>, F: Deserialize<'de>>(
    deserializer: D,
    expected: &'static str,
) -> Result<Written<F>, D::Error> {
    deserializer.deserialize_any(TextOrFields { expected, fields: PhantomData })
}

struct TextOrFields<F> {
    expected: &'static str,
    fields: PhantomData<F>,
}

impl<'de, F: Deserialize<'de>> Visitor<'de> for TextOrFields<F> {
    type Value = Written<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Written::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        F::deserialize(MapAccessDeserializer::new(map)).map(Written::Fields)
    }
}
