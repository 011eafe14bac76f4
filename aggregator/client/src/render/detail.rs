//! One thing at length: sections of labelled values, blocks of text, and tables.

use super::View;
use super::table::Table;
use super::text::{Tone, lines, plain, width};

/// A detail view under construction.
#[derive(Debug)]
pub(crate) struct Detail<'a> {
    view: &'a View,
    out: String,
    fields: Vec<(&'static str, String, Tone)>,
    indent: &'static str,
}

impl<'a> Detail<'a> {
    pub(crate) fn new(view: &'a View) -> Self {
        Self {
            view,
            out: String::new(),
            fields: Vec::new(),
            indent: "",
        }
    }

    /// A labelled value on one line. Fields of a section are aligned.
    pub(crate) fn field(&mut self, label: &'static str, value: impl AsRef<str>) -> &mut Self {
        self.toned(label, value, Tone::Plain)
    }

    /// The same in a tone.
    pub(crate) fn toned(
        &mut self,
        label: &'static str,
        value: impl AsRef<str>,
        tone: Tone,
    ) -> &mut Self {
        self.fields
            .push((label, plain(value.as_ref()).into_owned(), tone));
        self
    }

    /// The same, left out when absent.
    pub(crate) fn maybe(
        &mut self,
        label: &'static str,
        value: Option<impl AsRef<str>>,
    ) -> &mut Self {
        match value {
            Some(value) => self.field(label, value),
            None => self,
        }
    }

    /// Begins a section.
    pub(crate) fn section(&mut self, title: &str) -> &mut Self {
        self.flush();
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let title = Tone::Strong.paint(&plain(title), self.view.color);
        self.out.push_str(&title);
        self.out.push('\n');
        self.indent = "  ";
        self
    }

    /// A section of text, line by line, never cut.
    pub(crate) fn block(&mut self, title: &str, text: &str) -> &mut Self {
        self.section(title);
        for line in lines(text) {
            self.out.push_str(self.indent);
            self.out.push_str(&line);
            self.out.push('\n');
        }
        self
    }

    /// A section that is a table, left out when it has no rows.
    pub(crate) fn table(&mut self, title: &str, table: &Table) -> &mut Self {
        self.table_as(title, table, self.view)
    }

    /// The same, shown in another way than the rest.
    pub(crate) fn table_as(&mut self, title: &str, table: &Table, view: &View) -> &mut Self {
        if !table.is_empty() {
            self.section(title);
            self.out.push_str(&table.render_indented(view, self.indent));
        }
        self
    }

    /// The text, each line ended by a line feed.
    pub(crate) fn finish(&mut self) -> String {
        self.flush();
        std::mem::take(&mut self.out)
    }

    fn flush(&mut self) {
        let label_width = self
            .fields
            .iter()
            .map(|(label, ..)| width(label))
            .max()
            .unwrap_or(0);
        for (label, value, tone) in self.fields.drain(..) {
            let padding = " ".repeat(label_width - width(label) + 2);
            let label = Tone::Dim.paint(label, self.view.color);
            let value = tone.paint(&value, self.view.color);
            let line = [self.indent, &label, &padding, &value, "\n"];
            self.out.extend(line);
        }
    }
}
