//! C pointers become typed values here, and out-parameters are written here.
//!
//! A C function of the interface is declared by [`cryptoki_fn!`] in a file of `entry/`. The macro writes the exported
//! function and wraps its pointers into the types below without looking at them. The entry's body then asks for what it
//! needs ([`Bytes::slice`], [`Attributes::template`], ...) after the boundary has made sure that the library is
//! initialised, and gets a value or `ArgumentsBad`.
//!
//! What is checked: null pointers, lengths that no memory can have, and counts above a limit. Alignment is never
//! assumed: typed values are read and written unaligned. What cannot be checked, that memory which a caller describes
//! is there and is not changed by another thread meanwhile, is the contract of the interface (PKCS#11 v3.1, 2) and the
//! promise that each `unsafe` block relies on. The wrappers carry the lifetime of the call, so no slice outlives it.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::marker::PhantomData;
use std::slice;

use base::Secret;
use model::{AttributeType, Output};
use pkcs11_sys::{CK_ATTRIBUTE, CK_BYTE, CK_C_INITIALIZE_ARGS, CK_INTERFACE, CK_MECHANISM, CK_ULONG};
use token::Error;

/// Attributes in one template. The largest object of the specification has about fifty.
const MAX_ATTRIBUTES: usize = 4096;
/// Bytes of one attribute value, mechanism parameter or PIN; a certificate is a few thousand.
pub(crate) const MAX_VALUE: usize = 1 << 20;
/// No user address space reaches further, whatever the caller says.
const MAX_ADDRESS: usize = 1 << 56;

type Result<T> = std::result::Result<T, Error>;

/// Declares one function of the interface: its name, its parameters by kind, and its body.
///
/// The files of `entry/` are full of examples. The body is one of:
///
/// - `|library| body`: needs an initialised library; the body returns `Result<(), token::Error>`.
/// - `|| body`: is called in any state; the body returns `Result<(), Failure>`.
///
/// A kind stands for one or two C parameters (`Bytes` is a pointer and a length). The exported function gets the C
/// signature, which the compiler compares with the header's when `table.rs` puts it into the function lists. An
/// uninhabited type of the same name carries the [`Declaration`](crate::table::Declaration) for the generated
/// documentation.
macro_rules! cryptoki_fn {
    // Kinds that are one number, and what is made of it.
    (@of $s:tt [$a:ident: SessionHandle $($r:tt)*]) => { cryptoki_fn! { @n $s $a [$($r)*] u64, model::SessionHandle } };
    (@of $s:tt [$a:ident: ObjectHandle $($r:tt)*]) => { cryptoki_fn! { @n $s $a [$($r)*] u64, model::ObjectHandle } };
    (@of $s:tt [$a:ident: SlotId $($r:tt)*]) => { cryptoki_fn! { @n $s $a [$($r)*] u64, model::SlotId } };
    (@of $s:tt [$a:ident: Ulong $($r:tt)*]) => { cryptoki_fn! { @n $s $a [$($r)*] u64, u64::from } };
    (@of $s:tt [$a:ident: Bool $($r:tt)*]) => { cryptoki_fn! { @n $s $a [$($r)*] u8, |value| value != 0 } };
    // The application's callback for notifications, never called: a token in a TPM has nothing to notify.
    (@of $s:tt [$a:ident: Notify $($r:tt)*]) => { cryptoki_fn! { @n $s $a [$($r)*] pkcs11_sys::CK_NOTIFY, |_| () } };
    // Kinds with pointers: the type that wraps them, and the C parameters.
    (@of $s:tt [$a:ident: Text $($r:tt)*]) => { cryptoki_fn! { @1 $s $a [$($r)*] Place, u8 } };
    (@of $s:tt [$a:ident: Untyped $($r:tt)*]) => { cryptoki_fn! { @1 $s $a [$($r)*] Place, std::ffi::c_void } };
    (@of $s:tt [$a:ident: Mechanism $($r:tt)*]) => { cryptoki_fn! { @1 $s $a [$($r)*] Place, pkcs11_sys::CK_MECHANISM } };
    (@of $s:tt [$a:ident: Place<$t:ty> $($r:tt)*]) => { cryptoki_fn! { @1 $s $a [$($r)*] Place, $t } };
    (@of $s:tt [$a:ident: Bytes $($r:tt)*]) => { cryptoki_fn! { @2 $s $a [$($r)*] Bytes, *mut u8, u64 } };
    (@of $s:tt [$a:ident: Parameter $($r:tt)*]) => { cryptoki_fn! { @2 $s $a [$($r)*] Bytes, pkcs11_sys::CK_VOID_PTR, u64 } };
    (@of $s:tt [$a:ident: Space $($r:tt)*]) => { cryptoki_fn! { @2 $s $a [$($r)*] Space, *mut u8, u64 } };
    (@of $s:tt [$a:ident: Attributes $($r:tt)*]) => {
        cryptoki_fn! { @2 $s $a [$($r)*] Attributes, *mut pkcs11_sys::CK_ATTRIBUTE, u64 }
    };
    (@of $s:tt [$a:ident: Buffer $($r:tt)*]) => { cryptoki_fn! { @2 $s $a [$($r)*] Buffer, *mut u8, *mut u64 } };
    (@of $s:tt [$a:ident: List<$t:ty> $($r:tt)*]) => { cryptoki_fn! { @2 $s $a [$($r)*] List, *mut $t, *mut u64 } };
    (@of { $head:tt [$($c:tt)*] [$($let:tt)*] $body:tt } [$arg:ident: UpTo<$t:ty> $(, $($rest:tt)*)?]) => {
        cryptoki_fn! { @of { $head [$($c)* at: *mut $t, max: u64, count: *mut u64,]
            // SAFETY: pointers and number are the caller's arguments, as the interface describes them.
            [$($let)* let $arg = unsafe { $crate::raw::UpTo::new(at, max, count) };] $body } [$($($rest)*)?] }
    };

    (@n { $head:tt [$($c:tt)*] [$($let:tt)*] $body:tt } $arg:ident [$(, $($rest:tt)*)?] $t:ty, $make:expr) => {
        cryptoki_fn! { @of { $head [$($c)* value: $t,]
            [$($let)* let $arg = ($make)(value);] $body } [$($($rest)*)?] }
    };
    (@1 { $head:tt [$($c:tt)*] [$($let:tt)*] $body:tt } $arg:ident [$(, $($rest:tt)*)?] $wrap:ident, $t:ty) => {
        cryptoki_fn! { @of { $head [$($c)* at: *mut $t,]
            // SAFETY: the pointer is the caller's argument, as the interface describes it.
            [$($let)* let $arg = unsafe { $crate::raw::$wrap::new(at) };] $body } [$($($rest)*)?] }
    };
    (@2 { $head:tt [$($c:tt)*] [$($let:tt)*] $body:tt } $arg:ident [$(, $($rest:tt)*)?] $wrap:ident, $t:ty, $u:ty) => {
        cryptoki_fn! { @of { $head [$($c)* at: $t, len: $u,]
            // SAFETY: pointer and length are the caller's arguments, as the interface describes them.
            [$($let)* let $arg = unsafe { $crate::raw::$wrap::new(at.cast(), len) };] $body } [$($($rest)*)?] }
    };

    // All parameters are done: the function itself.
    (@of { $head:tt $c:tt [$($let:tt)*] [|$library:ident| $body:expr] } []) => {
        cryptoki_fn! { @export $head $c (|name| $crate::boundary::with_library(name, |$library| { $($let)* $body })) }
    };
    (@of { $head:tt $c:tt [$($let:tt)*] [|| $body:expr] } []) => {
        cryptoki_fn! { @export $head $c (|name| $crate::boundary::in_any_state(name, || { $($let)* $body })) }
    };
    (@export { [$($doc:tt)*] $name:ident } [$($c:tt)*] $call:expr) => {
        $($doc)*
        ///
        /// # Safety
        /// The pointers describe memory as PKCS#11 says for this function.
        #[allow(unsafe_code, non_snake_case, unused_variables)]
        // SAFETY: no other definition of this name is linked into the module; the name is the interface's.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($c)*) -> pkcs11_sys::CK_RV {
            $call(stringify!($name))
        }

        $($doc)*
        #[allow(non_camel_case_types)]
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl $crate::table::Declaration for $name { const NAME: &'static str = stringify!($name); }
    };

    ($(#[$doc:meta])* $name:ident($($parameters:tt)*) $($body:tt)*) => {
        cryptoki_fn! { @of { { [$(#[$doc])*] $name } [] [] [$($body)*] } [$($parameters)*] }
    };
}
pub(crate) use cryptoki_fn;

/// Input bytes: pointer and length.
#[derive(Debug)]
pub(crate) struct Bytes<'call> {
    at: *const CK_BYTE,
    len: CK_ULONG,
    call: PhantomData<&'call [u8]>,
}

impl<'call> Bytes<'call> {
    /// # Safety
    /// If `at` is not null, `len` bytes are readable there and unchanged for `'call`.
    pub(crate) unsafe fn new(at: *const CK_BYTE, len: CK_ULONG) -> Self {
        Self { at, len, call: PhantomData }
    }

    /// The bytes. Null with length 0 is empty.
    ///
    /// # Errors
    /// `ArgumentsBad` for null with a length, or a length that no memory has.
    pub(crate) fn slice(&self) -> Result<&'call [u8]> {
        let len = span(self.at, self.len)?;
        if len == 0 {
            return Ok(&[]);
        }
        // SAFETY: not null, `len` bytes that do not wrap around, valid for 'call by the promise of `new`.
        Ok(unsafe { slice::from_raw_parts(self.at, len) })
    }

    /// Whether the pointer is null.
    pub(crate) fn is_null(&self) -> bool {
        self.at.is_null()
    }

    /// Whether the length is zero: no parameter.
    pub(crate) fn is_absent(&self) -> bool {
        self.len == 0
    }
}

/// An output buffer: pointer to the bytes, and pointer to their number (PKCS#11 v3.1, 5.2).
#[derive(Debug)]
pub(crate) struct Buffer<'call> {
    at: *mut CK_BYTE,
    len: Place<'call, CK_ULONG>,
}

impl<'call> Buffer<'call> {
    /// # Safety
    /// If neither is null, `*len` bytes at `at` are writable for `'call`, and so is `*len`.
    pub(crate) unsafe fn new(at: *mut CK_BYTE, len: *mut CK_ULONG) -> Self {
        // SAFETY: passed on.
        Self { at, len: unsafe { Place::new(len) } }
    }

    /// Whether only the length is asked for.
    pub(crate) fn is_query(&self) -> bool {
        self.at.is_null()
    }

    /// Whether there is not even a place for the length.
    pub(crate) fn is_absent(&self) -> bool {
        self.len.is_null()
    }

    /// Runs `produce` on the buffer, or on a length query if the buffer is null; then writes the length it returned, or
    /// the length it would have needed. On every other error the caller's length stays as it was.
    pub(crate) fn fill(self, produce: impl FnOnce(Output<'_>) -> Result<usize>) -> Result<()> {
        // SAFETY: there is no input.
        self.fill_from(unsafe { Bytes::new(std::ptr::null(), 0) }, |_, output| produce(output))
    }

    /// [`Buffer::fill`] from input that may lie in the same memory, as C_Encrypt and C_Decrypt allow (5.8.2, 5.10.2).
    pub(crate) fn fill_from(
        self,
        input: Bytes<'_>,
        produce: impl FnOnce(&[u8], Output<'_>) -> Result<usize>,
    ) -> Result<()> {
        let length = self.len.required()?;
        let input = input.slice()?;
        let outcome = if self.at.is_null() {
            produce(input, Output::Length)
        } else {
            let room = span(self.at, length.read())?;
            let copy = overlap(self.at, room, input).then(|| Secret::copy_from(input));
            let input = copy.as_ref().map_or(input, Secret::expose);
            // SAFETY: not null, does not wrap around, writable for 'call by the promise of `new`; what C never wrote
            // are still some bytes. Nothing else refers to them while `produce` runs: overlapping input was copied.
            produce(input, Output::Buffer(unsafe { slice::from_raw_parts_mut(self.at, room) }))
        };
        if let Ok(len) | Err(Error::BufferTooSmall { needed: len }) = &outcome {
            length.write(*len as CK_ULONG);
        }
        outcome.map(drop)
    }
}

/// Room for a number of bytes that the function always fills.
#[derive(Debug)]
pub(crate) struct Space<'call> {
    at: *mut CK_BYTE,
    len: CK_ULONG,
    call: PhantomData<&'call mut [u8]>,
}

impl<'call> Space<'call> {
    /// # Safety
    /// If `at` is not null, `len` bytes are writable there for `'call`, and nothing else refers to them.
    pub(crate) unsafe fn new(at: *mut CK_BYTE, len: CK_ULONG) -> Self {
        Self { at, len, call: PhantomData }
    }

    /// The room. Null with length 0 is empty.
    ///
    /// # Errors
    /// `ArgumentsBad` for null with a length, or a length that no memory has.
    pub(crate) fn slice(self) -> Result<&'call mut [u8]> {
        let len = span(self.at, self.len)?;
        if len == 0 {
            return Ok(&mut []);
        }
        // SAFETY: not null, does not wrap around, writable and unshared for 'call by the promise of `new`.
        Ok(unsafe { slice::from_raw_parts_mut(self.at, len) })
    }
}

/// A place for one value.
#[derive(Debug)]
pub(crate) struct Place<'call, T> {
    at: *mut T,
    call: PhantomData<&'call mut T>,
}

impl<T> Place<'_, T> {
    /// # Safety
    /// If `at` is not null, a `T`, at any alignment, is readable and writable there for the call.
    pub(crate) unsafe fn new(at: *mut T) -> Self {
        Self { at, call: PhantomData }
    }

    /// Whether the pointer is null, as a reserved one must be.
    pub(crate) fn is_null(&self) -> bool {
        self.at.is_null()
    }
}

impl<T: Copy> Place<'_, T> {
    /// The place, if there is one.
    ///
    /// # Errors
    /// `ArgumentsBad` for a null pointer.
    pub(crate) fn required(&self) -> Result<Writable<'_, T>> {
        self.optional().ok_or(Error::ArgumentsBad("a required pointer is null"))
    }

    /// The place, or `None` for a null pointer.
    pub(crate) fn optional(&self) -> Option<Writable<'_, T>> {
        (!self.at.is_null()).then_some(Writable { at: self.at, call: PhantomData })
    }
}

/// A [`Place`] that is there.
#[derive(Debug)]
pub(crate) struct Writable<'call, T> {
    at: *mut T,
    call: PhantomData<&'call mut T>,
}

impl<T: Copy> Writable<'_, T> {
    /// What the caller put there.
    pub(crate) fn read(&self) -> T {
        // SAFETY: not null (`Place::optional`), readable by the promise of `Place::new`; T is plain C data.
        unsafe { self.at.read_unaligned() }
    }

    /// The result.
    pub(crate) fn write(&self, value: T) {
        // SAFETY: not null (`Place::optional`), writable by the promise of `Place::new`.
        unsafe { self.at.write_unaligned(value) }
    }
}

/// A list to be filled: pointer to the elements, and pointer to their number.
#[derive(Debug)]
pub(crate) struct List<'call, T> {
    at: *mut T,
    count: Place<'call, CK_ULONG>,
}

impl<T: Copy> List<'_, T> {
    /// # Safety
    /// If neither is null, `*count` elements at `at`, at any alignment, are writable for the call, and so is `*count`.
    pub(crate) unsafe fn new(at: *mut T, count: *mut CK_ULONG) -> Self {
        // SAFETY: passed on.
        Self { at, count: unsafe { Place::new(count) } }
    }

    /// Writes what `items` returns by the length protocol: only the number if the list is null, and nothing but the
    /// number if it is too short. The pointer to the count is checked before `items` is asked.
    pub(crate) fn fill(self, items: impl FnOnce() -> Result<Vec<T>>) -> Result<()> {
        let count = self.count.required()?;
        let items = items()?;
        let room = count.read();
        count.write(items.len() as CK_ULONG);
        if self.at.is_null() {
            return Ok(());
        }
        if room < items.len() as CK_ULONG {
            return Err(Error::BufferTooSmall { needed: items.len() });
        }
        // SAFETY: `room` elements are writable by the promise of `new`, and there are no more items than that.
        unsafe { write_items(self.at, &items) };
        Ok(())
    }
}

/// Room for at most so many elements, and a pointer for their number (`C_FindObjects`).
#[derive(Debug)]
pub(crate) struct UpTo<'call, T> {
    at: *mut T,
    max: CK_ULONG,
    count: Place<'call, CK_ULONG>,
}

impl<T: Copy> UpTo<'_, T> {
    /// # Safety
    /// If `at` is not null, `max` elements, at any alignment, are writable there for the call, and so is `*count`.
    pub(crate) unsafe fn new(at: *mut T, max: CK_ULONG, count: *mut CK_ULONG) -> Self {
        // SAFETY: passed on.
        Self { at, max, count: unsafe { Place::new(count) } }
    }

    /// Writes the elements that `items` returns when told the maximum.
    pub(crate) fn fill(self, items: impl FnOnce(usize) -> Result<Vec<T>>) -> Result<()> {
        let count = self.count.required()?;
        let bytes = self.max.checked_mul(size_of::<T>() as CK_ULONG).ok_or(IMPOSSIBLE)?;
        span(self.at.cast(), bytes)?;
        let max = usize::try_from(self.max).map_err(|_| IMPOSSIBLE)?;
        let items = items(max)?;
        let items = items.get(..max.min(items.len())).unwrap_or_default();
        // SAFETY: `max` elements are writable by the promise of `new`, and there are no more items than that. With
        // `max` 0 the pointer may be null and nothing is written.
        unsafe { write_items(self.at, items) };
        count.write(items.len() as CK_ULONG);
        Ok(())
    }
}

/// Text: NUL-terminated, or of fixed length.
impl Place<'_, CK_BYTE> {
    /// The bytes before the NUL, at most `max` of them; `None` for a null pointer.
    pub(crate) fn text(&self, max: usize) -> Option<Vec<u8>> {
        // SAFETY: not null (below); no byte before this one was the terminator, so this one is readable.
        let byte = |index| unsafe { self.at.wrapping_add(index).read() };
        (!self.at.is_null()).then(|| (0..max).map(byte).take_while(|byte| *byte != 0).collect())
    }

    /// The `N` bytes of a blank-padded text of fixed length, which has no NUL (the label of `C_InitToken`).
    ///
    /// # Errors
    /// `ArgumentsBad` for a null pointer.
    pub(crate) fn fixed<const N: usize>(&self) -> Result<[u8; N]> {
        span(self.at, N as CK_ULONG)?;
        // SAFETY: not null; the interface says N bytes for this parameter, and bytes need no alignment.
        Ok(unsafe { self.at.cast::<[u8; N]>().read() })
    }
}

impl<'call> Place<'call, CK_MECHANISM> {
    /// The mechanism's number and its parameter.
    ///
    /// # Errors
    /// `ArgumentsBad` for a null pointer.
    pub(crate) fn parts(&self) -> Result<(u64, Bytes<'call>)> {
        let given = self.required()?.read();
        // SAFETY: the parameter is as the mechanism says, by the promise of `Place::new`.
        Ok((given.mechanism, unsafe { Bytes::new(given.pParameter.cast(), given.ulParameterLen) }))
    }
}

/// The parameter of a mechanism.
impl<'call> Bytes<'call> {
    /// The C structure `T`.
    ///
    /// # Errors
    /// `MechanismParamInvalid` if the length is not that of `T`, or the pointer is null.
    pub(crate) fn structure<T: Copy>(&self) -> Result<T> {
        if self.at.is_null() || self.len != size_of::<T>() as CK_ULONG {
            return Err(Error::MechanismParamInvalid("not the structure that the mechanism takes"));
        }
        // SAFETY: not null, as long as T, readable by the promise of `new`; T is plain C data: numbers and pointers.
        Ok(unsafe { self.at.cast::<T>().read_unaligned() })
    }

    /// Bytes that a structure from [`Bytes::structure`] points to.
    pub(crate) fn pointed(&self, at: *const CK_BYTE, len: CK_ULONG) -> Bytes<'call> {
        // SAFETY: the caller's structure says so, by the promise of `new`.
        unsafe { Bytes::new(at, len) }
    }

    /// Room that a structure from [`Bytes::structure`] points to. No reference is made before its `slice` is asked for.
    pub(crate) fn pointed_room(&self, at: *mut CK_BYTE, len: CK_ULONG) -> Space<'call> {
        // SAFETY: the caller's structure says so, by the promise of `new`; entries ask for one slice at a time, after
        // the last use of any other memory of the call.
        unsafe { Space::new(at, len) }
    }
}

impl Place<'_, c_void> {
    /// The arguments of `C_Initialize`, which have no type in C; `None` for a null pointer.
    pub(crate) fn initialize_args(&self) -> Option<CK_C_INITIALIZE_ARGS> {
        // SAFETY: for this parameter the interface says this structure, if the pointer is not null.
        unsafe { Place::new(self.at.cast()) }.optional().map(|args| args.read())
    }
}

/// A template: pointer to the attributes, and their number.
#[derive(Debug)]
pub(crate) struct Attributes<'call> {
    at: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    call: PhantomData<&'call mut CK_ATTRIBUTE>,
}

impl Attributes<'_> {
    /// # Safety
    /// If `at` is not null, `count` attributes, at any alignment, are there for the call, with their values: readable,
    /// and for `C_GetAttributeValue` writable.
    pub(crate) unsafe fn new(at: *mut CK_ATTRIBUTE, count: CK_ULONG) -> Self {
        Self { at, count, call: PhantomData }
    }

    /// The attributes as they stand. Each is read once, so that nothing changes between check and use.
    ///
    /// # Errors
    /// `ArgumentsBad` for null with a count, or too many attributes.
    pub(crate) fn read(&self) -> Result<Vec<Attribute<'_>>> {
        let count = usize::try_from(self.count).map_err(|_| IMPOSSIBLE)?;
        if count > MAX_ATTRIBUTES {
            return Err(Error::ArgumentsBad("too many attributes in the template"));
        }
        span(self.at.cast(), (count * size_of::<CK_ATTRIBUTE>()) as CK_ULONG)?;
        let attribute = |index| {
            let at = self.at.wrapping_add(index);
            // SAFETY: not null, as there is at least one; `count` attributes are readable by the promise of `new`.
            Attribute { at, given: unsafe { at.read_unaligned() }, call: PhantomData }
        };
        Ok((0..count).map(attribute).collect())
    }
}

/// One attribute of the caller's.
#[derive(Debug)]
pub(crate) struct Attribute<'call> {
    at: *mut CK_ATTRIBUTE,
    given: CK_ATTRIBUTE,
    call: PhantomData<&'call mut CK_ATTRIBUTE>,
}

impl<'call> Attribute<'call> {
    /// Its type.
    pub(crate) fn ty(&self) -> AttributeType {
        AttributeType(self.given.type_)
    }

    /// The length of the room for its value; `None` for a query, where there is none. A length that no memory has is no room: what
    /// stands there may be the `CK_UNAVAILABLE_INFORMATION` of the answer before, in a template that is handed in again.
    fn room(&self) -> Option<usize> {
        let at: *const CK_BYTE = self.given.pValue.cast();
        if at.is_null() { None } else { Some(span(at, self.given.ulValueLen).unwrap_or(0)) }
    }

    /// Its value.
    pub(crate) fn value(&self) -> Bytes<'call> {
        // SAFETY: by the promise of `Attributes::new`.
        unsafe { Bytes::new(self.given.pValue.cast(), self.given.ulValueLen) }
    }

    /// Answers it with a value, if there is room, and the value's length.
    ///
    /// # Errors
    /// `BufferTooSmall`; then nothing is written.
    pub(crate) fn answer(&self, value: &[u8]) -> Result<()> {
        if let Some(room) = self.room() {
            if room < value.len() {
                return Err(Error::BufferTooSmall { needed: value.len() });
            }
            // SAFETY: not null, `room` bytes are writable by the promise of `Attributes::new`, and `value` is not
            // longer; `value` is ours, so the two do not overlap.
            unsafe { self.given.pValue.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), value.len()) };
        }
        self.answer_length(value.len() as CK_ULONG);
        Ok(())
    }

    /// Answers it with a length alone.
    pub(crate) fn answer_length(&self, len: CK_ULONG) {
        // SAFETY: the attribute is writable by the promise of `Attributes::new`; no reference is made.
        unsafe { (&raw mut (*self.at).ulValueLen).write_unaligned(len) };
    }
}

/// Interfaces as constant data that all threads may read.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Interfaces<const N: usize>(pub(crate) [CK_INTERFACE; N]);
// SAFETY: the pointers lead to statics that are never written.
unsafe impl<const N: usize> Sync for Interfaces<N> {}

const IMPOSSIBLE: Error = Error::ArgumentsBad("a length that no memory has");

/// The length of what a caller describes, if memory can be like that: not null unless empty, and with an end.
fn span(at: *const CK_BYTE, len: CK_ULONG) -> Result<usize> {
    let len = usize::try_from(len).map_err(|_| IMPOSSIBLE)?;
    if at.is_null() && len != 0 {
        return Err(Error::ArgumentsBad("a pointer is null, but its length is not zero"));
    }
    match at.addr().checked_add(len) {
        Some(end) if len < MAX_ADDRESS && end <= isize::MAX as usize => Ok(len),
        _ => Err(IMPOSSIBLE),
    }
}

/// Whether input lies in the memory of the output buffer. Both have passed `span`, so no end wraps around.
fn overlap(at: *const CK_BYTE, room: usize, input: &[u8]) -> bool {
    let (output, input, len) = (at.addr(), input.as_ptr().addr(), input.len());
    len != 0 && room != 0 && input < output + room && output < input + len
}

/// # Safety
/// `at` has room for all items, at any alignment; it may be null if there are none.
unsafe fn write_items<T: Copy>(at: *mut T, items: &[T]) {
    for (index, item) in items.iter().enumerate() {
        // SAFETY: `index` is within the room that the caller promises.
        unsafe { at.wrapping_add(index).write_unaligned(*item) };
    }
}

/// Was this process started with raised rights: setuid, setgid, file capabilities (`AT_SECURE`)?
///
/// The C library is asked. The file that says the same, `/proc/self/auxv`, is closed to a server that has given up root's
/// rights, and its workers are to find what their master found.
pub(crate) fn started_with_raised_rights() -> bool {
    /// getauxval(3).
    const AT_SECURE: std::ffi::c_ulong = 23;
    unsafe extern "C" {
        fn getauxval(kind: std::ffi::c_ulong) -> std::ffi::c_ulong;
    }
    // SAFETY: it takes a number and returns one, out of what the C library keeps from the start of the process.
    unsafe { getauxval(AT_SECURE) != 0 }
}

#[cfg(test)]
mod tests {
    use std::ptr::{null, null_mut};

    use base::digest::Hash;
    use model::{HkdfSalt, Kdf, MechanismType, ObjectHandle, Params};
    use pkcs11_sys::*;

    use token::info::AttributeValue;

    use super::*;

    fn buffer<'a>(at: *mut u8, len: &'a mut CK_ULONG) -> Buffer<'a> {
        // SAFETY: the tests pass memory of theirs.
        unsafe { Buffer::new(at, len) }
    }

    fn bytes<'a>(at: *const u8, len: usize) -> Bytes<'a> {
        // SAFETY: the tests pass memory of theirs, or a length that is refused.
        unsafe { Bytes::new(at, len as CK_ULONG) }
    }

    #[test]
    fn bytes_are_null_only_when_empty() {
        assert_eq!(bytes(null(), 0).slice(), Ok(&[][..]));
        assert_eq!(bytes(b"abc".as_ptr(), 3).slice(), Ok(&b"abc"[..]));
        assert_eq!(bytes(b"abc".as_ptr(), 0).slice(), Ok(&[][..]));
        for (at, len) in [(null(), 1), (b"abc".as_ptr(), usize::MAX), (b"abc".as_ptr(), MAX_ADDRESS)] {
            assert!(matches!(bytes(at, len).slice(), Err(Error::ArgumentsBad(_))), "{len:#x}");
        }
        assert_eq!(bytes(null(), 0).secret(), Ok(None));
        assert_eq!(bytes(b"1234".as_ptr(), 0).secret(), Ok(Some(Secret::zeroed(0))));
        assert_eq!(bytes(b"1234".as_ptr(), 4).secret(), Ok(Some(Secret::copy_from(b"1234"))));
    }

    #[test]
    fn a_buffer_follows_the_length_protocol() {
        let mut room = [0_u8; 4];
        let produce = |output: Output<'_>| match output {
            Output::Length => Ok(3),
            Output::Buffer(room) if room.len() < 3 => Err(Error::BufferTooSmall { needed: 3 }),
            Output::Buffer(room) => {
                room[..3].copy_from_slice(b"abc");
                Ok(3)
            }
        };
        let mut len = 77;
        assert_eq!(buffer(null_mut(), &mut len).fill(produce), Ok(()));
        assert_eq!(len, 3);
        len = 2;
        assert_eq!(buffer(room.as_mut_ptr(), &mut len).fill(produce), Err(Error::BufferTooSmall { needed: 3 }));
        assert_eq!((len, room), (3, [0; 4]));
        len = 4;
        assert_eq!(buffer(room.as_mut_ptr(), &mut len).fill(produce), Ok(()));
        assert_eq!((len, &room), (3, b"abc\0"));
        len = 4;
        assert_eq!(buffer(room.as_mut_ptr(), &mut len).fill(|_| Err(Error::PinIncorrect)), Err(Error::PinIncorrect));
        assert_eq!(len, 4);
        len = CK_UNAVAILABLE_INFORMATION;
        let unasked = |_: Output<'_>| panic!("not asked");
        assert!(matches!(buffer(room.as_mut_ptr(), &mut len).fill(unasked), Err(Error::ArgumentsBad(_))));
        // SAFETY: null is refused.
        let no_length = unsafe { Buffer::new(room.as_mut_ptr(), null_mut()) };
        assert!(matches!(no_length.fill(unasked), Err(Error::ArgumentsBad(_))));
    }

    #[test]
    fn input_may_lie_in_the_output() {
        // Every way in which 4 bytes of input and 4 of output meet.
        for shift in 0..=8 {
            let mut memory: [u8; 12] = std::array::from_fn(|index| index as u8);
            let start = memory.as_mut_ptr();
            let mut len = 4;
            let increment = |input: &[u8], output: Output<'_>| {
                let Output::Buffer(output) = output else { panic!("a buffer was given") };
                // Backwards, so that input read late is wrong if it is shared.
                for (index, byte) in input.iter().enumerate().rev() {
                    output[index] = byte + 100;
                    output[3 - index] = byte + 100;
                }
                for (index, byte) in input.iter().enumerate() {
                    output[index] = byte + 100;
                }
                Ok(4)
            };
            let output = buffer(start.wrapping_add(4), &mut len);
            assert_eq!(output.fill_from(bytes(start.wrapping_add(shift), 4), increment), Ok(()));
            let first = shift as u8 + 100;
            assert_eq!(memory[4..8], [first, first + 1, first + 2, first + 3], "{shift}");
        }
    }

    #[test]
    fn attributes_are_answered_one_by_one() {
        let (mut label, mut id, mut class) = ([0_u8; 8], [0_u8; 2], [7_u8; 8]);
        let attribute = |type_, room: &mut [u8]| CK_ATTRIBUTE {
            type_,
            pValue: room.as_mut_ptr().cast(),
            ulValueLen: room.len() as CK_ULONG,
        };
        let query = CK_ATTRIBUTE { type_: CKA_ID, pValue: null_mut(), ulValueLen: 99 };
        let mut attributes = [
            attribute(CKA_LABEL, &mut label),
            attribute(CKA_ID, &mut id),
            query,
            attribute(CKA_CLASS, &mut class),
            attribute(CKA_PRIVATE_EXPONENT, &mut []),
        ];
        let answers = |types: &[AttributeType]| {
            Ok(types
                .iter()
                .map(|ty| match ty.0 {
                    CKA_LABEL => AttributeValue::Value(b"key".to_vec()),
                    CKA_ID => AttributeValue::Value(vec![1, 2, 3]),
                    CKA_PRIVATE_EXPONENT => AttributeValue::Sensitive,
                    _ => AttributeValue::Unknown,
                })
                .collect())
        };
        let mut ask = |count| {
            // SAFETY: all of them are there.
            unsafe { Attributes::new(attributes.as_mut_ptr(), count) }.answer(answers)
        };
        assert_eq!(ask(0), Ok(()));
        assert_eq!(ask(1), Ok(()));
        assert_eq!(ask(3), Err(Error::BufferTooSmall { needed: 3 }));
        // Handed in again as it was left: that one has no room, and the others are answered as before.
        attributes[0].ulValueLen = 8;
        assert_eq!(attributes[1].ulValueLen, CK_UNAVAILABLE_INFORMATION);
        // SAFETY: all of them are there.
        let all = unsafe { Attributes::new(attributes.as_mut_ptr(), 5) };
        assert_eq!(all.answer(answers), Err(Error::AttributeSensitive));
        let unavailable = CK_UNAVAILABLE_INFORMATION;
        assert_eq!(attributes.map(|a| a.ulValueLen), [3, unavailable, 3, unavailable, unavailable]);
        assert_eq!((&label, id, class), (b"key\0\0\0\0\0", [0; 2], [7; 8]));
    }

    #[test]
    fn a_template_is_copied_from_any_address() {
        let value = *b"label";
        let attribute = CK_ATTRIBUTE { type_: CKA_LABEL, pValue: value.as_ptr().cast_mut().cast(), ulValueLen: 5 };
        let mut memory = [0_u8; 1 + size_of::<CK_ATTRIBUTE>()];
        let odd = memory.as_mut_ptr().wrapping_add(1).cast::<CK_ATTRIBUTE>();
        // SAFETY: there is room from the second byte on.
        unsafe { odd.write_unaligned(attribute) };
        // SAFETY: it was just written.
        let template = unsafe { Attributes::new(odd, 1) }.template().unwrap();
        assert_eq!(template.iter().collect::<Vec<_>>(), [(AttributeType(CKA_LABEL), &b"label"[..])]);
    }

    #[test]
    fn a_bad_template_is_refused() {
        let one = |type_, at: *const u8, len: usize| {
            let mut attribute = CK_ATTRIBUTE { type_, pValue: at.cast_mut().cast(), ulValueLen: len as CK_ULONG };
            // SAFETY: one attribute; its value is refused before it is read.
            unsafe { Attributes::new(&raw mut attribute, 1) }.template().map(|template| template.len())
        };
        assert_eq!(one(CKA_LABEL, null(), 0), Ok(1));
        assert!(matches!(one(CKA_LABEL, null(), 1), Err(Error::ArgumentsBad(_))));
        assert!(matches!(one(CKA_LABEL, b"x".as_ptr(), usize::MAX), Err(Error::ArgumentsBad(_))));
        assert_eq!(one(CKA_LABEL, b"x".as_ptr(), MAX_VALUE + 1), Err(Error::HostMemory));
        let nested = Err(Error::AttributeTypeInvalid(AttributeType(CKA_WRAP_TEMPLATE)));
        assert_eq!(one(CKA_WRAP_TEMPLATE, b"x".as_ptr(), 1), nested);
    }

    fn mechanism(ty: CK_ULONG, at: *const c_void, len: usize) -> Result<Params> {
        let mechanism = CK_MECHANISM { mechanism: ty, pParameter: at.cast_mut(), ulParameterLen: len as CK_ULONG };
        // SAFETY: the tests pass memory of theirs, or a length that is refused.
        let parsed = unsafe { Place::new((&raw const mechanism).cast_mut()) }.typed()?;
        assert_eq!(parsed.ty, MechanismType(ty));
        Ok(parsed.params)
    }

    #[test]
    fn the_row_says_what_a_parameter_is() {
        let pss = CK_RSA_PKCS_PSS_PARAMS { hashAlg: CKM_SHA256, mgf: CKG_MGF1_SHA1, sLen: 20 };
        let at: *const c_void = (&raw const pss).cast();
        let parsed = Params::Pss { hash: Hash::Sha256, mgf: Hash::Sha1, salt_len: 20 };
        assert_eq!(mechanism(CKM_RSA_PKCS_PSS, at, 24), Ok(parsed));
        assert_eq!(mechanism(CKM_SHA256_RSA_PKCS, null(), 0), Ok(Params::None));
        assert_eq!(mechanism(CKM_SHA256_RSA_PKCS, at, 24), Ok(Params::Unexpected));
        assert_eq!(mechanism(0x8765_4321, at, 24), Ok(Params::None));
        for (at, len) in [(at, 23), (at, 25), (at, 0), (at, usize::MAX), (null(), 24), (null(), 0)] {
            assert!(matches!(mechanism(CKM_RSA_PKCS_PSS, at, len), Err(Error::MechanismParamInvalid(_))), "{len}");
        }
    }

    #[test]
    fn an_oaep_label_is_followed_and_checked() {
        let label = *b"label";
        let oaep = |source, at: *const u8, len: usize| {
            let params = CK_RSA_PKCS_OAEP_PARAMS {
                hashAlg: CKM_SHA256,
                mgf: CKG_MGF1_SHA1,
                source,
                pSourceData: at.cast_mut().cast(),
                ulSourceDataLen: len as CK_ULONG,
            };
            match mechanism(CKM_RSA_PKCS_OAEP, (&raw const params).cast(), 40)? {
                Params::Oaep { label, .. } => Ok(label),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(oaep(CKZ_DATA_SPECIFIED, label.as_ptr(), 5), Ok(label.to_vec()));
        assert_eq!(oaep(CKZ_DATA_SPECIFIED, null(), 0), Ok(Vec::new()));
        assert_eq!(oaep(0, null(), 0), Ok(Vec::new()));
        for bad in [
            oaep(0, label.as_ptr(), 5),
            oaep(2, null(), 0),
            oaep(CKZ_DATA_SPECIFIED, null(), 5),
            oaep(CKZ_DATA_SPECIFIED, label.as_ptr(), MAX_VALUE + 1),
        ] {
            assert!(matches!(bad, Err(Error::MechanismParamInvalid(_))));
        }
    }

    /// A structure for a mechanism, at an odd address.
    fn structure<T: Copy>(ty: CK_ULONG, value: T) -> Result<Params> {
        let mut memory = vec![0_u8; size_of::<T>() + 1];
        let odd = memory.as_mut_ptr().wrapping_add(1);
        // SAFETY: there is room from the second byte on.
        unsafe { odd.cast::<T>().write_unaligned(value) };
        mechanism(ty, odd.cast(), size_of::<T>())
    }

    #[test]
    fn structures_of_secret_keys_become_parameters() {
        let (one, two) = (*b"one", *b"second");
        let at = |bytes: &[u8]| bytes.as_ptr().cast_mut();
        assert_eq!(structure(CKM_AES_CBC, [7_u8; 16]), Ok(Params::Iv([7; 16])));
        let counter = CK_AES_CTR_PARAMS { ulCounterBits: 32, cb: [8; 16] };
        assert_eq!(structure(CKM_AES_CTR, counter), Ok(Params::Counter { bits: 32, block: [8; 16] }));
        let gcm =
            CK_GCM_PARAMS { pIv: at(&one), ulIvLen: 3, ulIvBits: 999, pAAD: at(&two), ulAADLen: 6, ulTagBits: 96 };
        let parsed = Params::Gcm { iv: one.to_vec(), aad: two.to_vec(), tag_bits: 96 };
        assert_eq!(structure(CKM_AES_GCM, gcm), Ok(parsed));
        assert_eq!(structure(CKM_SHA256_HMAC_GENERAL, 12 as CK_ULONG), Ok(Params::MacLen(12)));
        assert_eq!(structure(CKM_AES_KEY_WRAP, *b"8 bytes."), Ok(Params::WrapIv(*b"8 bytes.")));
        assert_eq!(mechanism(CKM_AES_KEY_WRAP, null(), 0), Ok(Params::None));
        assert_eq!(structure(CKM_CONCATENATE_BASE_AND_KEY, 5 as CK_ULONG), Ok(Params::Key(ObjectHandle(5))));
        let data = CK_KEY_DERIVATION_STRING_DATA { pData: at(&two), ulLen: 6 };
        assert_eq!(structure(CKM_XOR_BASE_AND_DATA, data), Ok(Params::Data(two.to_vec())));
        let ecdh = CK_ECDH1_DERIVE_PARAMS {
            kdf: CKD_SHA384_KDF,
            ulSharedDataLen: 3,
            pSharedData: at(&one),
            ulPublicDataLen: 6,
            pPublicData: at(&two),
        };
        let parsed = Params::Ecdh { kdf: Kdf::X963(Hash::Sha384), shared: one.to_vec(), public: two.to_vec() };
        assert_eq!(structure(CKM_ECDH1_DERIVE, ecdh), Ok(parsed));
    }

    #[test]
    fn of_an_hkdf_only_the_steps_that_are_done_are_read() {
        let (salt, info) = (*b"salt", *b"info");
        let given = CK_HKDF_PARAMS {
            bExtract: CK_TRUE,
            bExpand: CK_TRUE,
            prfHashMechanism: CKM_SHA512,
            ulSaltType: CKF_HKDF_SALT_DATA,
            pSalt: salt.as_ptr().cast_mut(),
            ulSaltLen: 4,
            hSaltKey: 77,
            pInfo: info.as_ptr().cast_mut(),
            ulInfoLen: 4,
        };
        let parsed = |extract, expand, salt, info: &[u8]| {
            Ok(Params::Hkdf { extract, expand, hash: Hash::Sha512, salt, info: info.to_vec() })
        };
        let read = |given: CK_HKDF_PARAMS| structure(CKM_HKDF_DERIVE, given);
        assert_eq!(read(given), parsed(true, true, HkdfSalt::Data(salt.to_vec()), &info));
        let key = CK_HKDF_PARAMS { ulSaltType: CKF_HKDF_SALT_KEY, pSalt: null_mut(), ..given };
        assert_eq!(read(key), parsed(true, true, HkdfSalt::Key(ObjectHandle(77)), &info));
        let wild = CK_HKDF_PARAMS { pSalt: null_mut(), ulSaltType: CKF_HKDF_SALT_NULL, ulSaltLen: 9, ..given };
        assert_eq!(read(wild), parsed(true, true, HkdfSalt::Null, &info));
        let wild = CK_HKDF_PARAMS { bExtract: CK_FALSE, pSalt: null_mut(), ..given };
        assert_eq!(read(wild), parsed(false, true, HkdfSalt::Null, &info));
        let wild = CK_HKDF_PARAMS { bExpand: CK_FALSE, pInfo: null_mut(), ..given };
        assert_eq!(read(wild), parsed(true, false, HkdfSalt::Data(salt.to_vec()), b""));
    }

    #[test]
    fn text_ends_at_its_nul_or_at_the_limit() {
        // SAFETY: these end in NUL, or are longer than the limit.
        let text = |bytes: &'static [u8]| unsafe { Place::new(bytes.as_ptr().cast_mut()) }.text(4);
        assert_eq!(text(b"ab\0cd"), Some(b"ab".to_vec()));
        assert_eq!(text(b"\0"), Some(Vec::new()));
        assert_eq!(text(b"abcdef"), Some(b"abcd".to_vec()));
        // SAFETY: null is refused.
        let none = unsafe { Place::<u8>::new(null_mut()) };
        assert_eq!(none.text(4), None);
        assert!(none.fixed::<32>().is_err());
    }
}
