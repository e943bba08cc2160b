//! What ConsumerGroupDescribe shows.

use std::fmt::Write as _;

use expect_test::expect;
use protocol::messages::consumer_group_describe_response::{Assignment, DescribedGroup};
use protocol::{ErrorCode, LastRebalance, StrBytes};

use super::classic::{join_request, try_join};
use super::world::World;
use crate::{Request, Response};

fn describe(world: &mut World, group: &str) -> String {
    let answers = world.call(Request::DescribeConsumerGroup(StrBytes::from(group)));
    match &answers[0].response {
        Response::DescribeConsumerGroup(group) => told(group),
        other => panic!("{other:?}"),
    }
}

fn told(group: &DescribedGroup) -> String {
    let error = ErrorCode::from_code(group.error_code);
    if error.is_error() {
        return format!("{}: {}\n", error.name(), group.error_message.as_deref().unwrap());
    }
    let mut told = format!(
        "{} {} {}/{} {} because {}\n",
        group.group_id,
        group.group_state,
        group.group_epoch,
        group.assignment_epoch,
        group.assignor_name,
        LastRebalance::from_tagged(&group.unknown_tagged_fields).unwrap().reason,
    );
    let places = |assignment: &Assignment| {
        let topics = assignment.topic_partitions.iter();
        let topics = topics.map(|topic| format!("{}{:?}", topic.topic_name, topic.partitions));
        topics.collect::<Vec<_>>().join(" ")
    };
    for member in &group.members {
        writeln!(
            told,
            "{} {:?} {:?} type {} in {} from {}{} reads {:?} {:?}: has [{}] shall [{}]",
            member.member_id,
            member.instance_id,
            member.rack_id,
            member.member_type,
            member.member_epoch,
            member.client_id,
            member.client_host,
            member.subscribed_topic_names,
            member.subscribed_topic_regex,
            places(&member.assignment),
            places(&member.target_assignment),
        )
        .unwrap();
    }
    told
}

#[test]
fn a_group_is_shown_with_what_its_members_have_and_shall_have() {
    let mut world = World::new();
    world.run("topic t 2; topic u 1; a joins t; b:i joins /u|t/; a holds");
    assert_eq!(try_join(&mut world, join_request("k", None, &[])).error_code, 0);
    expect![[r#"
        g Reconciling 4/4 uniform because member k joined
        a None None type 1 in 3 from client/127.0.0.1 reads ["t"] Some(""): has [t[0, 1]] shall [t[0]]
        b Some("i") None type 1 in 3 from client/127.0.0.1 reads [] Some("u|t"): has [u[0]] shall [u[0]]
        k None None type 0 in 4 from classic/127.0.0.1 reads ["t"] Some(""): has [] shall [t[1]]
    "#]]
    .assert_eq(&describe(&mut world, "g"));
    // What is gone has no name.
    world.run("drop u");
    expect![[r#"
        g Assigning 5/4 uniform because topic u is gone
        a None None type 1 in 3 from client/127.0.0.1 reads ["t"] Some(""): has [t[0, 1]] shall [t[0]]
        b Some("i") None type 1 in 3 from client/127.0.0.1 reads [] Some("u|t"): has [] shall []
        k None None type 0 in 4 from classic/127.0.0.1 reads ["t"] Some(""): has [] shall [t[1]]
    "#]]
    .assert_eq(&describe(&mut world, "g"));
}

#[test]
fn what_is_no_consumer_group_is_not_shown() {
    let mut world = World::new();
    let mut all = describe(&mut world, "g");
    world.version = 3;
    world.call(Request::JoinGroup(join_request("", None, &[])));
    all += &describe(&mut world, "g");
    expect![[r#"
        GROUP_ID_NOT_FOUND: Group g not found.
        GROUP_ID_NOT_FOUND: Group g is not a consumer group.
    "#]]
    .assert_eq(&all);
}
