//! Structs of inputs and outputs, each field with its name in the contract.

/// `Inputs<'a> { field: Type = "name" or default, … }`: a struct that is read from a call.
macro_rules! inputs {
    ($(#[$doc:meta])* $name:ident<$lt:lifetime> {
        $($(#[$says:meta])* $field:ident: $ty:ty = $key:literal $(or $default:expr)?,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name<$lt> {
            $($(#[$says])* pub $field: $ty,)*
        }

        impl<$lt> $crate::lane::rust::Field<$lt> for $name<$lt> {
            fn find(
                call: &$lt $crate::submission::Call,
                _: &str,
            ) -> Result<Option<Self>, $crate::submission::Failure> {
                Ok(Some($name {
                    $($field: $crate::lane::rust::macros::field!(call, $ty, $key $(, $default)?),)*
                }))
            }
        }
    };
}

macro_rules! field {
    ($call:ident, $ty:ty, $key:literal) => {
        <$ty as $crate::lane::rust::Field<'_>>::of($call, $key)?
    };
    ($call:ident, $ty:ty, $key:literal, $default:expr) => {
        <$ty as $crate::lane::rust::Field<'_>>::find($call, $key)?.unwrap_or($default)
    };
}

/// `Outputs { field: Type = "name", … }`, in the order of the contract: a struct that becomes an
/// answer.
macro_rules! outputs {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$says:meta])* $field:ident: $ty:ty = $key:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$says])* pub $field: $ty,)*
        }

        impl $name {
            pub(super) fn named(
                self,
                call: &$crate::submission::Call,
            ) -> Result<Vec<$crate::submission::Named>, $crate::submission::Failure> {
                let mut outputs = Vec::new();
                $($crate::lane::rust::output::put(call, $key, self.$field, &mut outputs)?;)*
                Ok(outputs)
            }
        }
    };
}

/// `Trait of "task" { fn method("op") … }`: the trait of a task, its marker, and how calls reach
/// the methods.
macro_rules! task {
    ($(#[$doc:meta])* $trait:ident = $task:literal {
        $($(#[$says:meta])* $method:ident($op:literal): $inputs:ident -> $outputs:ident;)*
    }) => {
        $(#[$doc])*
        pub trait $trait {
            $($(#[$says])*
            ///
            /// # Errors
            /// When there is no answer; as it stands here, it refuses.
            fn $method(
                &mut self,
                inputs: &$inputs<'_>,
            ) -> Result<$outputs, $crate::submission::Failure> {
                let _ = inputs;
                Err($crate::submission::Failure::Unsupported($op.to_owned()))
            })*
        }

        #[doc = concat!("Names the task: `", $task, "`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct Task;

        impl<T: $trait + Send> $crate::lane::rust::Answers<Task> for T {
            const TASK: &'static str = $task;

            fn answer(
                &mut self,
                call: &$crate::submission::Call,
            ) -> Result<Vec<$crate::submission::Named>, $crate::submission::Failure> {
                match call.op {
                    $($op => {
                        let inputs = $crate::lane::rust::Field::of(call, "")?;
                        self.$method(&inputs)?.named(call)
                    })*
                    other => Err($crate::submission::Failure::Unsupported(other.to_owned())),
                }
            }
        }
    };
}

pub(super) use {field, inputs, outputs, task};
