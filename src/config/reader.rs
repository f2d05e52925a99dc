//! Reads one table of the configuration and notes every error in it.
//!
//! Reading takes a key out of the table: what is left at the end is unknown. It goes on after an
//! error, so that an operator sees all errors of a file at once.

use std::fmt::Display;
use std::path::PathBuf;

use super::error::{ConfigError, Located};
use super::section::{Section, Value};
use crate::text::origin::Origin;
use crate::text::pem;

/// One table, and where its errors and warnings go.
pub(super) struct Reader<'a> {
    pub(super) section: Section,
    pub(super) faults: &'a mut Vec<ConfigError>,
    pub(super) warnings: &'a mut Vec<String>,
}

/// The value is wrong, and its error is noted.
#[derive(Debug)]
pub(super) struct Noted;

/// A list of strings; each item that is not a string is noted.
pub(super) type Texts = Located<Vec<Result<Located<String>, Noted>>>;

impl<'a> Reader<'a> {
    /// Starts to read a table.
    pub(super) fn new(
        section: Section,
        faults: &'a mut Vec<ConfigError>,
        warnings: &'a mut Vec<String>,
    ) -> Self {
        Self {
            section,
            faults,
            warnings,
        }
    }

    /// Starts to read another table; its errors and warnings go where those of this one go.
    pub(super) fn of(&mut self, section: Section) -> Reader<'_> {
        Reader::new(section, self.faults, self.warnings)
    }

    /// Notes an error of one of the table's keys.
    pub(super) fn error(
        &mut self,
        origin: &Origin,
        key: &str,
        problem: impl Into<String>,
    ) -> Noted {
        let name = self.section.key(key);
        self.error_of(origin, name, problem)
    }

    /// Notes an error of a value, by its full name.
    pub(super) fn error_of(
        &mut self,
        origin: &Origin,
        name: impl Into<String>,
        problem: impl Into<String>,
    ) -> Noted {
        self.faults.push(ConfigError::new(origin, name, problem));
        Noted
    }

    /// Notes an error of a key that is not set, or is set more than once.
    pub(super) fn error_here(&mut self, key: &str, problem: impl Into<String>) -> Noted {
        let origin = self.section.origin().clone();
        self.error(&origin, key, problem)
    }

    /// Notes a text that does not have the form that its key needs.
    pub(super) fn invalid(&mut self, key: &str, given: &Located<String>, problem: &str) -> Noted {
        let problem = format!("{:?} {problem}", given.value);
        self.error(&given.origin, key, problem)
    }

    /// Parses a text, and notes it if it is not of its form.
    pub(super) fn parse<T>(
        &mut self,
        key: &str,
        given: Option<Located<String>>,
        parse: impl FnOnce(&str) -> Option<T>,
        problem: &str,
    ) -> Option<T> {
        let given = given?;
        let parsed = parse(&given.value);
        if parsed.is_none() {
            self.invalid(key, &given, problem);
        }
        parsed
    }

    /// Parses every text of a list, and notes those that are not of their form.
    pub(super) fn parse_all<T, E: Display>(
        &mut self,
        key: &str,
        texts: Texts,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<Result<Located<T>, Noted>> {
        let name = self.section.key(key);
        let texts = texts.value.into_iter().enumerate();
        let parsed = texts.map(|(index, text)| {
            let Located { value, origin } = text?;
            match parse(&value) {
                Ok(value) => Ok(Located { value, origin }),
                Err(error) => {
                    let problem = format!("{value:?} {error}");
                    Err(self.error_of(&origin, format!("{name}[{index}]"), problem))
                }
            }
        });
        parsed.collect()
    }

    /// Takes a string.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        self.text_or_noted(key).ok().flatten()
    }

    /// Takes a path, resolved against the file that names it; `None` if the key is not set.
    pub(super) fn path(&mut self, key: &'static str) -> Result<Option<Located<PathBuf>>, Noted> {
        match self.text_or_noted(key)? {
            Some(given) if given.value.is_empty() => {
                Err(self.error(&given.origin, key, "is empty; write a path"))
            }
            given => Ok(given.map(resolved)),
        }
    }

    /// Takes a boolean.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        match self.section.take(key) {
            None => default,
            Some((_, Value::Boolean(value))) => value,
            Some((origin, value)) => {
                let name = self.section.key(key);
                self.wrong_kind(&origin, name, "true or false", &value);
                default
            }
        }
    }

    /// Takes a list of strings; `None` if the key is not set.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Option<Texts>, Noted> {
        let Some((origin, value)) = self.section.take(key) else {
            return Ok(None);
        };
        let name = self.section.key(key);
        let Value::List(items) = value else {
            return Err(self.wrong_kind(&origin, name, "a list of strings", &value));
        };
        let items = items.into_iter().enumerate();
        let texts = items.map(|(index, (origin, item))| {
            self.string(&format!("{name}[{index}]"), "a string", origin, item)
        });
        let value = texts.collect();
        Ok(Some(Located { value, origin }))
    }

    /// Takes a value that may be a string or a number; `wanted` says what it stands for.
    pub(super) fn scalar(&mut self, key: &'static str, wanted: &str) -> Option<Located<String>> {
        match self.section.take(key)? {
            (origin, Value::Integer(number)) => Some(Located {
                value: number.to_string(),
                origin,
            }),
            (origin, value) => {
                let name = self.section.key(key);
                self.string(&name, wanted, origin, value).ok()
            }
        }
    }

    /// Takes a duration as it is written: a string with its unit.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Located<String>> {
        const WANTED: &str = "a duration in quotes and with its unit, such as \"10s\"";
        let (origin, value) = self.section.take(key)?;
        let name = self.section.key(key);
        self.string(&name, WANTED, origin, value).ok()
    }

    /// Takes a table; one that is not set is empty.
    pub(super) fn section(&mut self, key: &'static str) -> Section {
        let name = self.section.key(key);
        match self.section.take(key) {
            Some((_, Value::Table(section))) => section,
            Some((origin, value)) => {
                self.wrong_kind(&origin, name.clone(), "a table", &value);
                Section::at(&name, origin)
            }
            None => Section::at(&name, self.section.origin().clone()),
        }
    }

    /// Takes a table to read it.
    pub(super) fn table(&mut self, key: &'static str) -> Reader<'_> {
        let section = self.section(key);
        self.of(section)
    }

    /// Takes a list of tables, such as `[[allow]]`; one that is not set is empty.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Result<Section, Noted>> {
        let Some((origin, value)) = self.section.take(key) else {
            return Vec::new();
        };
        let name = self.section.key(key);
        let Value::List(items) = value else {
            let wanted = format!("a list of tables; write [[{name}]] above each of them");
            return vec![Err(self.wrong_kind(&origin, name, &wanted, &value))];
        };
        let items = items.into_iter().enumerate();
        let tables = items.map(|(index, (origin, item))| match item {
            Value::Table(section) => Ok(section),
            other @ (Value::Text(_)
            | Value::Boolean(_)
            | Value::Integer(_)
            | Value::List(_)
            | Value::Other(_)) => {
                Err(self.wrong_kind(&origin, format!("{name}[{index}]"), "a table", &other))
            }
        });
        tables.collect()
    }

    /// Takes every string in this table, whatever its key.
    pub(super) fn all_texts(&mut self) -> Vec<(String, Located<String>)> {
        let entries = self.section.take_all().into_iter();
        let texts = entries.filter_map(|(key, (origin, value))| {
            let name = self.section.key(&key);
            let text = self.string(&name, "a string", origin, value).ok()?;
            Some((key, text))
        });
        texts.collect()
    }

    /// Takes every table in this one, whatever its key, such as those below `[services]`.
    pub(super) fn all_tables(&mut self) -> Vec<(String, Section)> {
        let entries = self.section.take_all().into_iter();
        let tables = entries.filter_map(|(key, (origin, value))| match value {
            Value::Table(section) => Some((key, section)),
            other @ (Value::Text(_)
            | Value::Boolean(_)
            | Value::Integer(_)
            | Value::List(_)
            | Value::Other(_)) => {
                let name = self.section.key(&key);
                self.wrong_kind(&origin, name, "a table", &other);
                None
            }
        });
        tables.collect()
    }

    /// Ends the reading: every key that is left is unknown, and an error.
    pub(super) fn finish(self) -> Option<Noted> {
        let unknown = self.section.unknown_keys();
        let noted = (!unknown.is_empty()).then_some(Noted);
        self.faults.extend(unknown);
        noted
    }

    fn text_or_noted(&mut self, key: &'static str) -> Result<Option<Located<String>>, Noted> {
        let Some((origin, value)) = self.section.take(key) else {
            return Ok(None);
        };
        let name = self.section.key(key);
        self.string(&name, "a string", origin, value).map(Some)
    }

    fn string(
        &mut self,
        name: &str,
        wanted: &str,
        origin: Origin,
        value: Value,
    ) -> Result<Located<String>, Noted> {
        let Value::Text(value) = value else {
            return Err(self.wrong_kind(&origin, name, wanted, &value));
        };
        if pem::is_pasted(&value) {
            return Err(self.error_of(&origin, name, pem::PASTED));
        }
        Ok(Located { value, origin })
    }

    fn wrong_kind(
        &mut self,
        origin: &Origin,
        name: impl Into<String>,
        wanted: &str,
        found: &Value,
    ) -> Noted {
        let found = found.kind();
        self.error_of(origin, name, format!("is {found}, but must be {wanted}"))
    }
}

/// Resolves a path against the file that names it.
pub(super) fn resolved(given: Located<String>) -> Located<PathBuf> {
    Located {
        value: given.origin.resolve(&given.value),
        origin: given.origin,
    }
}
