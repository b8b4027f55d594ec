//! Stream entries as Redis answers them, read without trusting their form.

use std::fmt;

use deadpool_redis::redis::{RedisWrite, ToRedisArgs, ToSingleRedisArg, Value};

use crate::{Hint, HintError};

/// The one field of an entry that is ours.
pub(crate) const FIELD: &str = "h";

/// The place of an entry in its stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryId(pub String);

/// An entry that was given to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Of which rail's stream.
    pub rail: String,
    /// Which entry; to be acknowledged after what it led to was committed.
    pub entry: EntryId,
    /// What it says. An entry with an error is to be set aside, neither acknowledged nor worked on.
    pub hint: Result<Hint, HintError>,
}

impl EntryId {
    /// When Redis says that it was written, in milliseconds since 1970: the first part of its number.
    pub(crate) fn millis(&self) -> Option<u64> {
        self.0.split('-').next()?.parse().ok()
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ToRedisArgs for EntryId {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(self.0.as_bytes());
    }
}

impl ToSingleRedisArg for EntryId {}

/// `[[id, [field, value, ...]], ...]` as entries. `None` if it is not of that form at all; an entry that only lacks our
/// field is one that cannot be read.
pub(crate) fn entries(value: Value) -> Option<Vec<(EntryId, Result<Hint, HintError>)>> {
    array(value)?.into_iter().map(entry).collect()
}

fn entry(value: Value) -> Option<(EntryId, Result<Hint, HintError>)> {
    let mut parts = array(value)?.into_iter();
    let id = EntryId(text(parts.next()?)?);
    let mut fields = array(parts.next()?)?.into_iter();
    while let (Some(name), Some(content)) = (fields.next(), fields.next()) {
        if let (Some(FIELD), Value::BulkString(bytes)) = (text(name).as_deref(), content) {
            return Some((id, Hint::decode(&bytes)));
        }
    }
    Some((id, Err(HintError::Unreadable)))
}

pub(crate) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
