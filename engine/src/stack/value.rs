//! Values that remember where they were written.
//!
//! A value type of our own, so that the engine needs no parser, and so that an error found while a
//! plug-in reads its config can point at the very key. It deserialises through serde; every error
//! carries the span of the innermost value that was being read.
//!
//! It refuses nothing by itself: what parsers know and configs do not (dates) is kept as
//! [`Data::Other`] and refused by whoever reads it.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::fault::Fault;

/// Which text a span lies in: numbers are given by whoever read the texts. Zero is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SourceId(pub u32);

/// A range of bytes in one of the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Something and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spanned<T> {
    /// The thing.
    pub value: T,
    /// The place.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A thing at a place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// What it is.
    pub data: Data,
    /// Where it stands.
    pub span: Span,
}

/// What a [`Value`] can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Text in quotes.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a point.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A list.
    List(Vec<Value>),
    /// Keys and values.
    Table(Table),
    /// Something that no option takes, by the name of its type.
    Other(&'static str),
}

impl Value {
    /// A value that was written nowhere.
    pub fn plain(data: Data) -> Self {
        Self {
            data,
            span: Span::default(),
        }
    }

    /// What kind of value it is, with its article, for messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match &self.data {
            Data::Text(_) => "text",
            Data::Integer(_) => "a whole number",
            Data::Number(_) => "a number",
            Data::Flag(_) => "a flag",
            Data::List(_) => "a list",
            Data::Table(_) => "a table",
            Data::Other(name) => name,
        }
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::plain(Data::Text(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::plain(Data::Text(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::plain(Data::Integer(number))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::plain(Data::Number(number))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::plain(Data::Flag(flag))
    }
}

impl From<Vec<Value>> for Value {
    fn from(list: Vec<Value>) -> Self {
        Self::plain(Data::List(list))
    }
}

impl From<Table> for Value {
    fn from(table: Table) -> Self {
        Self::plain(Data::Table(table))
    }
}

/// As one would write it in a stack file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.data {
            Data::Text(text) => write!(f, "{text:?}"),
            Data::Integer(number) => write!(f, "{number}"),
            Data::Number(number) => write!(f, "{number:?}"),
            Data::Flag(flag) => write!(f, "{flag}"),
            Data::List(list) => {
                f.write_str("[")?;
                for (index, value) in list.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{value}")?;
                }
                f.write_str("]")
            }
            Data::Table(table) => {
                f.write_str("{")?;
                for (index, entry) in table.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma} {} = {}", entry.key.value, entry.value)?;
                }
                f.write_str(" }")
            }
            Data::Other(name) => f.write_str(name),
        }
    }
}

/// One line of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key and where it stands.
    pub key: Spanned<String>,
    /// The value.
    pub value: Value,
}

/// Keys and values in the order in which they were written. A handful of keys: looked up in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    entries: Vec<Entry>,
}

impl Table {
    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Key and value.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.value == key)
    }

    /// Sets a key, in place of what it had.
    pub fn set(&mut self, key: Spanned<String>, value: Value) {
        match self
            .entries
            .iter_mut()
            .find(|entry| entry.key.value == key.value)
        {
            Some(entry) => *entry = Entry { key, value },
            None => self.entries.push(Entry { key, value }),
        }
    }

    /// Sets a key of a table that is made in code.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.set(Spanned::new(key.to_owned(), Span::default()), value.into());
        self
    }

    /// The table at `key`, made if it is not there. `None` if something else is there.
    pub fn table_mut(&mut self, key: &Spanned<String>) -> Option<&mut Self> {
        if self.get(&key.value).is_none() {
            let value = Value {
                data: Data::Table(Self::default()),
                span: key.span,
            };
            self.set(key.clone(), value);
        }
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.key.value == key.value)?;
        match &mut entry.value.data {
            Data::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Takes a key out.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        let index = self
            .entries
            .iter()
            .position(|entry| entry.key.value == key)?;
        Some(self.entries.remove(index))
    }

    /// A table of lines whose keys are known to differ.
    #[must_use]
    pub fn of(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// The lines, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<'de> Deserializer<'de> for &'de Value {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let answer = match &self.data {
            Data::Text(text) => visitor.visit_borrowed_str(text),
            Data::Integer(number) => visitor.visit_i64(*number),
            Data::Number(number) => visitor.visit_f64(*number),
            Data::Flag(flag) => visitor.visit_bool(*flag),
            Data::List(list) => visitor.visit_seq(Elements(list.iter())),
            Data::Table(table) => visitor.visit_map(Lines {
                lines: table.entries.iter(),
                value: None,
            }),
            Data::Other(name) => Err(Fault::invalid_type(Unexpected::Other(name), &visitor)),
        };
        answer.map_err(|fault| fault.or_at(self.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let answer = match &self.data {
            Data::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Data::Table(table) if table.len() == 1 => visitor.visit_enum(One(&table.entries[0])),
            _ => Err(Fault::new(format!(
                "{} stands where a word was expected",
                self.type_name()
            ))),
        };
        answer.map_err(|fault: Fault| fault.or_at(self.span))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Elements<'de>(std::slice::Iter<'de, Value>);

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        self.0
            .next()
            .map(|value| seed.deserialize(value))
            .transpose()
    }
}

struct Lines<'de> {
    lines: std::slice::Iter<'de, Entry>,
    value: Option<&'de Value>,
}

impl<'de> MapAccess<'de> for Lines<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.lines.next() else {
            return Ok(None);
        };
        self.value = Some(&entry.value);
        let key = entry.key.value.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|fault: Fault| fault.or_at(entry.key.span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        match self.value.take() {
            Some(value) => seed
                .deserialize(value)
                .map_err(|fault| fault.or_at(value.span)),
            None => Err(Fault::new("a value was asked for before its key")),
        }
    }
}

struct One<'de>(&'de Entry);

impl<'de> EnumAccess<'de> for One<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let key = self.0.key.value.as_str().into_deserializer();
        let variant = seed
            .deserialize(key)
            .map_err(|fault: Fault| fault.or_at(self.0.key.span))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for One<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Err(Fault::new("this word takes no value").or_at(self.0.value.span))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(&self.0.value)
            .map_err(|fault| fault.or_at(self.0.value.span))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.0.value.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.0.value.deserialize_any(visitor)
    }
}
