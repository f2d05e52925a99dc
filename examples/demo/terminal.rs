//! What the viewer sees.

use std::fmt::Display;
use std::io::{self, Write as _};

use crate::Outcome;

/// Prints a text as it is.
pub(crate) fn say(text: impl Display) -> Outcome {
    // Not println!, which would panic once the viewer's pager is gone.
    let mut terminal = io::stdout().lock();
    write!(terminal, "{text}")?;
    Ok(terminal.flush()?)
}

/// Prints what comes next.
pub(crate) fn title(text: &str) -> Outcome {
    say(format!("\n# {text}\n"))
}

/// Prints each line of a text with its source before it.
pub(crate) fn quote(source: &str, text: impl Display) -> Outcome {
    let text = text.to_string();
    text.lines()
        .try_for_each(|line| say(format!("{source:7} | {line}\n")))
}
