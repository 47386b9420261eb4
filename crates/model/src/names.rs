//! Newtypes over the numbers of the C header, with their names.

/// A newtype over a `CK_ULONG` whose known values have names: as constants, and for logs and documents.
macro_rules! named_type {
    ($(#[$doc:meta])* $vis:vis $name:ident, $prefix:literal { $($constant:ident = $value:path,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name(pub u64);

        impl $name {
            $(#[doc = concat!("`", stringify!($value), "`")] pub const $constant: Self = Self($value);)*

            /// The name in the specification, or `None` for a number that is not known here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(concat!($prefix, stringify!($constant))),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!($prefix, "{:#x}"), self.0),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    };
}
pub(crate) use named_type;
