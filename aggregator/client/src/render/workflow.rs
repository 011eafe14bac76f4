//! A workflow as a tree.

use std::collections::HashMap;

use celeriac_client::v1;

use super::View;
use super::table::{Cell, Table, fixed, number, text};
use super::tasks;
use super::units::{ABSENT, duration};

/// Levels that are drawn; what is deeper stands at the last of them, with its level before it.
const LEVELS_MAX: usize = 12;

/// One row a task, below the task that called it. Those whose caller is not among them stand at the left.
pub(crate) fn table(workflow: &[v1::Task], view: &View) -> Table {
    let mut columns = vec![
        text("TASK", 20),
        fixed("STATE"),
        text("WORKER", 10).optional(),
        number("RUNTIME"),
        fixed("SEEN"),
        fixed("ID"),
    ];
    if view.wide {
        columns.push(text("QUEUE", 6));
    }
    let mut table = Table::new(columns);
    for (lines, task) in drawn(workflow) {
        let name = task.name.as_deref().unwrap_or(ABSENT);
        let (state, tone) = tasks::state(task);
        let mut row = vec![
            format!("{lines}{name}").into(),
            Cell::toned(&state, tone),
            task.worker.as_deref().unwrap_or(ABSENT).into(),
            duration(task.runtime.as_ref()).into(),
            view.time(task.first_seen.as_ref()).into(),
            task.id.as_str().into(),
        ];
        if view.wide {
            row.push(task.queue.as_deref().unwrap_or(ABSENT).into());
        }
        table.row(row);
    }
    table
}

/// A task that waits to be drawn.
struct Waiting {
    index: usize,
    level: usize,
    /// What its own children's lines begin with.
    indent: String,
    /// Its own line's beginning.
    lines: String,
}

/// All tasks in the order of the tree, with the lines before their names. Ids are what a broker's clients made of them: a
/// circle is cut where it is met.
fn drawn(workflow: &[v1::Task]) -> Vec<(String, &v1::Task)> {
    let by_id = workflow.iter().enumerate();
    let by_id: HashMap<&str, usize> = by_id
        .map(|(index, task)| (task.id.as_str(), index))
        .collect();
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut tops = Vec::new();
    for (index, task) in workflow.iter().enumerate() {
        let parent = task.parent_id.as_deref().and_then(|id| by_id.get(id));
        match parent {
            Some(&parent) if parent != index => children.entry(parent).or_default().push(index),
            _ => tops.push(index),
        }
    }
    let mut is_drawn = vec![false; workflow.len()];
    let mut drawn = Vec::with_capacity(workflow.len());
    // Members of a circle hang from nothing: what is left after the tops begins at its oldest.
    for top in tops.into_iter().chain(0..workflow.len()) {
        let mut waiting = vec![Waiting {
            index: top,
            level: 0,
            indent: String::new(),
            lines: String::new(),
        }];
        while let Some(next) = waiting.pop() {
            if std::mem::replace(&mut is_drawn[next.index], true) {
                continue;
            }
            let below = children.get(&next.index).map_or(&[][..], Vec::as_slice);
            waiting.extend(hung(below, &next));
            drawn.push((next.lines, &workflow[next.index]));
        }
    }
    drawn
}

/// The children of one, the last first: the first is drawn next.
fn hung(children: &[usize], parent: &Waiting) -> impl Iterator<Item = Waiting> {
    let level = parent.level + 1;
    let last = children.len().saturating_sub(1);
    let one = move |(place, &index): (usize, &usize)| {
        let (branch, below) = if place == last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        if level > LEVELS_MAX {
            let indent = parent.indent.clone();
            let lines = format!("{indent}({level}) ");
            return Waiting {
                index,
                level,
                indent,
                lines,
            };
        }
        Waiting {
            index,
            level,
            indent: format!("{}{below}", parent.indent),
            lines: format!("{}{branch}", parent.indent),
        }
    };
    children.iter().enumerate().map(one).rev()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture::{done, view};

    fn task(id: &str, parent: Option<&str>) -> v1::Task {
        v1::Task {
            id: id.to_owned(),
            name: Some(format!("shop.{id}")),
            parent_id: parent.map(str::to_owned),
            ..done()
        }
    }

    fn names(workflow: &[v1::Task]) -> Vec<String> {
        let drawn = drawn(workflow).into_iter();
        drawn
            .map(|(lines, task)| format!("{lines}{}", task.id))
            .collect()
    }

    #[test]
    fn what_called_what_is_a_tree() {
        let workflow = [
            task("order", None),
            task("pay", Some("order")),
            task("mail", Some("pay")),
            task("pack", Some("order")),
            task("orphan", Some("not here")),
        ];
        assert_eq!(
            table(&workflow, &view()).render(&view()),
            "\
TASK             STATE    WORKER     RUNTIME  SEEN     ID
shop.order       SUCCESS  celery@w1     12ms  35s ago  order
├─ shop.pay      SUCCESS  celery@w1     12ms  35s ago  pay
│  └─ shop.mail  SUCCESS  celery@w1     12ms  35s ago  mail
└─ shop.pack     SUCCESS  celery@w1     12ms  35s ago  pack
shop.orphan      SUCCESS  celery@w1     12ms  35s ago  orphan
"
        );
    }

    #[test]
    fn a_circle_is_drawn_once_and_a_task_that_called_itself_too() {
        let circle = [
            task("a", Some("b")),
            task("b", Some("a")),
            task("self", Some("self")),
        ];
        assert_eq!(names(&circle), ["self", "a", "└─ b"]);
    }

    #[test]
    fn a_long_chain_does_not_leave_the_window() {
        let mut chain = vec![task("0", None)];
        for number in 1..100_000 {
            chain.push(task(&number.to_string(), Some(&(number - 1).to_string())));
        }
        let names = names(&chain);
        assert_eq!(names.len(), 100_000);
        assert!(
            names[99_999].ends_with("(99999) 99999"),
            "{}",
            names[99_999]
        );
        assert!(names.iter().all(|name| name.chars().count() < 60));
    }
}
