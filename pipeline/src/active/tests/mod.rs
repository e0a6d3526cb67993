pub(super) mod answers;
mod ledger;
mod stop;
mod stop_set;
