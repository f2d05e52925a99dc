//! The classes of differences between aegis and another verifier, from `classes.txt`.
//! docs/certificate-cases.md has a sentence for each.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::Judged;

/// A line of `classes.txt`.
#[derive(Clone, Copy)]
struct Class {
    /// `accepts` or `refuses`: what aegis does.
    aegis: &'static str,
    /// The names of the other verifiers.
    others: &'static str,
    /// A part of the reason of what refuses.
    reason: &'static str,
    /// A part of one of the changes; several with ` & ` between them; or `-`.
    change: &'static str,
    name: &'static str,
}

pub struct Classes(Vec<Class>);

/// A difference between aegis and another verifier, or between aegis and all others.
pub struct Difference {
    pub title: String,
    /// `None` if it is in no class.
    pub class: Option<&'static str>,
}

impl Classes {
    pub fn read() -> Self {
        let lines = include_str!("classes.txt").lines();
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let classes = lines.map(|line| {
            let columns: Vec<&str> = line.split(" | ").collect();
            let [aegis, others, reason, change, name] = columns[..] else {
                panic!("not five columns: {line}");
            };
            assert!(["accepts", "refuses"].contains(&aegis), "{line}");
            Class {
                aegis,
                others,
                reason,
                change,
                name,
            }
        });
        Self(classes.collect())
    }

    /// All differences of a case.
    pub fn differences(&self, judged: &Judged) -> Vec<Difference> {
        let others = judged.others().filter_map(|(name, other)| {
            let (title, class) = match (&judged.aegis, other) {
                (Ok(()), Err(reason)) => ("refused", self.accepted(judged, name, reason)),
                (Err(reason), Ok(())) => ("accepted", self.find("refuses", judged, name, reason)),
                _ => return None,
            };
            let title = format!("{title} by {name}");
            Some(Difference { title, class })
        });
        let mut all: Vec<Difference> = others.collect();
        if judged.aegis.is_ok() && judged.others().all(|(_, other)| other.is_err()) {
            // There is no class for it, whatever the reasons of the others: either they know more
            // than aegis, or the case has to be understood.
            all.push(Difference {
                title: "accepted by aegis alone".to_owned(),
                class: None,
            });
        }
        all
    }

    /// The class of a refusal that aegis does not share. OpenSSL may give several reasons. Each must
    /// be in a class.
    fn accepted(&self, judged: &Judged, by: &str, reason: &str) -> Option<&'static str> {
        let reasons: Vec<&str> = match by {
            "openssl" => reason.split(" lookup: ").skip(1).collect(),
            _ => vec![reason],
        };
        let classes = reasons.iter();
        let classes = classes.map(|reason| self.find("accepts", judged, by, reason));
        classes.collect::<Option<Vec<_>>>()?.first().copied()
    }

    fn find(
        &self,
        aegis: &str,
        judged: &Judged,
        other: &str,
        reason: &str,
    ) -> Option<&'static str> {
        let changes = &judged.case.changes;
        let has = |text: &str| changes.iter().any(|change| change.contains(text));
        let found = self.0.iter().find(|class| {
            class.aegis == aegis
                && class.others.split(' ').any(|name| name == other)
                && reason.contains(class.reason)
                && (class.change == "-" || class.change.split(" & ").all(has))
        });
        found.map(|class| class.name)
    }

    pub fn names(&self) -> BTreeSet<&'static str> {
        self.0.iter().map(|class| class.name).collect()
    }

    /// Panics unless each class is in the document.
    pub fn assert_documented(&self) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/certificate-cases.md");
        let words = fs::read_to_string(file).unwrap();
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        for name in self.names() {
            assert!(
                words.contains(name),
                "not in docs/certificate-cases.md: {name}"
            );
        }
    }
}
