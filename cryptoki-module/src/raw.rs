//! The only file with `unsafe`: C pointers become typed values here, and out-parameters are written here.
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
use std::sync::atomic::{AtomicPtr, Ordering};

use base::Secret;
use model::{AttributeType, Output, Template};
use pkcs11_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_C_INITIALIZE_ARGS, CK_INTERFACE, CK_MECHANISM, CK_ULONG, CK_UNAVAILABLE_INFORMATION,
    CKA_DERIVE_TEMPLATE, CKA_UNWRAP_TEMPLATE, CKA_WRAP_TEMPLATE,
};
use token::Error;
use token::info::AttributeValue;

/// Attributes in one template. The largest object of the specification has about fifty.
const MAX_ATTRIBUTES: usize = 4096;
/// Bytes of one attribute value, mechanism parameter or PIN; a certificate is a few thousand.
const MAX_VALUE: usize = 1 << 20;
/// Bytes of all values of one template.
const MAX_TEMPLATE: usize = 16 << 20;
/// No user address space reaches further, whatever the caller says.
const MAX_ADDRESS: usize = 1 << 56;

type Result<T> = std::result::Result<T, Error>;

/// Declares one function of the interface: its name, its parameters by kind, and its body.
///
/// ```ignore
/// cryptoki_fn! {
///     /// Signs data in a single part (5.13.2).
///     C_Sign(session: SessionHandle, data: Bytes, signature: Buffer) |library| {
///         signature.fill_from(data, |data, output| library.sign(session, data, output))
///     }
/// }
/// ```
///
/// - `|library| body`: needs an initialised library; the body returns `Result<(), token::Error>`.
/// - `|| body`: is called in any state; the body returns `Result<(), Failure>`.
/// - `unsupported "why"`: answers `CKR_FUNCTION_NOT_SUPPORTED` once the library is initialised.
///
/// A kind stands for one or two C parameters (`Bytes` is a pointer and a length). The exported function gets the C
/// signature, which the compiler compares with the header's when `table.rs` puts it into the function lists. An
/// uninhabited type of the same name carries the [`Declaration`](crate::table::Declaration) for the generated
/// documentation.
macro_rules! cryptoki_fn {
    // Kinds that are one number.
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: SessionHandle $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* value: pkcs11_sys::CK_SESSION_HANDLE,]
            [$($let)* let $arg = model::SessionHandle(value);] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: ObjectHandle $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* value: pkcs11_sys::CK_OBJECT_HANDLE,]
            [$($let)* let $arg = model::ObjectHandle(value);] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: SlotId $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* value: pkcs11_sys::CK_SLOT_ID,]
            [$($let)* let $arg = model::SlotId(value);] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: MechanismType $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* value: pkcs11_sys::CK_MECHANISM_TYPE,]
            [$($let)* let $arg = model::MechanismType(value);] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Ulong $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* value: pkcs11_sys::CK_ULONG,]
            [$($let)* let $arg = value;] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Bool $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* value: pkcs11_sys::CK_BBOOL,]
            [$($let)* let $arg = value != pkcs11_sys::CK_FALSE;] [$($($more)*)?] $($body)* }
    };
    // The application's callback for notifications, never called: a token in a TPM has nothing to notify.
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Notify $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* value: pkcs11_sys::CK_NOTIFY,]
            [$($let)* let _ = value;] [$($($more)*)?] $($body)* }
    };
    // Kinds that are pointers.
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Pointer $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* at: pkcs11_sys::CK_VOID_PTR,]
            // SAFETY: the pointer is the caller's argument, as the interface describes it.
            [$($let)* let $arg = unsafe { $crate::raw::Pointer::new(at) };] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Text $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* at: pkcs11_sys::CK_UTF8CHAR_PTR,]
            // SAFETY: the pointer is the caller's argument, as the interface describes it.
            [$($let)* let $arg = unsafe { $crate::raw::Text::new(at) };] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Place<$t:ty> $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* at: *mut $t,]
            // SAFETY: the pointer is the caller's argument, as the interface describes it.
            [$($let)* let $arg = unsafe { $crate::raw::Place::new(at) };] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Mechanism $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* at: pkcs11_sys::CK_MECHANISM_PTR,]
            // SAFETY: the pointer is the caller's argument, as the interface describes it.
            [$($let)* let $arg = unsafe { $crate::raw::MechanismPointer::new(at) };] [$($($more)*)?] $($body)* }
    };
    // Kinds that are a pointer and a length.
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Bytes $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* at: *mut pkcs11_sys::CK_BYTE, len: pkcs11_sys::CK_ULONG,]
            // SAFETY: pointer and length are the caller's arguments, as the interface describes them.
            [$($let)* let $arg = unsafe { $crate::raw::Bytes::new(at, len) };] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Parameter $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* at: pkcs11_sys::CK_VOID_PTR, len: pkcs11_sys::CK_ULONG,]
            // SAFETY: pointer and length are the caller's arguments, as the interface describes them.
            [$($let)* let $arg = unsafe { $crate::raw::Bytes::new(at.cast(), len) };] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Space $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* at: *mut pkcs11_sys::CK_BYTE, len: pkcs11_sys::CK_ULONG,]
            // SAFETY: pointer and length are the caller's arguments, as the interface describes them.
            [$($let)* let $arg = unsafe { $crate::raw::Space::new(at, len) };] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Attributes $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* at: pkcs11_sys::CK_ATTRIBUTE_PTR, len: pkcs11_sys::CK_ULONG,]
            // SAFETY: pointer and count are the caller's arguments, as the interface describes them.
            [$($let)* let $arg = unsafe { $crate::raw::Attributes::new(at, len) };] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: Buffer $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* at: *mut pkcs11_sys::CK_BYTE, len: pkcs11_sys::CK_ULONG_PTR,]
            // SAFETY: both pointers are the caller's arguments, as the interface describes them.
            [$($let)* let $arg = unsafe { $crate::raw::Buffer::new(at, len) };] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: List<$t:ty> $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head [$($c)* at: *mut $t, count: pkcs11_sys::CK_ULONG_PTR,]
            // SAFETY: both pointers are the caller's arguments, as the interface describes them.
            [$($let)* let $arg = unsafe { $crate::raw::List::new(at, count) };] [$($($more)*)?] $($body)* }
    };
    (@kind $head:tt [$($c:tt)*] [$($let:tt)*] [$arg:ident: UpTo<$t:ty> $(, $($more:tt)*)?] $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind $head
            [$($c)* at: *mut $t, max: pkcs11_sys::CK_ULONG, count: pkcs11_sys::CK_ULONG_PTR,]
            // SAFETY: pointers and count are the caller's arguments, as the interface describes them.
            [$($let)* let $arg = unsafe { $crate::raw::UpTo::new(at, max, count) };] [$($($more)*)?] $($body)* }
    };

    // All parameters are done: the function itself.
    (@kind { [$($doc:tt)*] $name:ident } [$($c:tt)*] [$($let:tt)*] [] |$library:ident| $body:expr) => {
        $crate::raw::cryptoki_fn! { @export [$($doc)*] $name Supported [$($c)*]
            $crate::boundary::with_library(stringify!($name), |$library| { $($let)* $body }) }
    };
    (@kind { [$($doc:tt)*] $name:ident } [$($c:tt)*] [$($let:tt)*] [] || $body:expr) => {
        $crate::raw::cryptoki_fn! { @export [$($doc)*] $name Supported [$($c)*]
            $crate::boundary::in_any_state(stringify!($name), || { $($let)* $body }) }
    };
    (@kind { [$($doc:tt)*] $name:ident } [$($c:tt)*] [$($let:tt)*] [] unsupported $why:literal) => {
        $crate::raw::cryptoki_fn! { @export [$($doc)*] $name Unsupported($why) [$($c)*]
            $crate::boundary::with_library(stringify!($name), |_| Err(token::Error::FunctionNotSupported)) }
    };
    (@export [$($doc:tt)*] $name:ident $support:ident $(($why:literal))? [$($c:tt)*] $call:expr) => {
        $($doc)*
        ///
        /// # Safety
        /// The pointers describe memory as PKCS#11 says for this function.
        #[allow(unsafe_code, non_snake_case, unused_variables)]
        // SAFETY: no other definition of this name is linked into the module; the name is the interface's.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($c)*) -> pkcs11_sys::CK_RV {
            $call
        }

        $($doc)*
        #[allow(non_camel_case_types)]
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl $crate::table::Declaration for $name {
            const NAME: &'static str = stringify!($name);
            const SUPPORT: $crate::table::Support = $crate::table::Support::$support $(($why))?;
        }
    };

    ($(#[$doc:meta])* $name:ident($($parameters:tt)*) $($body:tt)*) => {
        $crate::raw::cryptoki_fn! { @kind { [$(#[$doc])*] $name } [] [] [$($parameters)*] $($body)* }
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

    /// A PIN: `None` for null (the PIN comes by a protected path), else a copy that is wiped after use.
    ///
    /// # Errors
    /// As [`Bytes::slice`]; `PinLenRange` above what any PIN can have.
    pub(crate) fn secret(&self) -> Result<Option<Secret>> {
        let bytes = self.slice()?;
        if self.at.is_null() {
            return Ok(None);
        }
        if bytes.len() > MAX_VALUE {
            return Err(Error::PinLenRange);
        }
        Ok(Some(Secret::copy_from(bytes)))
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
            // SAFETY: not null, `room` bytes that do not wrap around, writable for 'call by the promise of `new`; bytes
            // that C never wrote are still some bytes. Nothing else refers to them while `produce` runs: overlapping
            // input was copied.
            produce(input, Output::Buffer(unsafe { slice::from_raw_parts_mut(self.at, room) }))
        };
        match outcome {
            Ok(written) => {
                length.write(written as CK_ULONG);
                Ok(())
            }
            Err(Error::BufferTooSmall { needed }) => {
                length.write(needed as CK_ULONG);
                Err(Error::BufferTooSmall { needed })
            }
            Err(error) => Err(error),
        }
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
        // SAFETY: not null, `len` bytes that do not wrap around, writable and unshared for 'call by the promise of
        // `new`.
        Ok(unsafe { slice::from_raw_parts_mut(self.at, len) })
    }
}

/// A place for one value.
#[derive(Debug)]
pub(crate) struct Place<'call, T> {
    at: *mut T,
    call: PhantomData<&'call mut T>,
}

impl<T: Copy> Place<'_, T> {
    /// # Safety
    /// If `at` is not null, a `T`, at any alignment, is readable and writable there for the call.
    pub(crate) unsafe fn new(at: *mut T) -> Self {
        Self { at, call: PhantomData }
    }

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
    /// If `at` is not null, `max` elements, at any alignment, are writable there for the call; so is `*count`, if not
    /// null.
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

/// A NUL-terminated text.
#[derive(Debug)]
pub(crate) struct Text<'call> {
    at: *const CK_BYTE,
    call: PhantomData<&'call [u8]>,
}

impl Text<'_> {
    /// # Safety
    /// If `at` is not null, bytes up to and with a zero byte are readable there for the call.
    pub(crate) unsafe fn new(at: *const CK_BYTE) -> Self {
        Self { at, call: PhantomData }
    }

    /// The bytes before the NUL, at most `max` of them; `None` for a null pointer.
    pub(crate) fn bytes(&self, max: usize) -> Option<Vec<u8>> {
        if self.at.is_null() {
            return None;
        }
        let byte = |index| {
            // SAFETY: not null; each byte before this one was not the terminator, so this one is readable by the
            // promise of `new`.
            unsafe { self.at.wrapping_add(index).read() }
        };
        Some((0..max).map(byte).take_while(|byte| *byte != 0).collect())
    }

    /// The `N` bytes of a blank-padded text of fixed length, which has no NUL (the label of `C_InitToken`).
    ///
    /// # Errors
    /// `ArgumentsBad` for a null pointer.
    pub(crate) fn fixed<const N: usize>(&self) -> Result<[u8; N]> {
        span(self.at, N as CK_ULONG)?;
        // SAFETY: not null; for a parameter of this kind the interface says N bytes. An array of bytes has no
        // alignment.
        Ok(unsafe { self.at.cast::<[u8; N]>().read() })
    }
}

/// An untyped pointer: reserved, or the arguments of `C_Initialize`.
#[derive(Debug)]
pub(crate) struct Pointer<'call> {
    at: *const c_void,
    call: PhantomData<&'call c_void>,
}

/// `CK_C_INITIALIZE_ARGS`, without its pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InitializeArgs {
    /// How many of the four mutex callbacks were given.
    pub(crate) callbacks: usize,
    /// `CKF_` bits.
    pub(crate) flags: u64,
    /// Whether `pReserved` was not null.
    pub(crate) reserved: bool,
}

impl Pointer<'_> {
    /// # Safety
    /// If `at` is not null, it points to what the interface says for this parameter, for the call.
    pub(crate) unsafe fn new(at: *const c_void) -> Self {
        Self { at, call: PhantomData }
    }

    /// Whether the pointer is null, as a reserved one must be.
    pub(crate) fn is_null(&self) -> bool {
        self.at.is_null()
    }

    /// The arguments of `C_Initialize`; `None` for a null pointer.
    pub(crate) fn initialize_args(&self) -> Option<InitializeArgs> {
        if self.at.is_null() {
            return None;
        }
        // SAFETY: not null; for the parameter of C_Initialize the interface says this structure. The callbacks are only
        // compared with null.
        let args = unsafe { self.at.cast::<CK_C_INITIALIZE_ARGS>().read_unaligned() };
        let callbacks = [
            args.CreateMutex.is_some(),
            args.DestroyMutex.is_some(),
            args.LockMutex.is_some(),
            args.UnlockMutex.is_some(),
        ];
        Some(InitializeArgs {
            callbacks: callbacks.into_iter().filter(|given| *given).count(),
            flags: args.flags,
            reserved: !args.pReserved.is_null(),
        })
    }
}

/// A `CK_MECHANISM`.
#[derive(Debug)]
pub(crate) struct MechanismPointer<'call> {
    at: *const CK_MECHANISM,
    call: PhantomData<&'call CK_MECHANISM>,
}

impl<'call> MechanismPointer<'call> {
    /// # Safety
    /// If `at` is not null, a `CK_MECHANISM`, at any alignment, is readable there for `'call`, and its parameter as it
    /// says.
    pub(crate) unsafe fn new(at: *const CK_MECHANISM) -> Self {
        Self { at, call: PhantomData }
    }

    /// The mechanism's number and its parameter.
    ///
    /// # Errors
    /// `ArgumentsBad` for a null pointer.
    pub(crate) fn parts(&self) -> Result<(u64, Parameter<'call>)> {
        if self.at.is_null() {
            return Err(Error::ArgumentsBad("the mechanism is null"));
        }
        // SAFETY: not null, readable by the promise of `new`.
        let mechanism = unsafe { self.at.read_unaligned() };
        // SAFETY: by the promise of `new`.
        let bytes = unsafe { Bytes::new(mechanism.pParameter.cast(), mechanism.ulParameterLen) };
        Ok((mechanism.mechanism, Parameter(bytes)))
    }
}

/// The parameter of a mechanism: bytes, a C structure, or nothing.
#[derive(Debug)]
pub(crate) struct Parameter<'call>(Bytes<'call>);

impl<'call> Parameter<'call> {
    /// Neither a pointer nor a length.
    pub(crate) fn is_absent(&self) -> bool {
        self.0.len == 0
    }

    /// The C structure `T`.
    ///
    /// # Errors
    /// `MechanismParamInvalid` if the length is not that of `T`, or the pointer is null.
    pub(crate) fn structure<T: Structure>(&self) -> Result<T> {
        if self.0.at.is_null() || self.0.len != size_of::<T>() as CK_ULONG {
            return Err(Error::MechanismParamInvalid("not the structure that the mechanism takes"));
        }
        // SAFETY: not null, as long as T, readable by the promise of `MechanismPointer::new`; every bit pattern is a T
        // (`Structure`).
        Ok(unsafe { self.0.at.cast::<T>().read_unaligned() })
    }

    /// Bytes that a structure from [`Parameter::structure`] points to.
    ///
    /// # Errors
    /// `MechanismParamInvalid` for null with a length, or more bytes than a parameter can have.
    pub(crate) fn pointed(&self, at: *const c_void, len: CK_ULONG) -> Result<&'call [u8]> {
        if len > MAX_VALUE as CK_ULONG {
            return Err(Error::MechanismParamInvalid("the parameter is too long"));
        }
        // SAFETY: a structure of the caller's says so, which is part of the promise of `MechanismPointer::new`.
        let bytes = unsafe { Bytes::new(at.cast(), len) };
        bytes.slice().map_err(|_| Error::MechanismParamInvalid("a pointer in the parameter is null"))
    }
}

/// C structures for which every bit pattern is a value: numbers and raw pointers only.
///
/// # Safety
/// Exactly that.
pub(crate) unsafe trait Structure: Copy {}
// SAFETY: three numbers.
unsafe impl Structure for pkcs11_sys::CK_RSA_PKCS_PSS_PARAMS {}
// SAFETY: four numbers and a raw pointer.
unsafe impl Structure for pkcs11_sys::CK_RSA_PKCS_OAEP_PARAMS {}

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

    /// A copy of the template.
    ///
    /// # Errors
    /// `ArgumentsBad` for null with a count, too many attributes, or a value that is null with a length or has a length
    /// that no memory has; `HostMemory` for values beyond all use; `AttributeTypeInvalid` for templates within the
    /// template, whose values are pointers.
    pub(crate) fn template(&self) -> Result<Template> {
        let mut template = Template::new();
        let mut total = 0;
        for attribute in self.read()? {
            if [CKA_WRAP_TEMPLATE, CKA_UNWRAP_TEMPLATE, CKA_DERIVE_TEMPLATE].contains(&attribute.type_) {
                return Err(Error::AttributeTypeInvalid(AttributeType(attribute.type_)));
            }
            let len = span(attribute.pValue.cast(), attribute.ulValueLen)?;
            total += len;
            if len > MAX_VALUE || total > MAX_TEMPLATE {
                return Err(Error::HostMemory);
            }
            // SAFETY: by the promise of `new`.
            let value = unsafe { Bytes::new(attribute.pValue.cast(), attribute.ulValueLen) };
            template.push(AttributeType(attribute.type_), value.slice()?.to_vec());
        }
        Ok(template)
    }

    /// Answers `C_GetAttributeValue` by the rules of PKCS#11 v3.1, 5.7.5: every attribute gets its length, or
    /// `CK_UNAVAILABLE_INFORMATION`, and its value where there is room. `values` is asked for all types at once and
    /// returns as many values.
    ///
    /// # Errors
    /// Of several reasons the gravest: `AttributeSensitive`, `AttributeTypeInvalid`, `BufferTooSmall`. The other
    /// attributes are answered all the same.
    pub(crate) fn answer(&self, values: impl FnOnce(&[AttributeType]) -> Result<Vec<AttributeValue>>) -> Result<()> {
        let attributes = self.read()?;
        for attribute in attributes.iter().filter(|attribute| !attribute.pValue.is_null()) {
            span(attribute.pValue.cast(), attribute.ulValueLen)?;
        }
        let types: Vec<_> = attributes.iter().map(|attribute| AttributeType(attribute.type_)).collect();
        let values = values(&types)?;
        if values.len() != attributes.len() {
            return Err(Error::General("the token answered another number of attributes".to_owned()));
        }

        let (mut sensitive, mut unknown, mut too_small) = (None, None, None);
        for (index, (attribute, value)) in attributes.iter().zip(&values).enumerate() {
            let len = match value {
                AttributeValue::Value(bytes) => {
                    let len = bytes.len() as CK_ULONG;
                    if attribute.pValue.is_null() {
                        len
                    } else if attribute.ulValueLen >= len {
                        // SAFETY: not null, `ulValueLen` bytes are writable by the promise of `new`, and `bytes` is not
                        // longer. `bytes` is ours, so the two do not overlap.
                        unsafe { attribute.pValue.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                        len
                    } else {
                        too_small = Some(Error::BufferTooSmall { needed: bytes.len() });
                        CK_UNAVAILABLE_INFORMATION
                    }
                }
                AttributeValue::Sensitive => {
                    sensitive = Some(Error::AttributeSensitive);
                    CK_UNAVAILABLE_INFORMATION
                }
                AttributeValue::Unknown => {
                    unknown = Some(Error::AttributeTypeInvalid(AttributeType(attribute.type_)));
                    CK_UNAVAILABLE_INFORMATION
                }
            };
            // SAFETY: `index` is below the count, so the attribute is writable by the promise of `new`; no reference is
            // made.
            unsafe { (&raw mut (*self.at.wrapping_add(index)).ulValueLen).write_unaligned(len) };
        }
        sensitive.or(unknown).or(too_small).map_or(Ok(()), Err)
    }

    /// The attributes as they stand: each is read once, so a value cannot change between check and use.
    fn read(&self) -> Result<Vec<CK_ATTRIBUTE>> {
        let count = usize::try_from(self.count).map_err(|_| IMPOSSIBLE)?;
        if count > MAX_ATTRIBUTES {
            return Err(Error::ArgumentsBad("too many attributes in the template"));
        }
        span(self.at.cast(), (count * size_of::<CK_ATTRIBUTE>()) as CK_ULONG)?;
        // SAFETY: not null unless `count` is 0, and `count` attributes are readable by the promise of `new`.
        Ok((0..count).map(|index| unsafe { self.at.wrapping_add(index).read_unaligned() }).collect())
    }
}

/// A value that any thread may replace, without a lock: a lock that another thread held when the process forked stays
/// locked for ever in the child. What was ever published is never freed.
#[derive(Debug)]
pub(crate) struct Published<T: 'static>(AtomicPtr<T>);

impl<T: Send + Sync> Published<T> {
    /// Nothing yet.
    pub(crate) const fn nothing() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// What was published last.
    pub(crate) fn load(&self) -> Option<&'static T> {
        // SAFETY: the pointer is null or from a leaked Box that is only ever shared; Acquire pairs with the publishing
        // Release.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Publishes `new` if `current` is still what was published last.
    ///
    /// # Errors
    /// Gives `new` back if another thread was faster.
    pub(crate) fn replace(&self, current: Option<&'static T>, new: Box<T>) -> std::result::Result<&'static T, Box<T>> {
        let current = current.map_or(std::ptr::null_mut(), |value| std::ptr::from_ref(value).cast_mut());
        let new = Box::into_raw(new);
        match self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: from Box::into_raw just now, and never freed from here on.
            Ok(_) => Ok(unsafe { &*new }),
            // SAFETY: from Box::into_raw just now, and not published.
            Err(_) => Err(unsafe { Box::from_raw(new) }),
        }
    }
}

/// Interfaces as constant data that all threads may read.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Interfaces<const N: usize>(pub(crate) [CK_INTERFACE; N]);
// SAFETY: the pointers lead to statics that are never written.
unsafe impl<const N: usize> Sync for Interfaces<N> {}

const IMPOSSIBLE: Error = Error::ArgumentsBad("a length that no memory has");

/// The length of what a caller describes, if memory can be like that: not null unless empty, and not beyond any
/// address.
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

#[cfg(test)]
mod tests {
    use std::ptr::{null, null_mut};

    use base::digest::Hash;
    use model::{MechanismType, Params};
    use pkcs11_sys::{
        CKA_CLASS, CKA_ID, CKA_LABEL, CKA_PRIVATE_EXPONENT, CKG_MGF1_SHA1, CKM_RSA_PKCS_OAEP, CKM_RSA_PKCS_PSS,
        CKM_SHA256, CKM_SHA256_RSA_PKCS, CKZ_DATA_SPECIFIED,
    };

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
        // What was refused a moment ago has no room any more.
        attributes[0].ulValueLen = 8;
        attributes[1].ulValueLen = 2;
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
        let parsed = unsafe { MechanismPointer::new(&raw const mechanism) }.mechanism()?;
        assert_eq!(parsed.ty, MechanismType(ty));
        Ok(parsed.params)
    }

    #[test]
    fn the_row_says_what_a_parameter_is() {
        let pss = pkcs11_sys::CK_RSA_PKCS_PSS_PARAMS { hashAlg: CKM_SHA256, mgf: CKG_MGF1_SHA1, sLen: 20 };
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
            let params = pkcs11_sys::CK_RSA_PKCS_OAEP_PARAMS {
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

    #[test]
    fn text_ends_at_its_nul_or_at_the_limit() {
        // SAFETY: these end in NUL, or are longer than the limit.
        let text = |bytes: &'static [u8]| unsafe { Text::new(bytes.as_ptr()) }.bytes(4);
        assert_eq!(text(b"ab\0cd"), Some(b"ab".to_vec()));
        assert_eq!(text(b"\0"), Some(Vec::new()));
        assert_eq!(text(b"abcdef"), Some(b"abcd".to_vec()));
        // SAFETY: null is refused.
        let none = unsafe { Text::new(null()) };
        assert_eq!(none.bytes(4), None);
        assert!(none.fixed::<32>().is_err());
    }

    #[test]
    fn the_first_to_publish_wins() {
        static VALUE: Published<u32> = Published::nothing();
        assert_eq!(VALUE.load(), None);
        assert_eq!(VALUE.replace(None, Box::new(1)), Ok(&1));
        assert_eq!(VALUE.replace(None, Box::new(2)), Err(Box::new(2)));
        assert_eq!(VALUE.replace(VALUE.load(), Box::new(3)), Ok(&3));
        assert_eq!(VALUE.load(), Some(&3));
    }
}
