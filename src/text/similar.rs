//! "Did you mean": which of the known words a mistyped one is.

/// The known word that a word is most similar to; `None` if it is similar to none.
pub(crate) fn most_similar<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(known, word);
    let closest = known.into_iter().min_by_key(distance);
    closest.filter(|known| distance(known) <= MAX_DISTANCE)
}

/// A word with more mistyped letters is not a typing error.
const MAX_DISTANCE: usize = 2;
