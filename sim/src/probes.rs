//! The rare places that code marks with `runtime::sometimes!`: a sweep tells which of them its runs
//! reached. One that none reaches says that the simulator is blind there.

/// Every probe of the sources, sorted; `sim/tests/probes.rs` compares.
pub const ALL: &[&str] = &[
    "a batch is repeated",
    "a checkpoint makes room in the journal",
    "a fetch meets damage",
    "a fetch waits for records",
    "a generation of the journal is full",
    "a group coordinator can not write",
    "a group falls into two segments",
    "a log directory goes offline",
    "a producer numbers its batches anew",
    "a producer snapshot is bad",
    "a segment is full",
    "a start completes the swap of a compaction",
    "a start throws half a compaction away",
    "a start writes out of the journal",
    "a stray log is moved aside",
    "a time index ends too early",
    "a topic's name had files of another one",
    "an append is undone for lack of room",
    "batches share a sync",
    "indexes are rebuilt",
    "logs share a sync of the journal",
    "records are deleted for a client",
    "recovery cuts the end off",
    "recovery finds everything deleted",
    "recovery writes a doubtful end again",
    "retention closes the active segment",
    "retention deletes segments",
    "retention makes room on a full disk",
    "segments behind a gap are dropped",
    "the journal is full",
    "there is no room for metadata",
    "there is no room for the journal",
];

/// Those that fewer than one run of the smoke scenarios in a thousand reaches: only a sweep of
/// [`RARE_FROM`] runs has to.
pub const RARE: &[&str] =
    &["a time index ends too early", "a topic's name had files of another one"];

/// See [`RARE`].
pub const RARE_FROM: u64 = 10_000;

/// What a sweep of `runs` runs should have reached.
pub fn expected(runs: u64) -> impl Iterator<Item = &'static str> {
    ALL.iter().copied().filter(move |probe| RARE_FROM <= runs || !RARE.contains(probe))
}
