//! Values as they are written in JSON.

/// Makes a [`Value`](crate::Value) of what looks like JSON, with expressions of the program in it: whatever
/// a `Value` can be made [`From`], bytes included.
///
/// ```
/// use socketio::{Binary, value};
///
/// let name = "Ada";
/// let user = value!({
///     "name": name,
///     "tags": ["a", "b", null],
///     "picture": Binary::from([1, 2, 3]),
///     "nested": {"empty": {}, "list": []},
/// });
/// assert_eq!(user["tags"][1], "b");
/// assert_eq!(user["picture"].as_bytes().map(|bytes| bytes.len()), Some(3));
/// ```
#[macro_export]
macro_rules! value {
    (null) => { $crate::Value::Null };
    ([ $($items:tt)* ]) => {{
        #[allow(unused_mut)]
        let mut list: ::std::vec::Vec<$crate::Value> = ::std::vec::Vec::new();
        $crate::__value_items!(list $($items)*);
        $crate::Value::Array(list)
    }};
    ({ $($entries:tt)* }) => {{
        #[allow(unused_mut)]
        let mut object = $crate::Object::new();
        $crate::__value_entries!(object $($entries)*);
        $crate::Value::Object(object)
    }};
    ($other:expr) => { $crate::Value::from($other) };
}

/// The items of a list.
#[doc(hidden)]
#[macro_export]
macro_rules! __value_items {
    ($list:ident) => {};
    ($list:ident null $(, $($rest:tt)*)?) => {
        $list.push($crate::Value::Null);
        $crate::__value_items!($list $($($rest)*)?);
    };
    ($list:ident [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $list.push($crate::value!([ $($inner)* ]));
        $crate::__value_items!($list $($($rest)*)?);
    };
    ($list:ident { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $list.push($crate::value!({ $($inner)* }));
        $crate::__value_items!($list $($($rest)*)?);
    };
    ($list:ident $item:expr $(, $($rest:tt)*)?) => {
        $list.push($crate::Value::from($item));
        $crate::__value_items!($list $($($rest)*)?);
    };
}

/// The entries of an object.
#[doc(hidden)]
#[macro_export]
macro_rules! __value_entries {
    ($object:ident) => {};
    ($object:ident $key:tt : null $(, $($rest:tt)*)?) => {
        $object.insert(::std::string::String::from($key), $crate::Value::Null);
        $crate::__value_entries!($object $($($rest)*)?);
    };
    ($object:ident $key:tt : [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $object.insert(::std::string::String::from($key), $crate::value!([ $($inner)* ]));
        $crate::__value_entries!($object $($($rest)*)?);
    };
    ($object:ident $key:tt : { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $object.insert(::std::string::String::from($key), $crate::value!({ $($inner)* }));
        $crate::__value_entries!($object $($($rest)*)?);
    };
    ($object:ident $key:tt : $item:expr $(, $($rest:tt)*)?) => {
        $object.insert(::std::string::String::from($key), $crate::Value::from($item));
        $crate::__value_entries!($object $($($rest)*)?);
    };
}
