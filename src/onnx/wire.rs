//! The protobuf wire format, as far as ONNX files need it: reading fields without copying, and
//! writing them. Unknown fields keep their bytes, so that a rewritten file loses nothing.

use super::OnnxError;

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Fixed 32 or 64 bits: nothing in this module reads them.
    Fixed,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u64,
    pub(super) value: Value<'a>,
    /// Key and value as they lie in the file.
    pub(super) raw: &'a [u8],
}

impl<'a> Field<'a> {
    /// The bytes of a string or nested message.
    pub(super) fn bytes(&self, what: &'static str) -> Result<&'a [u8], OnnxError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(OnnxError::FieldType(what)),
        }
    }

    pub(super) fn text(&self, what: &'static str) -> Result<&'a str, OnnxError> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| OnnxError::NotUtf8(what))
    }

    pub(super) fn int(&self, what: &'static str) -> Result<i64, OnnxError> {
        match self.value {
            // Negative numbers are written as their 64-bit two's complement.
            Value::Varint(value) => Ok(value.cast_signed()),
            _ => Err(OnnxError::FieldType(what)),
        }
    }

    /// Adds the number or the packed numbers of this field to `out`.
    pub(super) fn ints(&self, what: &'static str, out: &mut Vec<i64>) -> Result<(), OnnxError> {
        match self.value {
            Value::Varint(value) => out.push(value.cast_signed()),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    out.push(take_varint(&mut packed)?.cast_signed());
                }
            }
            Value::Fixed => return Err(OnnxError::FieldType(what)),
        }
        Ok(())
    }
}

/// The fields of a message, in file order. Ends after the first error.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

pub(super) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, OnnxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = take_field(&mut self.rest);
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, OnnxError> {
    let start = *rest;
    let key = take_varint(rest)?;
    let value = match key & 7 {
        0 => Value::Varint(take_varint(rest)?),
        1 => take(rest, 8).map(|_| Value::Fixed)?,
        2 => {
            let length = take_varint(rest)?;
            Value::Bytes(take(rest, usize::try_from(length).map_err(|_| OnnxError::Truncated)?)?)
        }
        5 => take(rest, 4).map(|_| Value::Fixed)?,
        kind => return Err(OnnxError::WireType(kind)),
    };
    let number = key >> 3;
    if number == 0 {
        return Err(OnnxError::FieldZero);
    }
    let raw = start.get(..start.len() - rest.len()).ok_or(OnnxError::Truncated)?;
    Ok(Field { number, value, raw })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], OnnxError> {
    let (head, tail) = rest.split_at_checked(count).ok_or(OnnxError::Truncated)?;
    *rest = tail;
    Ok(head)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, OnnxError> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(OnnxError::Truncated)?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if shift == 63 && bits > 1 {
            return Err(OnnxError::Varint);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(OnnxError::Varint)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number.
pub(super) fn put_int(out: &mut Vec<u8>, number: u64, value: i64) {
    put_varint(out, number << 3);
    put_varint(out, value.cast_unsigned());
}

/// Appends a string or nested message.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Copies `message`, field by field. `replace` appends what shall stand in place of a field and
/// returns true, or returns false to keep the field as it is.
pub(super) fn rewrite<'a>(
    message: &'a [u8],
    mut replace: impl FnMut(&Field<'a>, &mut Vec<u8>) -> Result<bool, OnnxError>,
) -> Result<Vec<u8>, OnnxError> {
    let mut out = Vec::with_capacity(message.len().saturating_add(64));
    for field in fields(message) {
        let field = field?;
        if !replace(&field, &mut out)? {
            out.extend_from_slice(field.raw);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_a_round_trip() {
        for value in [0, 1, 127, 128, 300, i64::MAX, -1, i64::MIN] {
            let mut out = Vec::new();
            put_int(&mut out, 5, value);
            let field = fields(&out).next().expect("one field").expect("valid");
            assert_eq!((field.number, field.int("n").unwrap()), (5, value));
            assert_eq!(field.raw, out);
        }
    }

    #[test]
    fn overlong_and_endless_varints_are_refused() {
        let too_big = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(fields(&too_big).next().unwrap().unwrap_err(), OnnxError::Varint);
        let endless = [0xff; 32];
        assert_eq!(fields(&endless).next().unwrap().unwrap_err(), OnnxError::Varint);
    }

    #[test]
    fn lengths_beyond_the_end_groups_and_field_zero_are_refused() {
        let long = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&long).next().unwrap().unwrap_err(), OnnxError::Truncated);
        assert_eq!(fields(&[0x0b]).next().unwrap().unwrap_err(), OnnxError::WireType(3));
        assert_eq!(fields(&[0x00, 0x00]).next().unwrap().unwrap_err(), OnnxError::FieldZero);
        let mut after_error = fields(&[0x0b, 0x08, 0x01]);
        assert!(after_error.next().is_some_and(|f| f.is_err()));
        assert!(after_error.next().is_none());
    }

    #[test]
    fn packed_and_single_numbers_are_read_alike() {
        let mut out = Vec::new();
        put_int(&mut out, 7, 1);
        put_bytes(&mut out, 7, &[0x80, 0x01, 0x05]);
        let mut ints = Vec::new();
        for field in fields(&out) {
            field.unwrap().ints("dims", &mut ints).unwrap();
        }
        assert_eq!(ints, [1, 128, 5]);
    }
}
