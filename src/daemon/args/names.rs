//! Names of values on the command line.

/// Makes an enum of another floor a value of an option.
macro_rules! names {
    ($( $wrapper:ident($inner:ty) { $($value:expr => $name:literal $(| $alias:literal)*,)* } )*) => { $(
        #[derive(Clone, Copy, Debug)]
        struct $wrapper($inner);

        impl clap::ValueEnum for $wrapper {
            fn value_variants<'a>() -> &'a [Self] {
                &[$($wrapper($value),)*]
            }

            fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
                $(if self.0 == $value {
                    let name = clap::builder::PossibleValue::new($name);
                    return Some(name$(.alias($alias))*);
                })*
                None
            }
        }
    )* };
}

pub(in super::super) use names;
