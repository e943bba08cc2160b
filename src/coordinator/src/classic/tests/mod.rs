//! Classic groups, one area a file; all of them as scripts.

mod bounds;
mod handover;
mod join;
mod leave;
mod rebalance;
mod static_members;
mod sync;
