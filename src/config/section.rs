//! The configuration as it is written: tables of values, each with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use crate::text::origin::Origin;
use crate::text::pem;
use crate::text::similar::most_similar;

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
    Boolean(bool),
    Integer(i64),
    List(Vec<(Origin, Value)>),
    Table(Section),
    /// A kind that no key takes, by its name.
    Other(&'static str),
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "a number",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(name) => name,
        }
    }
}

impl Section {
    /// Parses a TOML file. Returns every syntax error that the parser can recover from, too.
    pub(crate) fn parse(file: &Path, text: &str) -> (Self, Vec<ConfigError>) {
        let mut parser = Parser::new(file, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        // A file of something else has other errors too, and its text may be secret.
        let is_named = errors.iter().all(|error| error.message() == DUPLICATE);
        let more = errors.len().saturating_sub(MAX_SYNTAX_ERRORS);
        for error in errors.into_iter().take(MAX_SYNTAX_ERRORS) {
            let span = error.span().unwrap_or_default();
            let origin = parser.origin(span.start);
            let problem = match (error.message(), text.get(span)) {
                (DUPLICATE, Some(key)) if is_named && !pem::is_pasted(key) => {
                    format!("duplicate key {key}; remove one")
                }
                (problem, _) => problem.to_owned(),
            };
            parser.error(&origin, "", format!("is not TOML: {problem}"));
        }
        let whole = Origin::Whole(Arc::clone(&parser.file));
        if more > 0 {
            let problem = format!("is not TOML in {more} more places; is it the right file?");
            parser.error(&whole, "", problem);
        }
        let mut section = parser.section(String::new(), 0, table.get_ref());
        section.origin = whole;
        (section, parser.faults)
    }

    /// Makes an empty table, as for a file that does not exist.
    pub(crate) fn empty(path: &str) -> Self {
        Self::at(path, Origin::Unset)
    }

    /// Makes an empty table that flags will fill.
    pub(crate) fn at(path: &str, origin: Origin) -> Self {
        Self {
            path: path.to_owned(),
            origin,
            entries: BTreeMap::new(),
            known: Vec::new(),
        }
    }

    /// Sets a key to the value of a flag, in place of the file's value. Returns where that is.
    pub(crate) fn set(&mut self, key: &str, flag: &'static str, value: Value) -> Option<Origin> {
        let value = (Origin::Flag(flag), value);
        let replaced = self.entries.insert(key.to_owned(), value);
        replaced.map(|(origin, _)| origin)
    }

    /// Returns the full name of one of the table's keys.
    pub(crate) fn key(&self, key: &str) -> String {
        full_name(&self.path, key)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Takes a value out. Its key is known from here on.
    pub(super) fn take(&mut self, key: &'static str) -> Option<(Origin, Value)> {
        self.known.push(key);
        self.entries.remove(key)
    }

    /// Takes every value out, whatever its key.
    pub(super) fn take_all(&mut self) -> BTreeMap<String, (Origin, Value)> {
        std::mem::take(&mut self.entries)
    }

    /// Whether a list of tables, as `[[name]]` makes, is left that no key has taken.
    pub(super) fn has_tables_left(&self) -> bool {
        let mut left = self.entries.values();
        left.any(|(_, value)| {
            matches!(value, Value::List(items)
                if items.iter().any(|(_, item)| matches!(item, Value::Table(_))))
        })
    }

    /// Returns an error for each key that is left.
    pub(super) fn unknown_keys(&self) -> Vec<ConfigError> {
        let known: BTreeSet<&str> = self.known.iter().copied().collect();
        let left = self.entries.iter();
        left.map(|(key, (origin, _))| {
            ConfigError::new(origin, self.key(key), self.unknown_key(key, &known))
        })
        .collect()
    }

    /// Explains that a key is unknown, and which one was meant.
    fn unknown_key(&self, key: &str, known: &BTreeSet<&str>) -> String {
        if !self.path.is_empty() && TOP_KEYS.contains(&key) {
            return format!(
                "unknown key; {key} belongs at the top of the file, above the first [table]"
            );
        }
        let meant = most_similar(key, known.iter().copied());
        let known = Vec::from_iter(known.iter().copied()).join(", ");
        match meant {
            Some(meant) => format!("unknown key; did you mean {meant}? The keys here are {known}"),
            None => format!("unknown key; the keys here are {known}"),
        }
    }
}

/// Keys of the file itself, which TOML puts into the table above them if they come later.
const TOP_KEYS: [&str; 8] = [
    "admin_socket",
    "admin_socket_mode",
    "advertise",
    "forget_after",
    "listen",
    "sandbox",
    "socket_dir",
    "unsafe_no_sandbox",
];

/// The name of a key with the tables around it; quoted where TOML would need it.
fn full_name(path: &str, key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let key = if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    match path {
        "" => key,
        path => format!("{path}.{key}"),
    }
}

const DUPLICATE: &str = "duplicate key";

/// A file that is not TOML has an error in each line.
const MAX_SYNTAX_ERRORS: usize = 20;

/// Turns the parser's tables into sections, and positions in the text into lines.
struct Parser {
    file: Arc<Path>,
    /// Where each line ends but the last.
    line_ends: Vec<usize>,
    faults: Vec<ConfigError>,
}

impl Parser {
    fn new(file: &Path, text: &str) -> Self {
        let line_ends = text.match_indices('\n').map(|(end, _)| end);
        Self {
            file: Arc::from(file),
            line_ends: line_ends.collect(),
            faults: Vec::new(),
        }
    }

    fn error(&mut self, origin: &Origin, key: &str, problem: String) {
        self.faults.push(ConfigError::new(origin, key, problem));
    }

    fn origin(&self, position: usize) -> Origin {
        let lines_before = self.line_ends.partition_point(|end| *end < position);
        Origin::File(Arc::clone(&self.file), lines_before + 1)
    }

    fn section(&mut self, path: String, position: usize, table: &DeTable<'_>) -> Section {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let origin = self.origin(key.span().start);
            if pem::is_pasted(&name) {
                let problem = format!("a key of the file {}", pem::PASTED);
                self.error(&origin, &path, problem);
                continue;
            }
            let value = self.value(full_name(&path, &name), value);
            entries.insert(name, (origin, value));
        }
        Section {
            origin: self.origin(position),
            path,
            entries,
            known: Vec::new(),
        }
    }

    fn value(&mut self, path: String, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number out of range"), Value::Integer),
            DeValue::Array(items) => {
                let items = items.iter().enumerate().map(|(index, item)| {
                    let origin = self.origin(item.span().start);
                    let value = self.value(format!("{path}[{index}]"), item);
                    (origin, value)
                });
                Value::List(items.collect())
            }
            DeValue::Table(table) => Value::Table(self.section(path, value.span().start, table)),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Float(_) => Value::Other("a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
        }
    }
}
