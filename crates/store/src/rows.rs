//! Reading and writing single columns, with the checks that every value gets.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::{Error, Result};

/// The greatest length of a value in bytes.
pub const MAX_VALUE: usize = 1 << 20;

/// A row on its way out, read column by column.
pub(crate) struct Columns<'a, 'stmt> {
    row: &'a Row<'stmt>,
    next: usize,
}

impl<'a, 'stmt> Columns<'a, 'stmt> {
    pub(crate) fn of(row: &'a Row<'stmt>) -> Columns<'a, 'stmt> {
        Columns { row, next: 0 }
    }

    /// A row number: positive.
    pub(crate) fn id(&mut self) -> Result<i64> {
        match self.value()? {
            ValueRef::Integer(id) if id > 0 => Ok(id),
            _ => Err(self.damaged("is not a row number")),
        }
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        match self.value()? {
            ValueRef::Integer(number) => Ok(number),
            _ => Err(self.damaged("is not a number")),
        }
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.optional_u32()?.ok_or_else(|| self.damaged("is missing"))
    }

    pub(crate) fn optional_u32(&mut self) -> Result<Option<u32>> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => match u32::try_from(number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.damaged("is out of range")),
            },
            _ => Err(self.damaged("is not a number")),
        }
    }

    pub(crate) fn bool(&mut self) -> Result<bool> {
        match self.value()? {
            ValueRef::Integer(0) => Ok(false),
            ValueRef::Integer(1) => Ok(true),
            _ => Err(self.damaged("is neither 0 nor 1")),
        }
    }

    pub(crate) fn blob(&mut self) -> Result<Vec<u8>> {
        self.optional_blob()?.ok_or_else(|| self.damaged("is missing"))
    }

    pub(crate) fn optional_blob(&mut self) -> Result<Option<Vec<u8>>> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(bytes) if bytes.len() <= MAX_VALUE => Ok(Some(bytes.to_vec())),
            ValueRef::Blob(_) => Err(self.damaged("is too long")),
            _ => Err(self.damaged("is not of bytes")),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        self.optional_text()?.ok_or_else(|| self.damaged("is missing"))
    }

    pub(crate) fn optional_text(&mut self) -> Result<Option<String>> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(bytes) if bytes.len() > MAX_VALUE => Err(self.damaged("is too long")),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Some(text.to_owned())),
                Err(_) => Err(self.damaged("is not UTF-8")),
            },
            _ => Err(self.damaged("is not text")),
        }
    }

    fn value(&mut self) -> Result<ValueRef<'a>> {
        let value = self.row.get_ref(self.next)?;
        self.next += 1;
        Ok(value)
    }

    /// What is wrong with the column just read.
    fn damaged(&self, what: &str) -> Error {
        let column = self.next.saturating_sub(1);
        let name = self.row.as_ref().column_name(column).unwrap_or("a column");
        Error::Damaged(format!("{name} {what}"))
    }
}

/// Refuses a value that would be refused when read back.
pub(crate) fn fits(value: &[u8]) -> Result<()> {
    if value.len() > MAX_VALUE {
        return Err(Error::TooLong { len: value.len(), most: MAX_VALUE });
    }
    Ok(())
}

/// One row had to change.
pub(crate) fn changed(rows: usize, what: &'static str, id: i64) -> Result<()> {
    if rows == 0 {
        return Err(Error::Missing { what, id });
    }
    Ok(())
}
