//! Results on standard output: YAML as tpm2_ptool prints it, JSON, or text, all from one serde value.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::Format;
use crate::errors::Failure;

/// The format when none was asked for: a person reads a terminal, and scripts written for tpm2_ptool read YAML.
pub(crate) fn usual_format() -> Format {
    if io::stdout().is_terminal() { Format::Text } else { Format::Yaml }
}

/// Whether words are coloured: on a terminal that can, unless the user does not want it (<https://no-color.org>).
pub(crate) fn paint() -> Paint {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let can = set("TERM").is_some_and(|term| term != "dumb");
    Paint { on: io::stdout().is_terminal() && can && set("NO_COLOR").is_none() }
}

/// Colours, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn good(self, text: &str) -> String {
        self.in_colour("32", text)
    }

    pub(crate) fn caution(self, text: &str) -> String {
        self.in_colour("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.in_colour("1;31", text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.in_colour("1", text)
    }

    fn in_colour(self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Text that came from elsewhere, on one line and without what could forge what a terminal shows.
pub(crate) fn printable(text: &str) -> String {
    if text.chars().any(is_unprintable) { escaped(text) } else { text.to_owned() }
}

/// Prints `result` in `format`. A reader that went away (a closed pipe) is no failure: the work is done.
pub(crate) fn print(format: Format, result: &impl Serialize) -> Result<(), Failure> {
    let value = serde_json::to_value(result).map_err(|error| Failure::output(&error.to_string()))?;
    print_text(&render(format, &value, paint())?)
}

/// A list that is printed item by item as they come, and looks as [`print`] would print all of it. Only a table waits for the last one:
/// its columns are as wide as the longest of all.
#[derive(Debug)]
pub(crate) struct List {
    format: Format,
    /// Of a table.
    waiting: Vec<Value>,
    any: bool,
    failed: Option<Failure>,
}

impl List {
    pub(crate) fn new(format: Format) -> List {
        List { format, waiting: Vec::new(), any: false, failed: None }
    }

    /// The next item. After a failure, which [`List::end`] tells, nothing is printed any more.
    pub(crate) fn add(&mut self, item: &impl Serialize) {
        if self.failed.is_none() {
            self.failed = self.print(item).err();
        }
    }

    fn print(&mut self, item: &impl Serialize) -> Result<(), Failure> {
        let item = serde_json::to_value(item).map_err(|error| Failure::output(&error.to_string()))?;
        let first = !std::mem::replace(&mut self.any, true);
        match self.format {
            Format::Yaml => print_text(&render(Format::Yaml, &Value::Array(vec![item]), Paint::default())?),
            Format::Json => {
                let text = render(Format::Json, &item, Paint::default())?;
                let start = if first { "[\n  " } else { ",\n  " };
                print_text(&format!("{start}{}", text.trim_end().replace('\n', "\n  ")))
            }
            Format::Text => {
                self.waiting.push(item);
                Ok(())
            }
        }
    }

    /// No item comes any more.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match (self.failed, self.format) {
            (Some(failure), _) => Err(failure),
            (None, Format::Json) if self.any => print_text("\n]\n"),
            (None, Format::Yaml) if self.any => Ok(()),
            (None, format) => print(format, &self.waiting),
        }
    }
}

/// Prints text that is the whole result as it is.
pub(crate) fn print_text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::output(&error.to_string())),
        _ => Ok(()),
    }
}

/// One line on standard error, for what is neither result nor failure.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "ptool: {text}");
}

fn render(format: Format, value: &Value, paint: Paint) -> Result<String, Failure> {
    let mut text = String::new();
    match format {
        Format::Yaml => yaml_block(&mut text, value, 0),
        Format::Json => {
            text = serde_json::to_string_pretty(value).map_err(|error| Failure::output(&error.to_string()))?;
            text.push('\n');
        }
        Format::Text => text_block(&mut text, value, 0, paint),
    }
    Ok(text)
}

/// A value that starts on a line of its own, `indent` columns in.
fn yaml_block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => yaml_map(out, map, indent, indent),
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "{:indent$}- ", "");
                match item {
                    Value::Object(map) if !map.is_empty() => yaml_map(out, map, 0, indent + 2),
                    Value::Array(items) if !items.is_empty() => {
                        out.push('\n');
                        yaml_block(out, item, indent + 2);
                    }
                    scalar => yaml_line(out, scalar),
                }
            }
        }
        scalar => {
            let _ = write!(out, "{:indent$}", "");
            yaml_line(out, scalar);
        }
    }
}

/// The first key may share its line with a list's dash: it is `first` columns in, the others `indent`.
fn yaml_map(out: &mut String, map: &Map<String, Value>, first: usize, indent: usize) {
    for (position, (key, value)) in map.iter().enumerate() {
        let column = if position == 0 { first } else { indent };
        let _ = write!(out, "{:column$}{}:", "", yaml_text(key));
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                yaml_block(out, value, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                yaml_block(out, value, indent);
            }
            scalar => {
                out.push(' ');
                yaml_line(out, scalar);
            }
        }
    }
}

fn yaml_line(out: &mut String, scalar: &Value) {
    match scalar {
        Value::String(text) => out.push_str(&yaml_text(text)),
        // Numbers, booleans, null and the empty collections are written alike in YAML and JSON.
        other => {
            let _ = write!(out, "{other}");
        }
    }
    out.push('\n');
}

/// A string as a YAML scalar that every YAML 1.1 and 1.2 reader takes for that string.
fn yaml_text(text: &str) -> String {
    if text.chars().any(is_unprintable) {
        return escaped(text);
    }
    match is_plain_yaml(text) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

/// Whether `text` needs no quotes. Deliberately narrow: quotes are never wrong, and a hexadecimal CKA_ID must not become
/// a number such as `12e5`.
fn is_plain_yaml(text: &str) -> bool {
    const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with(' ')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | ' '))
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str())
        && !(text.len().is_multiple_of(2) && text.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Control characters, line separators and the marks that reorder a line: they would let a label forge what a terminal shows.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// A double-quoted scalar: valid YAML, and readable in text output too.
fn escaped(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            c if is_unprintable(c) && u32::from(c) < 0x100 => write!(out, "\\x{:02x}", u32::from(c)),
            c if is_unprintable(c) => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}

fn text_block(out: &mut String, value: &Value, indent: usize, paint: Paint) {
    match value {
        Value::Object(map) => {
            for (key, inner) in in_reading_order(map) {
                let name = paint.strong(&format!("{}:", printable(key)));
                let _ = write!(out, "{:indent$}{name}", "");
                match inner {
                    Value::Object(map) if !map.is_empty() => {
                        out.push('\n');
                        text_block(out, inner, indent + 2, paint);
                    }
                    Value::Array(items) if items.iter().any(|item| !is_word(item)) => {
                        out.push('\n');
                        text_block(out, inner, indent + 2, paint);
                    }
                    inner => {
                        let _ = writeln!(out, " {}", cell(inner));
                    }
                }
            }
        }
        Value::Array(items) => table(out, items, indent, paint),
        scalar => {
            let _ = writeln!(out, "{:indent$}{}", "", cell(scalar));
        }
    }
}

/// Whether a value can stand beside others on a line, or in a list there.
fn is_word(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains(' '),
        value => !value.is_object() && !value.is_array(),
    }
}

/// A list of records as columns, or as blocks when a record has a list of its own; anything else one item a line.
fn table(out: &mut String, items: &[Value], indent: usize, paint: Paint) {
    let Some(records) = items.iter().map(|item| item.as_object().map(flat)).collect::<Option<Vec<_>>>() else {
        items.iter().for_each(|item| text_block(out, item, indent, paint));
        return;
    };
    if records.iter().flat_map(Map::values).any(|value| !fits_a_column(value)) {
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                out.push('\n');
            }
            text_block(out, item, indent, paint);
        }
        return;
    }
    let mut columns: Vec<&String> = Vec::new();
    for (key, _) in records.iter().flat_map(in_reading_order) {
        if !columns.contains(&key) {
            columns.push(key);
        }
    }
    let mut rows = vec![columns.iter().map(|key| key.to_uppercase()).collect::<Vec<_>>()];
    rows.extend(records.iter().map(|record| {
        columns.iter().map(|key| record.get(*key).map_or_else(|| "-".to_owned(), cell)).collect::<Vec<_>>()
    }));
    let width_of = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width_of(column).unwrap_or(0)).collect();
    for (position, row) in rows.iter().enumerate().filter(|(_, row)| !row.is_empty()) {
        let mut line = " ".repeat(indent);
        for (text, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{text:width$}  ");
        }
        match position {
            0 => out.push_str(&paint.strong(line.trim_end())),
            _ => out.push_str(line.trim_end()),
        }
        out.push('\n');
    }
}

/// A record whose own records stand beside the rest, as in `config.transient`.
fn flat(record: &Map<String, Value>) -> Map<String, Value> {
    let mut all = Map::new();
    for (key, value) in record {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                all.extend(flat(inner).into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
    all
}

fn fits_a_column(value: &Value) -> bool {
    value.as_array().is_none_or(|items| items.iter().all(is_word))
}

/// What names a thing comes first; the rest keeps its order.
fn in_reading_order(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    const FIRST: [&str; 4] = ["action", "id", "label", "CKA_LABEL"];
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len()));
    entries
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn yaml(value: &Value) -> String {
        render(Format::Yaml, value, Paint::default()).unwrap()
    }

    fn text(value: &Value) -> String {
        render(Format::Text, value, Paint::default()).unwrap()
    }

    #[test]
    fn addkey_looks_as_tpm2_ptool_prints_it() {
        let value = json!({"action": "add", "private": {"CKA_ID": "3132"}, "public": {"CKA_ID": "abcd"}});
        assert_eq!(yaml(&value), "action: add\nprivate:\n  CKA_ID: '3132'\npublic:\n  CKA_ID: 'abcd'\n");
    }

    #[test]
    fn lists_are_blocks() {
        let value = json!([{"id": 1, "label": "server-tpm"}, {"id": 2, "label": "a: b"}]);
        assert_eq!(yaml(&value), "- id: 1\n  label: server-tpm\n- id: 2\n  label: 'a: b'\n");
        assert_eq!(yaml(&json!([])), "[]\n");
        assert_eq!(
            yaml(&json!({"objects": [{"id": 5, "tags": [1, 2]}], "none": {}})),
            concat!("none: {}\n", "objects:\n", "- id: 5\n", "  tags:\n", "  - 1\n", "  - 2\n",)
        );
    }

    #[test]
    fn strings_stay_strings() {
        for plain in ["server-tpm", "CKO_PRIVATE_KEY", "web server", "a.b/c"] {
            assert_eq!(yaml_text(plain), plain);
        }
        for quoted in [
            "",
            " ",
            "12",
            "0x81000001",
            "12e5",
            "deadbeef",
            ".inf",
            "~",
            "null",
            "Yes",
            "off",
            "- a",
            "a #b",
            "a: b",
            "a:",
            "*x",
            "&x",
            "!x",
            "%x",
            "@x",
            "`x",
            "[x]",
            "{x}",
            "x ",
            " x",
            "2026-01-01",
            "1:30",
            "=",
            "<<",
            "\"x\"",
            "größe",
        ] {
            assert_eq!(yaml_text(quoted), format!("'{quoted}'"));
        }
        assert_eq!(yaml_text("it's"), "'it''s'");
        assert_eq!(yaml_text("a\nb\u{1b}[31m\"\\"), r#""a\x0ab\x1b[31m\"\\""#);
        assert_eq!(yaml_text("\u{202e}x\u{85}"), r#""\u202ex\x85""#);
    }

    #[test]
    fn text_is_a_table_with_names_first() {
        let value = json!([
            {"id": 1, "label": "one", "keys": 10, "slot": null},
            {"id": 12, "label": "\u{1b}c", "keys": 2, "login_required": true},
        ]);
        assert_eq!(
            text(&value),
            concat!(
                "ID  LABEL    KEYS  SLOT  LOGIN_REQUIRED\n",
                "1   one      10    -     -\n",
                "12  \"\\x1bc\"  2     -     yes\n",
            )
        );
        assert_eq!(text(&json!([])), "");
        assert_eq!(
            text(&json!({"name": "n", "action": "Created", "ids": [1, 2], "sub": {"a": false}})),
            concat!("action: Created\n", "ids: 1 2\n", "name: n\n", "sub:\n", "  a: no\n",)
        );
    }

    #[test]
    fn text_has_no_json_in_it() {
        let value = json!([{"id": 1, "config": {"transient": false, "template-name": "srk"}}, {"id": 2, "config": {"transient": true}}]);
        assert_eq!(
            text(&value),
            concat!(
                "ID  CONFIG.TEMPLATE-NAME  CONFIG.TRANSIENT\n",
                "1   srk                   no\n",
                "2   -                     yes\n"
            )
        );
        let value = json!({"tokens": [
            {"id": 1, "label": "a", "notes": ["one thing", "another"], "objects": [{"id": 7, "action": "skip"}, {"id": 8, "action": "migrate"}]},
            {"id": 2, "label": "b", "objects": []},
        ]});
        assert_eq!(
            text(&value),
            concat!(
                "tokens:\n",
                "  id: 1\n",
                "  label: a\n",
                "  notes:\n",
                "    one thing\n",
                "    another\n",
                "  objects:\n",
                "    ACTION   ID\n",
                "    skip     7\n",
                "    migrate  8\n",
                "\n",
                "  id: 2\n",
                "  label: b\n",
                "  objects: -\n",
            )
        );
    }

    #[test]
    fn colours_frame_words_and_change_none() {
        let value = json!([{"id": 1, "label": "one"}]);
        let painted = render(Format::Text, &value, Paint { on: true }).unwrap();
        assert_eq!(painted, "\u{1b}[1mID  LABEL\u{1b}[0m\n1   one\n");
        assert_eq!(painted.replace("\u{1b}[1m", "").replace("\u{1b}[0m", ""), text(&value));
        assert_eq!(render(Format::Yaml, &value, Paint { on: true }).unwrap(), yaml(&value));
    }

    #[test]
    fn json_carries_the_same_value() {
        let value = json!({"id": 1, "label": "x\u{1b}"});
        assert_eq!(
            serde_json::from_str::<Value>(&render(Format::Json, &value, Paint::default()).unwrap()).unwrap(),
            value
        );
    }
}
