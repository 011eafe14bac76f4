//! What every cell of the matrix must be: `matrix.txt`, read.

use crate::matrix::Seen;
use crate::scene::ALL;

/// What is expected of some cells of a row.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) row: &'static str,
    versions: &'static str,
    pools: &'static str,
    /// The answer and the effect.
    cell: &'static str,
    /// A part of what Celery answers.
    text: &'static str,
    /// A part of what that means; empty when Celery's text says it.
    meaning: &'static str,
}

/// All rules.
///
/// # Panics
/// When a line cannot be read.
pub(crate) fn rules() -> Vec<Rule> {
    let lines = include_str!("matrix.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(Rule::read).collect()
}

/// Rows in the order of the rules.
pub(crate) fn rows(rules: &[Rule]) -> Vec<&'static str> {
    let mut rows: Vec<&str> = rules.iter().map(|rule| rule.row).collect();
    rows.dedup();
    rows
}

/// The rule of a cell.
///
/// # Panics
/// When there are several.
pub(crate) fn rule<'a>(
    rules: &'a [Rule],
    row: &str,
    pool: &str,
    version: &str,
) -> Option<&'a Rule> {
    let mut its = rules
        .iter()
        .filter(|rule| rule.row == row && rule.is_for(pool, version));
    let first = its.next();
    assert!(its.next().is_none(), "two rules: {row} {pool} {version}");
    first
}

impl Rule {
    fn read(line: &'static str) -> Self {
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let [row, versions, pools, cell, text, rest @ ..] = parts.as_slice() else {
            panic!("too few columns: {line}");
        };
        let named = pools.strip_prefix("not ").unwrap_or(pools).split(' ');
        for pool in named {
            assert!(pool == "all" || ALL.contains(&pool), "no pool: {line}");
        }
        Self {
            row,
            versions,
            pools,
            cell,
            text,
            meaning: rest.first().copied().unwrap_or_default(),
        }
    }

    fn is_for(&self, pool: &str, version: &str) -> bool {
        let names =
            |list: &str, one: &str| list == "all" || list.split(' ').any(|name| name == one);
        let its_pool = match self.pools.strip_prefix("not ") {
            Some(other) => !names(other, pool),
            None => names(self.pools, pool),
        };
        its_pool && names(self.versions, version)
    }

    /// Whether it is as seen.
    pub(crate) fn holds(&self, seen: &Seen) -> bool {
        let answer = &seen.answer;
        seen.cell() == self.cell
            && answer.answer_json.contains(self.text)
            && answer.meaning.contains(self.meaning)
            && answer.meaning.is_empty() == self.meaning.is_empty()
    }
}
