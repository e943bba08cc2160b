//! Groups: who owns, what is committed, how often records are processed.

use std::collections::BTreeSet;
use std::sync::Arc;

use history::{Commits, GroupRules, Protocol, Rules};

use crate::script::Script;

fn run(group: GroupRules, lines: &str) -> Vec<&'static str> {
    Script::new(Rules::default()).with_group(group).run(lines)
}

#[track_caller]
fn check_with(group: GroupRules, lines: &str, expected: &[&str]) {
    assert_eq!(run(group, lines), expected, "{lines}");
}

#[track_caller]
fn check(lines: &str, expected: &[&str]) {
    check_with(GroupRules::default(), &format!("{lines}, stored 0 0"), expected);
}

/// Three records, which are there and which nobody but `lines` is about.
#[track_caller]
fn check_records(commits: Commits, lines: &str, expected: &[&str]) {
    let group = GroupRules { commits, ..GroupRules::default() };
    let records = "send 0#0, send 0#1, send 0#2, stored 0 3 0=0#0 1=0#1 2=0#2,";
    check_with(group, &format!("{records} {lines}"), expected);
}

fn consumer() -> GroupRules {
    GroupRules { protocol: Protocol::Consumer, ..GroupRules::default() }
}

/// Something is committed, so that the group does not go when it is empty.
const SET: &str = "set 90 0, done 90,";
const TWO: &str = "set 90 0, done 90, began 1, began 2,";
/// The log ended far behind what anybody commits here.
const ENDED: &str = "stored 9 9, trim 9";

#[test]
fn a_generation_has_one_owner_of_a_partition() {
    check(&format!("{TWO} assign 1 4, assign 2 4"), &["two-owners"]);
    check(&format!("{TWO} assign 1 4, release 1, assign 2 5"), &[]);
    // Somebody whose session is over may believe what it likes.
    check(&format!("{TWO} assign 1 4, assign 2 5"), &[]);
    // What was given back is not given to another in the same generation either.
    check(&format!("{TWO} assign 1 4, release 1, assign 2 4"), &["two-owners"]);
    // Kept through a generation that brought nothing.
    check(&format!("{TWO} assign 1 4, assign 1 5 none, assign 2 5"), &["two-owners"]);
    check(&format!("{TWO} assign 1 4, release 1, assign 1 5 none, assign 2 5"), &[]);
    check_with(consumer(), &format!("{TWO} assign 1 4, assign 2 4, stored 0 0"), &["two-owners"]);
}

#[test]
fn a_partition_is_given_away_when_it_is_let_go_of() {
    let rules = GroupRules { patience_nanos: Some(3_000_000_000), ..consumer() };
    let check = |lines: &str, expected: &[&str]| {
        check_with(rules.clone(), &format!("{TWO} wait 9, {lines}, {ENDED}"), expected);
    };
    check("assign 1 4, release 1 1, assign 2 5", &[]);
    check("assign 1 4, wait 9, assign 2 5, release 1 1", &["two-owners"]);
    // It may have been told long before, and given up.
    check("assign 1 4, wait 9, assign 2 5, release 1 4", &[]);
    check("assign 1 4, wait 9, assign 2 5, lost 1", &[]);
    // The other one was told late of what it had before.
    check("assign 1 5, wait 9, assign 2 4, release 1 1", &[]);
}

#[test]
fn sessions_of_one_instance_are_one_member() {
    check(&format!("{SET} began 1 a, assign 1 4, end 1, began 2 a, assign 2 4"), &[]);
    check(&format!("{SET} began 1 a, assign 1 4, end 1, began 2 b, assign 2 4"), &["two-owners"]);
}

#[test]
fn generations_begin_anew_in_a_new_group() {
    let first = format!("{SET} began 1, assign 1 1, release 1, end 1,");
    let second = "began 2, assign 2 1";
    check(&format!("{first} {second}"), &["two-owners"]);
    check(&format!("{first} drop 9, done 9, {second}"), &[]);
    check(&format!("{first} drop 9, refused 9, {second}"), &["two-owners"]);
    check(&format!("{first} drop 9, unknown 9, {second}"), &[]);
    // Before the group was deleted.
    check(&format!("{TWO} assign 1 1, assign 2 1, drop 9, done 9"), &["two-owners"]);
}

#[test]
fn a_group_without_offsets_goes_when_it_is_empty() {
    check("began 1, began 2, assign 1 1, assign 2 1", &[]);
    // The first one was in it all the time.
    let stayed = "began 1, began 2, assign 1 1, assign 2 1, commit 7 1 1 0, done 7 1";
    check(stayed, &["two-owners"]);
    let late = "began 1, assign 1 1, end 1, set 90 0, done 90, began 2, assign 2 1";
    check(late, &[]);
}

#[test]
fn who_was_replaced_commits_nothing() {
    let replaced = format!("{TWO} assign 1 4, assign 2 5,");
    check(&format!("{replaced} commit 7 1 4 3, refused 7"), &[]);
    check(&format!("{replaced} commit 7 1 4 3, unknown 7"), &[]);
    check(&format!("{replaced} commit 7 1 4 3, done 7 4"), &["fenced-commit"]);
    let of_consumers = format!("{replaced} commit 7 1 4 3, done 7 4, stored 0 0");
    check_with(consumer(), &of_consumers, &["fenced-commit"]);
    // Asked for before the other was told.
    check(&format!("{TWO} assign 1 4, commit 7 1 4 3, assign 2 5, done 7 4"), &[]);
    // The other one is the one that was away: it was told late of what it had before.
    check(&format!("{TWO} assign 1 5, assign 2 4, commit 7 1 5 3, done 7 5"), &[]);
}

#[test]
fn a_commit_is_of_the_generation_that_the_group_is_in() {
    // The other one got other partitions.
    let newer = format!("{TWO} assign 1 4, assign 2 5 none,");
    check(&format!("{newer} commit 7 1 4 3, done 7 4"), &["fenced-commit"]);
    // By the answer the member had joined it, and the commit may have been of it.
    check(&format!("{newer} commit 7 1 4 3, done 7 5"), &[]);
    // Each member of a consumer group is at an epoch of its own.
    check_with(consumer(), &format!("{newer} commit 7 1 4 3, done 7 4, stored 0 0"), &[]);
}

#[test]
fn a_mixed_group_keeps_its_epochs_while_somebody_is_in_it() {
    let rules = GroupRules { protocol: Protocol::Mixed, ..GroupRules::default() };
    let check = |lines: &str, expected: &[&str]| {
        let began = "began 1, began 2 consumer, began 3, began 4 consumer";
        check_with(rules.clone(), &format!("{SET} {began}, {lines}, stored 0 0"), expected);
    };
    let stays = |member: u32, write: u32| format!("commit {write} {member} 4 0, done {write} 9");
    let (first, second) = (stays(1, 1), stays(2, 2));
    // Both were in it, told of one epoch.
    check(&format!("assign 1 4, assign 2 4, {first}, {second}"), &["two-owners"]);
    check(&format!("assign 1 4, {first}, assign 2 5, {second}"), &[]);
    // It may have been empty between: the first one says nothing any more.
    check(&format!("assign 1 4, assign 2 4, {second}"), &[]);
    check(&format!("assign 1 4, {first}, lost 1, assign 2 4, {second}"), &[]);
    // The third one was in it all the time.
    let third = stays(3, 3);
    let held = format!("assign 3 3, assign 1 4, {first}, lost 1, assign 2 4, {second}, {third}");
    check(&held, &["two-owners", "fenced-commit"]);
    // Also while it had nothing: a classic member knows when it was out.
    let gap = |member: u32, out: &str| {
        let released = format!("release {member}, {out} assign {member} 4 none,");
        let gap = format!("assign {member} 3, assign 1 4, {first}, lost 1, {released}");
        format!("{gap} assign 2 4, {second}, commit 8 {member} 4 0, done 8 9")
    };
    check(&gap(3, ""), &["two-owners"]);
    check(&gap(3, "lost 3 none,"), &[]);
    // A consumer may be out without being told.
    check(&gap(4, ""), &[]);
}

#[test]
fn who_was_replaced_in_the_other_protocol_commits_nothing() {
    let rules = GroupRules { protocol: Protocol::Mixed, ..GroupRules::default() };
    let check = |lines: &str, expected: &[&str]| {
        let lines = format!("{SET} began 1, began 2 consumer, began 3, {lines}, stored 0 0");
        check_with(rules.clone(), &lines, expected);
    };
    let late = "commit 8 1 4 3, done 8 4, commit 9 2 5 0, done 9 5, commit 10 3 5 0, done 10 5";
    check(&format!("assign 1 4, assign 2 5, {late}"), &["fenced-commit"]);
    // Nobody knows of a generation that all are in.
    check(&format!("assign 1 4, assign 3 5 none, {late}"), &[]);
    // There is one, and the leader of it got nothing new.
    check(&format!("assign 3 4 none, assign 1 4, assign 3 5 leads, {late}"), &["fenced-commit"]);
}

#[test]
fn a_consumer_of_a_mixed_group_is_waited_for() {
    let patience_nanos = Some(3_000_000_000);
    let rules = GroupRules { protocol: Protocol::Mixed, patience_nanos, ..GroupRules::default() };
    let check = |began: &str, expected: &[&str]| {
        let taken = "wait 9, assign 1 4, wait 9, assign 2 5, commit 7 1 4 0, refused 7,";
        let stays = "commit 8 1 4 0, done 8 4, commit 9 2 5 0, done 9 5, release 1 1";
        let lines = format!("{SET} {began}, began 2, {taken} {stays}, stored 0 0");
        check_with(rules.clone(), &lines, expected);
    };
    check("began 1 consumer", &["two-owners", "fenced-commit"]);
    check("began 1", &["fenced-commit"]);
}

#[test]
fn what_is_committed_stays() {
    let two = "began 1, assign 1 4, commit 7 1 4 3, done 7 4, commit 8 1 4 5, done 8 4,";
    let check = |lines: &str, expected: &[&str]| {
        check_with(GroupRules::default(), &format!("{two} {lines}, {ENDED}"), expected);
    };
    check("fetched 5:8", &[]);
    check("fetched 3:7", &["commit-lost"]);
    check("fetched none", &["commit-lost"]);
    check("fetched 5:7", &["commit-altered"]);
    check("fetched 6:8", &["commit-altered"]);
    check("fetched 4:99", &["commit-altered"]);
    // Lower: what was written last is right, but for who wrote it.
    check("commit 9 1 4 2, done 9 4, fetched 2:9", &["commit-fell"]);
    // Because somebody said so.
    check("set 9 0, done 9, fetched 0:9", &[]);
    check("set 9 0, done 9, fetched 5:8", &["commit-lost"]);
    check("set 9 0, refused 9, fetched 0:9", &["refused-visible"]);
    check("set 9 0, refused 9, fetched 5:8", &[]);
    check("drop 9, done 9, fetched none", &[]);
    check("drop 9, done 9, fetched 5:8", &["commit-lost"]);
    check("drop 9, unknown 9, fetched 5:8, fetched none", &[]);
}

#[test]
fn a_member_does_not_commit_less_than_before() {
    let began = "began 1, began 2, assign 1 4, commit 7 1 4 5, done 7 4,";
    let check = |lines: &str, expected: &[&str]| {
        check_with(GroupRules::default(), &format!("{began} {lines}, {ENDED}"), expected);
    };
    check("commit 8 1 4 5, done 8 4", &[]);
    check("commit 8 1 4 3, done 8 4", &["commit-fell"]);
    // It goes on from there; one fall is told once.
    check("commit 8 1 4 3, done 8 4, commit 9 1 4 4, done 9 4", &["commit-fell"]);
    check("commit 8 1 4 3, refused 8", &[]);
    check("commit 8 1 4 3, unknown 8", &[]);
    // In a later generation too, as long as it keeps the partition.
    check("assign 1 5 none, commit 8 1 5 3, done 8 5", &["commit-fell"]);
    check("release 1, assign 1 5, commit 8 1 5 3, done 8 5", &[]);
    check("lost 1, assign 1 5, commit 8 1 5 3, done 8 5", &[]);
    check("lost 1 none, commit 8 1 4 3, done 8 4", &["commit-fell"]);
    check("reset 1 0, commit 8 1 4 3, done 8 4", &["unfit-error"]);
    // Another one begins where it does.
    check("end 1, assign 2 5, commit 8 2 5 3, done 8 5", &[]);
    // On the way out it is a member still.
    check("end 1, commit 8 1 4 3, done 8 4", &["commit-fell"]);
}

#[test]
fn commits_that_were_under_way_together_have_no_order() {
    let check = |lines: &str, expected: &[&str]| {
        let lines = format!("began 1, assign 1 4, commit 7 1 4 5, {lines}, {ENDED}");
        check_with(GroupRules::default(), &lines, expected);
    };
    check("commit 8 1 4 3, done 7 4, done 8 4", &[]);
    check("unknown 7, commit 8 1 4 3, done 8 4", &[]);
    check("refused 7, commit 8 1 4 3, done 8 4", &[]);
    // What it had asked for before it let go is answered after that.
    check("release 1, done 7 4, assign 1 5, commit 8 1 5 3, done 8 5", &[]);
    check("done 7 4, commit 8 1 4 3, release 1, done 8 4", &[]);
    // What was answered first was asked for last, and a third one is held against the higher of them.
    check("commit 8 1 4 3, done 8 4, done 7 4, commit 9 1 4 4, done 9 4", &["commit-fell"]);
}

#[test]
fn whom_an_administrator_sets_back_commits_less() {
    let check = |lines: &str, expected: &[&str]| {
        let lines = format!("began 1, assign 1 4, commit 7 1 4 5, done 7 4, {lines}, {ENDED}");
        check_with(GroupRules::default(), &lines, expected);
    };
    let lower = "commit 8 1 4 3, done 8 4";
    check(&format!("set 9 0, done 9, {lower}"), &[]);
    check(&format!("set 9 0, unknown 9, {lower}"), &[]);
    check(&format!("set 9 0, refused 9, {lower}"), &["commit-fell"]);
    check(&format!("forget 9, refused 9, {lower}"), &["commit-fell"]);
    check(&format!("drop 9, refused 9, {lower}"), &["commit-fell"]);
    check("set 9 0, commit 8 1 4 3, done 8 4, done 9", &[]);
}

#[test]
fn a_log_that_may_lose_its_end_sends_its_readers_back() {
    let rules = Rules { is_lost_with_power: true, ..Rules::default() };
    let check = |rules: Rules, expected: &[&str]| {
        let lines =
            "began 1, assign 1 4, commit 7 1 4 5, done 7 4, power, commit 8 1 4 3, done 8 4";
        let script = Script::new(rules).with_group(GroupRules::default());
        assert_eq!(script.run(&format!("{lines}, {ENDED}")), expected);
    };
    check(rules, &[]);
    check(Rules::default(), &["commit-fell"]);
}

#[test]
fn an_offset_is_deleted_where_nobody_reads() {
    let topics = BTreeSet::from([Arc::from("orders")]);
    let rules = GroupRules { topics, ..GroupRules::default() };
    let check = |lines: &str, expected: &[&str]| {
        check_with(rules.clone(), &format!("{lines}, {ENDED}"), expected);
    };
    check("set 7 3, done 7, forget 8, done 8, fetched none", &[]);
    check("set 7 3, done 7, forget 8, done 8, fetched 3:7", &["commit-lost"]);
    check("set 7 3, done 7, forget 8, unknown 8, fetched 3:7, fetched none", &[]);
    check("set 7 3, done 7, forget 8, refused 8, fetched none", &["commit-lost"]);
    check("set 7 3, done 7, forget 8, done 8, set 9 2, done 9, fetched none", &["commit-lost"]);
    let reads = "began 1, assign 1 4, commit 7 1 4 3, done 7 4,";
    check(&format!("{reads} end 1, forget 8, done 8"), &[]);
    check(&format!("{reads} forget 8, unknown 8, commit 9 1 4 3, done 9 4"), &[]);
    check(&format!("{reads} forget 8, done 8, commit 9 1 4 3, done 9 4"), &["commit-lost"]);
    // Without its last offset an empty group goes, and begins anew.
    let gone = "began 1, assign 1 1, commit 7 1 1 3, done 7 1, end 1, forget 8, done 8,";
    check(&format!("{gone} began 2, assign 2 1"), &[]);
    let kept = gone.replace("done 8", "refused 8");
    check(&format!("{SET} {gone} began 2, assign 2 1"), &[]);
    check(&format!("{SET} {kept} began 2, assign 2 1"), &["two-owners"]);
}

#[test]
fn a_write_without_an_answer_happens_at_any_time_or_never() {
    let open = "began 1, assign 1 4, commit 7 1 4 3, unknown 7, commit 8 1 4 5, done 8 4,";
    let check = |lines: &str, expected: &[&str]| {
        check_with(GroupRules::default(), &format!("{open} {lines}, {ENDED}"), expected);
    };
    check("fetched 5:8, fetched 3:7, fetched 5:8", &[]);
    check("fetched none", &["commit-lost"]);
    let first = "began 1, assign 1 4, commit 7 1 4 3,";
    let check = |lines: &str, expected: &[&str]| {
        check_with(GroupRules::default(), &format!("{first} {lines}, {ENDED}"), expected);
    };
    check("fetched none, fetched 3:7", &[]);
    check("fetched 3:7, done 7 4", &[]);
    check("done 7 4, fetched none", &["commit-lost"]);
}

#[test]
fn what_is_sent_again_may_happen_once_more() {
    let two = "began 1, assign 1 4, recommit 7 1 4 3, done 7 4, commit 8 1 4 5, done 8 4";
    let check = |lines: &str, expected: &[&str]| {
        check_with(GroupRules::default(), &format!("{lines}, {ENDED}"), expected);
    };
    check(&format!("{two}, fetched 3:7"), &[]);
    let late = "began 1, assign 1 4, recommit 7 1 4 3, done 7 4, wait 6, commit 8 1 4 5, done 8 4";
    check(&format!("{late}, fetched 3:7"), &["commit-lost"]);
}

#[test]
fn offsets_of_an_empty_group_expire() {
    let rules = GroupRules { retention_ms: Some(3_000), ..GroupRules::default() };
    let check = |lines: &str, expected: &[&str]| {
        check_with(rules.clone(), &format!("{lines}, {ENDED}"), expected);
    };
    let committed = "began 1, assign 1 4, commit 7 1 4 3, done 7 4,";
    check(&format!("{committed} end 1, wait 4, fetched none"), &[]);
    check(&format!("{committed} end 1, wait 2, fetched none"), &["commit-lost"]);
    check(&format!("{committed} end 1, clock 2500 0, wait 1, fetched none"), &[]);
    // It was not empty all the time: it commits later, and was never out of the group.
    let stayed = format!("{committed} wait 4, fetched none, commit 8 1 4 3, done 8 4");
    check(&stayed, &["commit-lost"]);
    let lost =
        format!("{committed} wait 4, fetched none, lost 1, assign 1 5, commit 8 1 5 3, done 8 5");
    check(&lost, &[]);
}

#[test]
fn a_loss_of_power_takes_offsets_where_it_may() {
    let rules = GroupRules { is_lost_with_power: true, ..GroupRules::default() };
    let committed = "began 1, assign 1 4, commit 7 1 4 3, done 7 4,";
    check_with(rules.clone(), &format!("{committed} power, fetched none, {ENDED}"), &[]);
    check_with(rules, &format!("{committed} fetched none, {ENDED}"), &["commit-lost"]);
    let synced = format!("{committed} power, fetched none, {ENDED}");
    check_with(GroupRules::default(), &synced, &["commit-lost"]);
}

#[test]
fn a_member_begins_where_the_group_stopped() {
    let first = "began 1, assign 1 4, poll 1 0=0#0, process 1 0, commit 7 1 4 1, done 7 4, end 1,";
    let second = "began 2, assign 2 5,";
    let end = "process 1 1 2, fetched 1:7";
    let check = |lines: &str, expected: &[&str]| {
        check_records(Commits::After, &format!("{first} {second} {lines}, {end}"), expected);
    };
    check("poll 2 1=0#1", &[]);
    check("poll 2 0=0#0", &["commit-lost"]);
    // What it got after that is judged as of any reader.
    check("poll 2 1=0#1 2=0#2", &[]);
    check("poll 2 1=0#1, poll 2 1=0#1", &["nonmonotonic-poll"]);
    check("seek 2 0, poll 2 0=0#0 2=0#2", &["poll-skip", "commit-lost"]);
}

#[test]
fn what_is_committed_was_processed() {
    let check = |lines: &str, expected: &[&str]| check_records(Commits::After, lines, expected);
    let committed = "began 1, assign 1 4, commit 7 1 4 2, done 7 4, fetched 2:7";
    check(&format!("process 1 0 1, {committed}"), &[]);
    check(&format!("process 1 0, process 2 1, {committed}"), &[]);
    check(&format!("process 1 0, {committed}"), &["unprocessed"]);
    check(&format!("process 1 0 1 1 0, {committed}"), &[]);
    // Somebody decided to leave them out.
    check("set 7 2, done 7, fetched 2:7", &[]);
    check("set 7 1, done 7, set 8 2, done 8, fetched 2:8", &[]);
    check(&format!("set 6 2, refused 6, process 1 0, {committed}"), &["unprocessed"]);
    check(&format!("set 6 2, unknown 6, process 1 0, {committed}"), &[]);
    let automatic = |lines: &str, expected: &[&str]| check_records(Commits::Auto, lines, expected);
    automatic(&format!("process 1 0 1, {committed}"), &[]);
    automatic(&format!("process 1 0, {committed}"), &["unprocessed"]);
    automatic(&format!("process 1 0 1, {committed}, fetched none"), &["commit-lost"]);
    automatic("process 1 0 1, fetched 2:7", &["commit-altered"]);
}

#[test]
fn what_was_committed_before_is_processed_once() {
    let check = |lines: &str, expected: &[&str]| check_records(Commits::Before, lines, expected);
    check("process 1 0 1, process 2 2", &[]);
    check("process 1 0 1, process 2 1 2", &["processed-twice"]);
    check("process 1 0 1, process 1 1", &["processed-twice"]);
    check("process 1 1", &[]);
    check("process 1 0 1, set 7 1, done 7, process 2 1 2", &[]);
    check("process 1 0 1, set 7 1, refused 7, process 2 1 2", &["processed-twice"]);
    check("process 1 0 1, set 7 2, done 7, process 2 1 2", &["processed-twice"]);
    check("process 1 0 1, drop 7, done 7, process 2 1 2", &[]);
}

#[test]
fn nothing_is_committed_beyond_the_end() {
    let check = |lines: &str, expected: &[&str]| check_records(Commits::Before, lines, expected);
    let commit = "began 1, assign 1 4,";
    check(&format!("{commit} commit 7 1 4 3, done 7 4, fetched 3:7"), &[]);
    check(&format!("{commit} commit 7 1 4 4, done 7 4, fetched 4:7"), &["commit-beyond-end"]);
}

#[test]
fn a_group_has_no_more_members_than_room() {
    let room = GroupRules { members_max: Some(3), ..GroupRules::default() };
    check_with(room.clone(), "counted 2, counted 3, stored 0 0", &[]);
    check_with(room, "counted 3, counted 4, counted 5, stored 0 0", &["overfull"]);
    check("counted 5", &[]);
}
