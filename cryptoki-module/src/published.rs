//! What threads and forked children find without a lock: a value that is published, and a mark that a fork wipes; and the list of functions
//! of version 3.2, for which the header of `pkcs11-sys` has no type.
//!
//! A lock that another thread held when the process forked stays locked for ever in the child, and a process id says
//! little: the child may have its parent's, in a PID namespace of its own. Asking for it is a system call, too.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use pkcs11_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST_3_0, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_ULONG, CK_UTF8CHAR,
};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// A list with the functions of 3.0 first, as it has the fields of that, and a pointer to each that 3.2 adds: `CK_FUNCTION_LIST_3_2`.
macro_rules! list_3_2 {
    ($($name:ident($($kind:ty),*);)*) => {
        #[repr(C)]
        #[allow(non_snake_case)]
        #[derive(Debug)]
        pub(crate) struct FunctionList32 {
            pub(crate) v3_0: CK_FUNCTION_LIST_3_0,
            $(pub(crate) $name: Option<unsafe extern "C" fn($($kind),*) -> CK_RV>,)*
        }

        #[cfg(test)]
        impl FunctionList32 {
            /// The fields that 3.2 adds, and where they stand.
            pub(crate) const ADDED: &[(&str, usize)] =
                &[$((stringify!($name), std::mem::offset_of!(FunctionList32, $name))),*];
        }
    };
}

list_3_2! {
    C_EncapsulateKey(
        u64, *mut CK_MECHANISM, u64, *mut CK_ATTRIBUTE, u64, *mut CK_BYTE, *mut CK_ULONG, *mut CK_OBJECT_HANDLE
    );
    C_DecapsulateKey(u64, *mut CK_MECHANISM, u64, *mut CK_ATTRIBUTE, u64, *mut CK_BYTE, u64, *mut CK_OBJECT_HANDLE);
    C_VerifySignatureInit(u64, *mut CK_MECHANISM, u64, *mut CK_BYTE, u64);
    C_VerifySignature(u64, *mut CK_BYTE, u64);
    C_VerifySignatureUpdate(u64, *mut CK_BYTE, u64);
    C_VerifySignatureFinal(u64);
    C_GetSessionValidationFlags(u64, u64, *mut CK_FLAGS);
    C_AsyncComplete(u64, *mut CK_UTF8CHAR, *mut c_void);
    C_AsyncGetID(u64, *mut CK_UTF8CHAR, *mut CK_ULONG);
    C_AsyncJoin(u64, *mut CK_UTF8CHAR, u64, *mut CK_BYTE, u64);
    C_WrapKeyAuthenticated(u64, *mut CK_MECHANISM, u64, u64, *mut CK_BYTE, u64, *mut CK_BYTE, *mut CK_ULONG);
    C_UnwrapKeyAuthenticated(
        u64, *mut CK_MECHANISM, u64, *mut CK_BYTE, u64, *mut CK_ATTRIBUTE, u64, *mut CK_BYTE, u64, *mut CK_OBJECT_HANDLE
    );
}

/// A value that any thread may replace, without a lock. What was ever published is never freed.
#[derive(Debug)]
pub(crate) struct Published<T: 'static>(AtomicPtr<T>);

impl<T: Send + Sync> Published<T> {
    /// Nothing yet.
    pub(crate) const fn nothing() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// What was published last.
    pub(crate) fn load(&self) -> Option<&'static T> {
        // SAFETY: null, or from a leaked Box that is only ever shared; Acquire pairs with the Release of `replace`.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Publishes `new` if `current` is still what was published last.
    ///
    /// # Errors
    /// Gives `new` back if another thread was faster.
    pub(crate) fn replace(&self, current: Option<&'static T>, new: Box<T>) -> Result<&'static T, Box<T>> {
        let current = current.map_or(null_mut(), |value| std::ptr::from_ref(value).cast_mut());
        let new = Box::into_raw(new);
        match self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: from Box::into_raw just now, and never freed from here on.
            Ok(_) => Ok(unsafe { &*new }),
            // SAFETY: from Box::into_raw just now, and not published.
            Err(_) => Err(unsafe { Box::from_raw(new) }),
        }
    }
}

/// A mark in the memory of this process that is not in the memory of its children, however they were forked: neither
/// `pthread_atfork` nor a handler of the host is involved.
#[derive(Debug)]
pub(crate) enum ForkMark {
    Page(&'static AtomicU32),
    /// Where the kernel knows no such memory (before Linux 4.14): the process id.
    Id(u32),
}

impl ForkMark {
    const SET: u32 = 0x6d61_726b;
    /// The kernel makes whole pages of it.
    const LEN: usize = size_of::<AtomicU32>();

    /// Sets a mark.
    pub(crate) fn set() -> Self {
        // SAFETY: a new mapping at an address that the kernel chooses; nothing else lies there.
        let page =
            unsafe { mmap_anonymous(null_mut(), Self::LEN, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
        let Ok(page) = page else { return Self::Id(std::process::id()) };
        // SAFETY: the mapping made above, which nobody else knows yet.
        if unsafe { madvise(page, Self::LEN, Advice::LinuxWipeOnFork) }.is_err() {
            // SAFETY: as above; it is not used again.
            let _ = unsafe { munmap(page, Self::LEN) };
            return Self::Id(std::process::id());
        }
        // SAFETY: a page is aligned for it, is zero, which is a value, and lives until `drop` of the only owner.
        let mark = unsafe { &*page.cast::<AtomicU32>() };
        mark.store(Self::SET, Ordering::Relaxed);
        Self::Page(mark)
    }

    /// Whether this is the process that set it.
    pub(crate) fn stands(&self) -> bool {
        match self {
            Self::Page(mark) => mark.load(Ordering::Relaxed) == Self::SET,
            Self::Id(id) => *id == std::process::id(),
        }
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        if let Self::Page(mark) = self {
            // SAFETY: the mapping of `set`; the only reference to it is gone with this.
            let _ = unsafe { munmap(std::ptr::from_ref(*mark).cast_mut().cast(), Self::LEN) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, order and places, by another header.
    #[test]
    fn the_list_is_the_one_of_3_2() {
        macro_rules! places {
            ($($name:ident)*) => {
                [$((stringify!($name), std::mem::offset_of!(cryptoki_sys::CK_FUNCTION_LIST_3_2, $name))),*]
            };
        }
        let theirs = places! {
            C_EncapsulateKey C_DecapsulateKey C_VerifySignatureInit C_VerifySignature C_VerifySignatureUpdate
            C_VerifySignatureFinal C_GetSessionValidationFlags C_AsyncComplete C_AsyncGetID C_AsyncJoin
            C_WrapKeyAuthenticated C_UnwrapKeyAuthenticated
        };
        assert_eq!(FunctionList32::ADDED, theirs);
        assert_eq!(size_of::<FunctionList32>(), size_of::<cryptoki_sys::CK_FUNCTION_LIST_3_2>());
        assert_eq!(size_of::<CK_FUNCTION_LIST_3_0>(), size_of::<cryptoki_sys::CK_FUNCTION_LIST_3_0>());
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

    #[test]
    fn a_mark_stands_in_the_process_that_set_it() {
        let mark = ForkMark::set();
        assert!(matches!(mark, ForkMark::Page(_)) && mark.stands());
        assert!(ForkMark::Id(std::process::id()).stands() && !ForkMark::Id(0).stands());
    }
}
