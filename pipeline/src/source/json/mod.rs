//! JSON Lines: an object on each line.
//!
//! The survey walks each line once, without building values: it checks all that makes a row a reject, adds the types of the
//! values, and takes text and id on the way. The typed scan skips the rows that the survey rejected and
//! gives the rest to arrow-json, which is laxer but right for what is left.

mod cursor;
mod kind;
mod line;
mod rewrite;
mod string;
#[cfg(target_arch = "x86_64")]
mod string_x86;
mod survey;
mod typed;
mod value;

pub(super) use kind::Kind;
pub(super) use survey::decode_survey;
pub(super) use typed::decode_typed;
