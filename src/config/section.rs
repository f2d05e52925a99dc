//! The configuration as it was written: a table of values that know their place.
//!
//! Reading takes a key out, so that what is left at the end is unknown. Every reading notes
//! what is wrong and goes on, so that an operator sees all faults of a file at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Given};
use crate::origin::Origin;

/// One table of the configuration.
#[derive(Debug)]
pub(crate) struct Section {
    path: String,
    origin: Origin,
    entries: BTreeMap<String, (Origin, Value)>,
    known: Vec<&'static str>,
}

/// A value of the kinds that the configuration has.
#[derive(Debug)]
pub(crate) enum Value {
    Text(String),
    Truth(bool),
    Whole(i64),
    List(Vec<(Origin, Value)>),
    Table(Section),
    /// A kind that no key takes, by its name.
    Other(&'static str),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Truth(_) => "a boolean",
            Self::Whole(_) => "a number",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(name) => name,
        }
    }
}

impl Section {
    /// Reads a TOML file's text. Notes every syntax error that the parser can recover from.
    pub(crate) fn parse(file: &Path, text: &str, faults: &mut Vec<Fault>) -> Self {
        let place = Place {
            file: Arc::from(file),
            text,
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            let origin = place.origin(span.start);
            let problem = match (error.message(), text.get(span)) {
                ("duplicate key", Some(key)) => format!("duplicate key {key}; take one out"),
                (problem, _) => problem.to_owned(),
            };
            faults.push(Fault::new(&origin, "", format!("is not TOML: {problem}")));
        }
        let mut whole = place.section(String::new(), 0, table.get_ref());
        whole.origin = Origin::Whole(Arc::clone(&place.file));
        whole
    }

    /// Makes an empty table, as for a file that is not there.
    pub(crate) fn empty(path: &str) -> Self {
        Self::at(path, Origin::Unset)
    }

    /// Makes an empty table that is to be filled from elsewhere than the file.
    pub(crate) fn at(path: &str, origin: Origin) -> Self {
        Self {
            path: path.to_owned(),
            origin,
            entries: BTreeMap::new(),
            known: Vec::new(),
        }
    }

    /// Sets a key to what a flag says, in place of what the file says.
    pub(crate) fn set(&mut self, key: &str, flag: &'static str, value: Value) {
        self.entries
            .insert(key.to_owned(), (Origin::Flag(flag), value));
    }

    /// The full name of one of the table's keys.
    pub(crate) fn key(&self, key: &str) -> String {
        full_name(&self.path, key)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Takes a string.
    pub(crate) fn text(
        &mut self,
        key: &'static str,
        faults: &mut Vec<Fault>,
    ) -> Option<Given<String>> {
        let (origin, value) = self.take(key)?;
        as_text(&self.key(key), origin, value, faults)
    }

    /// Takes a boolean; one that is not there is false.
    pub(crate) fn flag(&mut self, key: &'static str, faults: &mut Vec<Fault>) -> bool {
        let Some((origin, value)) = self.take(key) else {
            return false;
        };
        let Value::Truth(truth) = value else {
            faults.push(wrong_kind(&origin, &self.key(key), "true or false", &value));
            return false;
        };
        truth
    }

    /// Takes a list of strings.
    pub(crate) fn texts(
        &mut self,
        key: &'static str,
        faults: &mut Vec<Fault>,
    ) -> Option<Given<Vec<Given<String>>>> {
        let (origin, value) = self.take(key)?;
        let name = self.key(key);
        let Value::List(items) = value else {
            faults.push(wrong_kind(&origin, &name, "a list of strings", &value));
            return None;
        };
        let value = items
            .into_iter()
            .enumerate()
            .filter_map(|(index, (origin, item))| {
                as_text(&format!("{name}[{index}]"), origin, item, faults)
            })
            .collect();
        Some(Given { value, origin })
    }

    /// Takes a value that may be a string or a number; `wanted` says what it stands for.
    pub(crate) fn scalar(
        &mut self,
        key: &'static str,
        wanted: &str,
        faults: &mut Vec<Fault>,
    ) -> Option<Given<String>> {
        match self.take(key)? {
            (origin, Value::Whole(number)) => Some(Given {
                value: number.to_string(),
                origin,
            }),
            (origin, value) => as_wanted(&self.key(key), wanted, origin, value, faults),
        }
    }

    /// Takes a duration as it is written: a string with its unit.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        faults: &mut Vec<Fault>,
    ) -> Option<Given<String>> {
        const WANTED: &str = "a duration in quotes and with its unit, such as \"10s\"";
        let (origin, value) = self.take(key)?;
        as_wanted(&self.key(key), WANTED, origin, value, faults)
    }

    /// Takes a table; one that is not there is empty.
    pub(crate) fn table(&mut self, key: &'static str, faults: &mut Vec<Fault>) -> Self {
        match self.take(key) {
            Some((_, Value::Table(section))) => section,
            Some((origin, value)) => {
                faults.push(wrong_kind(&origin, &self.key(key), "a table", &value));
                Self::at(&self.key(key), origin)
            }
            None => Self::at(&self.key(key), self.origin.clone()),
        }
    }

    /// Takes a list of tables, such as `[[allow]]`.
    pub(crate) fn tables(&mut self, key: &'static str, faults: &mut Vec<Fault>) -> Vec<Self> {
        let Some((origin, value)) = self.take(key) else {
            return Vec::new();
        };
        let name = self.key(key);
        let Value::List(items) = value else {
            faults.push(wrong_kind(&origin, &name, "a list of tables", &value));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, (origin, item)) in items.into_iter().enumerate() {
            let Value::Table(section) = item else {
                let name = format!("{name}[{index}]");
                faults.push(wrong_kind(&origin, &name, "a table", &item));
                continue;
            };
            tables.push(section);
        }
        tables
    }

    /// Takes every string in this table, whatever its key.
    pub(crate) fn all_texts(&mut self, faults: &mut Vec<Fault>) -> Vec<(String, Given<String>)> {
        let mut texts = Vec::new();
        for (key, (origin, value)) in std::mem::take(&mut self.entries) {
            let name = self.key(&key);
            texts.extend(as_text(&name, origin, value, faults).map(|text| (key, text)));
        }
        texts
    }

    /// Takes every table in this one, whatever its key, such as those below `[services]`.
    pub(crate) fn all_tables(&mut self, faults: &mut Vec<Fault>) -> Vec<(String, Self)> {
        let mut tables = Vec::new();
        for (key, (origin, value)) in std::mem::take(&mut self.entries) {
            let Value::Table(section) = value else {
                faults.push(wrong_kind(&origin, &self.key(&key), "a table", &value));
                continue;
            };
            tables.push((key, section));
        }
        tables
    }

    /// Ends the reading: whatever is left is unknown, and an error.
    pub(crate) fn finish(self, faults: &mut Vec<Fault>) {
        for (key, (origin, _)) in &self.entries {
            let known: BTreeSet<&str> = self.known.iter().copied().collect();
            let known = Vec::from_iter(known).join(", ");
            faults.push(Fault::new(
                origin,
                self.key(key),
                format!("unknown key; the keys here are {known}"),
            ));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<(Origin, Value)> {
        self.known.push(key);
        self.entries.remove(key)
    }
}

/// The name of a key with the tables around it; quoted where TOML would need it.
fn full_name(path: &str, key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let key = match !key.is_empty() && key.bytes().all(bare) {
        true => key.to_owned(),
        false => format!("{key:?}"),
    };
    match path {
        "" => key,
        path => format!("{path}.{key}"),
    }
}

fn as_text(
    name: &str,
    origin: Origin,
    value: Value,
    faults: &mut Vec<Fault>,
) -> Option<Given<String>> {
    as_wanted(name, "a string", origin, value, faults)
}

fn as_wanted(
    name: &str,
    wanted: &str,
    origin: Origin,
    value: Value,
    faults: &mut Vec<Fault>,
) -> Option<Given<String>> {
    let Value::Text(value) = value else {
        faults.push(wrong_kind(&origin, name, wanted, &value));
        return None;
    };
    Some(Given { value, origin })
}

fn wrong_kind(origin: &Origin, name: &str, wanted: &str, found: &Value) -> Fault {
    let found = found.kind();
    Fault::new(origin, name, format!("must be {wanted}, but is {found}"))
}

/// Turns positions in a file's text into lines.
struct Place<'a> {
    file: Arc<Path>,
    text: &'a str,
}

impl Place<'_> {
    fn origin(&self, position: usize) -> Origin {
        let before = self.text.bytes().take(position);
        Origin::File(
            Arc::clone(&self.file),
            before.filter(|byte| *byte == b'\n').count() + 1,
        )
    }

    fn section(&self, path: String, position: usize, table: &DeTable<'_>) -> Section {
        let entries = table
            .iter()
            .map(|(key, value)| {
                let name = key.get_ref().to_string();
                let full = full_name(&path, &name);
                let origin = self.origin(key.span().start);
                (name, (origin, self.value(full, value)))
            })
            .collect();
        Section {
            origin: self.origin(position),
            path,
            entries,
            known: Vec::new(),
        }
    }

    fn value(&self, path: String, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number out of range"), Value::Whole),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        let origin = self.origin(item.span().start);
                        (origin, self.value(format!("{path}[{index}]"), item))
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.section(path, value.span().start, table)),
            DeValue::Boolean(truth) => Value::Truth(*truth),
            DeValue::Float(_) => Value::Other("a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
        }
    }
}
