//! Static members, expressions, and what an admin sees and does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use client::admin::{GroupFilter, GroupType, MemberToRemove};
use client::group::{Assignor, CommittedOffset, MemberState, Offsets};
use client::{
    Admin, Client, ClientError, GroupConfig, GroupConsumer, GroupProtocol, Polled, ProducerConfig,
    Subscription, TopicPartition,
};
use model::{LeaderEpoch, Offset};
use protocol::{ErrorCode, StrBytes};
use tests::suite::{Case, Lab};

use super::{Flavour, Group, PROTOCOLS, config, on_client};
use crate::{create, produce};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for flavour in PROTOCOLS.into_iter().filter(|f| f.assignor == Assignor::Range) {
        let name = |case: &str| format!("client::group::{}::{case}", flavour.name);
        cases.push(Case::new(name("a_static_member_comes_back"), move |lab| {
            on_client(lab, async |lab, c| static_member(lab, c, flavour).await)
        }));
        cases.push(Case::new(name("a_second_static_member_fences"), move |lab| {
            on_client(lab, async |lab, c| fenced(lab, c, flavour).await)
        }));
        cases.push(Case::new(name("described"), move |lab| {
            on_client(lab, async |lab, c| described(lab, c, flavour).await)
        }));
        cases.push(Case::new(name("members_are_removed"), move |lab| {
            on_client(lab, async |lab, c| members(lab, c, flavour).await)
        }));
        cases.push(Case::new(name("topics_that_match"), move |lab| {
            on_client(lab, async |lab, c| matching(lab, c, flavour).await)
        }));
    }
    cases.push(Case::new("client::group::admin::offsets", |lab| on_client(lab, offsets)));
    cases
}

fn fixed(flavour: Flavour, group: &str, instance: &str) -> GroupConfig {
    GroupConfig { instance_id: Some(instance.into()), ..config(flavour, group) }
}

/// A static member that is away for a moment comes back to what it had; the other notices nothing.
async fn static_member(lab: &Lab, client: Client, flavour: Flavour) -> Result<()> {
    let name = lab.topic(&format!("static-{}", flavour.name));
    let topic = StrBytes::from(name.as_str());
    create(&client, &topic, 4).await?;
    let mut group = Group::new(&client, &topic);
    let settings = |instance| GroupConfig {
        // Long enough to be away for.
        session_timeout: Duration::from_secs(30),
        ..fixed(flavour, &name, instance)
    };
    group.join("a", settings("a")).await?;
    group.join("b", settings("b")).await?;
    group.until("two share", |g| g.is_shared(4)).await?;
    let before = group.reader("a").log.len();
    let away = group.take("b");
    let had = away.has.clone();
    away.consumer.close(Duration::from_secs(10)).await?;
    group.join("b", settings("b")).await?;
    group.until("it is back", |g| g.is_shared(4)).await?;
    ensure!(group.reader("b").has == had, "{}", group.story());
    ensure!(group.reader("a").log.len() == before, "{}", group.story());
    // It never left for good; an admin can make it.
    let admin = Admin::new(&client);
    let Some(mut described) = admin.describe_groups([topic.clone()]).await.remove(&topic) else {
        bail!("no answer")
    };
    let instances: BTreeSet<Option<StrBytes>> = described
        .as_mut()
        .map_err(|e| e.clone())?
        .members
        .iter()
        .map(|m| m.instance_id.clone())
        .collect();
    ensure!(instances == [Some("a".into()), Some("b".into())].into(), "{described:?}");
    Ok(())
}

/// In a classic group the newcomer takes the place; in a consumer group it is turned away.
async fn fenced(lab: &Lab, client: Client, flavour: Flavour) -> Result<()> {
    let name = lab.topic(&format!("fenced-{}", flavour.name));
    let topic = StrBytes::from(name.as_str());
    create(&client, &topic, 2).await?;
    let mut group = Group::new(&client, &topic);
    group.join("old", fixed(flavour, &name, "i")).await?;
    group.until("it has all", |g| g.is_shared(2)).await?;
    let mut old = group.take("old");
    group.join("new", fixed(flavour, &name, "i")).await?;
    let mut new = group.take("new");
    let refused = match flavour.protocol {
        GroupProtocol::Classic => {
            refusal(&client, &mut old.consumer, Some(&mut new.consumer)).await?
        }
        GroupProtocol::Consumer => {
            refusal(&client, &mut new.consumer, Some(&mut old.consumer)).await?
        }
    };
    ensure!(matches!(refused, client::group::GroupError::Fenced(_)), "{refused:?}");
    Ok(())
}

/// Polls, both, until the first one is refused.
async fn refusal(
    client: &Client,
    loser: &mut GroupConsumer,
    mut other: Option<&mut GroupConsumer>,
) -> Result<client::group::GroupError> {
    let deadline = client.runtime().clock.now() + super::LIMIT;
    loop {
        if let Err(error) = loser.poll(Duration::from_millis(50)).await {
            ensure!(loser.membership().state == MemberState::Failed, "{loser:?}");
            return Ok(error);
        }
        if let Some(other) = &mut other {
            other.poll(Duration::from_millis(50)).await?;
        }
        ensure!(client.runtime().clock.now() < deadline, "{loser:?} is not refused");
    }
}

async fn described(lab: &Lab, client: Client, flavour: Flavour) -> Result<()> {
    let name = lab.topic(&format!("described-{}", flavour.name));
    let topic = StrBytes::from(name.as_str());
    create(&client, &topic, 2).await?;
    produce(&client, ProducerConfig::default(), &topic, 50).await?;
    let mut group = Group::new(&client, &topic);
    group.join("a", config(flavour, &name)).await?;
    group.until("it reads all", |g| g.is_shared(2) && g.read(50)).await?;
    let admin = Admin::new(&client);
    let listed = admin.list_groups(&GroupFilter::default()).await?;
    let listing = listed.groups.get(&topic).context("the group is listed")?;
    ensure!(listing.state == *"Stable" && listed.unheard.is_empty(), "{listed:?}");
    let empty = GroupFilter { states: ["Empty".to_owned()].into(), ..GroupFilter::default() };
    ensure!(!admin.list_groups(&empty).await?.groups.contains_key(&topic), "it is not empty");
    let (own, other) = match flavour.protocol {
        GroupProtocol::Classic => ("classic", "consumer"),
        GroupProtocol::Consumer => ("consumer", "classic"),
    };
    for (kind, expected) in [(own, true), (other, false)] {
        let filter = GroupFilter { types: [kind.to_owned()].into(), ..GroupFilter::default() };
        let listed = admin.list_groups(&filter).await?;
        ensure!(listed.groups.contains_key(&topic) == expected, "{kind}: {listed:?}");
    }
    let described = admin.describe_groups([topic.clone(), "no-such-group".into()]).await;
    let unknown = described["no-such-group"].as_ref().err().and_then(ClientError::code);
    ensure!(unknown == Some(ErrorCode::GroupIdNotFound), "{unknown:?}");
    let described = described[&topic].as_ref().map_err(Clone::clone)?;
    let membership = group.reader("a").consumer.membership();
    ensure!(described.members.len() == 1, "{described:?}");
    let member = &described.members[0];
    ensure!(member.member_id == membership.member_id, "{described:?} {membership:?}");
    ensure!(member.assignment == group.reader("a").has, "{described:?}");
    let kind = match flavour.protocol {
        GroupProtocol::Classic => GroupType::Classic,
        GroupProtocol::Consumer => GroupType::Consumer,
    };
    ensure!(described.group_type == kind && described.coordinator.port > 0, "{described:?}");
    let epoch = described.epochs.map(|(epoch, _)| epoch);
    ensure!(epoch.is_none_or(|epoch| epoch == membership.epoch.0), "{described:?}");
    // Its partitions are being read: neither it nor its offsets can go.
    let deleted = admin.delete_groups([topic.clone()]).await;
    let code = deleted[&topic].as_ref().err().and_then(ClientError::code);
    ensure!(code == Some(ErrorCode::NonEmptyGroup), "{code:?}");
    let partitions = group.reader("a").has.clone();
    let deleted = admin.delete_group_offsets(&topic, &partitions).await?;
    let codes: Vec<_> =
        deleted.values().map(|r| r.as_ref().err().and_then(ClientError::code)).collect();
    ensure!(codes == [Some(ErrorCode::GroupSubscribedToTopic); 2], "{codes:?}");
    group.take("a").consumer.close(Duration::from_secs(10)).await?;
    let offsets = admin.list_group_offsets(&topic, None, true).await?;
    ensure!(offsets.values().map(|o| o.offset.0).sum::<i64>() == 50, "{offsets:?}");
    admin.delete_groups([topic.clone()]).await.remove(&topic).context("an answer")??;
    let gone = admin.delete_groups([topic.clone()]).await;
    let code = gone[&topic].as_ref().err().and_then(ClientError::code);
    ensure!(code == Some(ErrorCode::GroupIdNotFound), "{code:?}");
    Ok(())
}

/// Topics by expression; one that is made later is read too.
async fn matching(lab: &Lab, client: Client, flavour: Flavour) -> Result<()> {
    let name = lab.topic(&format!("matching-{}", flavour.name));
    let topic = |number: i32| StrBytes::from(format!("{name}-{number}"));
    create(&client, &topic(1), 1).await?;
    let settings = client::ClientConfig {
        metadata_max_age: Duration::from_secs(1),
        ..client.config().clone()
    };
    let client = Client::connect(client.runtime(), settings).await?;
    let mut consumer = GroupConsumer::new(&client, config(flavour, &name));
    let regex = Subscription::Regex(format!("{name}-.*").into());
    let subscription = match flavour.protocol {
        GroupProtocol::Classic => {
            ensure!(consumer.subscribe(regex).await.is_err(), "a classic group has no expressions");
            let prefix = format!("{name}-");
            Subscription::matching(move |topic| topic.starts_with(&prefix))
        }
        GroupProtocol::Consumer => regex,
    };
    consumer.subscribe(subscription).await?;
    let deadline = client.runtime().clock.now() + super::LIMIT;
    let mut has = BTreeSet::new();
    let mut made = false;
    while has.len() < 2 {
        match consumer.poll(Duration::from_millis(100)).await? {
            Polled::Assigned(change) => has.extend(change.partitions),
            Polled::Revoked(change) => has.retain(|at| !change.partitions.contains(at)),
            _ => {}
        }
        if has.len() == 1 && !made {
            create(&client, &topic(2), 1).await?;
            made = true;
        }
        ensure!(client.runtime().clock.now() < deadline, "{has:?} {consumer:?}");
    }
    consumer.close(Duration::from_secs(10)).await?;
    Ok(())
}

/// Offsets of a group that has no members: set, read, deleted.
async fn offsets(lab: &Lab, client: Client) -> Result<()> {
    let name = lab.topic("group-offsets");
    let topic = StrBytes::from(name.as_str());
    create(&client, &topic, 3).await?;
    let admin = Admin::new(&client);
    let at = |partition| TopicPartition::new(topic.clone(), partition);
    let noted = CommittedOffset {
        offset: Offset(7),
        leader_epoch: Some(LeaderEpoch(0)),
        metadata: "noted \u{1F4DD}".into(),
    };
    let offsets = Offsets::from([(at(0), noted.clone()), (at(1), Offset(9).into())]);
    for (at, result) in admin.alter_group_offsets(&topic, &offsets).await? {
        result.with_context(|| at.to_string())?;
    }
    ensure!(admin.list_group_offsets(&topic, None, true).await? == offsets, "all offsets");
    let two = BTreeSet::from([at(1), at(2)]);
    let some = admin.list_group_offsets(&topic, Some(&two), false).await?;
    ensure!(some == BTreeMap::from([(at(1), Offset(9).into())]), "{some:?}");
    let deleted = admin.delete_group_offsets(&topic, &BTreeSet::from([at(0)])).await?;
    ensure!(deleted.len() == 1 && deleted.values().all(Result::is_ok), "{deleted:?}");
    let left = admin.list_group_offsets(&topic, None, false).await?;
    ensure!(left == BTreeMap::from([(at(1), Offset(9).into())]), "{left:?}");
    // A group that nobody knows has committed nothing; that is no error.
    ensure!(admin.list_group_offsets(&"no-such-group".into(), None, false).await?.is_empty(), "?");
    let large = CommittedOffset { metadata: "x".repeat(5_000).into(), ..noted };
    let refused = admin.alter_group_offsets(&topic, &Offsets::from([(at(0), large)])).await?;
    let code = refused[&at(0)].as_ref().err().and_then(ClientError::code);
    ensure!(code == Some(ErrorCode::OffsetMetadataTooLarge), "{code:?}");
    Ok(())
}

/// A member that an admin removes loses its partitions and comes back.
async fn members(lab: &Lab, client: Client, flavour: Flavour) -> Result<()> {
    let name = lab.topic(&format!("group-members-{}", flavour.name));
    let topic = StrBytes::from(name.as_str());
    create(&client, &topic, 2).await?;
    let mut group = Group::new(&client, &topic);
    group.join("a", config(flavour, &name)).await?;
    group.join("i", fixed(flavour, &name, "i")).await?;
    group.until("two share", |g| g.is_shared(2)).await?;
    let admin = Admin::new(&client);
    let id = group.reader("a").consumer.membership().member_id;
    let removed = [
        MemberToRemove::Member(id),
        MemberToRemove::Instance("i".into()),
        MemberToRemove::Member("nobody".into()),
    ];
    let removed = admin.remove_members(&topic, &removed.into()).await?;
    let failed: Vec<_> = removed.iter().filter(|(_, result)| result.is_err()).collect();
    let nobody = MemberToRemove::Member("nobody".into());
    ensure!(failed.len() == 1 && *failed[0].0 == nobody, "{removed:?}");
    let lost = |g: &Group, name: &str| g.reader(name).lost > 0;
    group.until("both lost all", |g| lost(g, "a") && lost(g, "i")).await?;
    group.until("two share again", |g| g.is_shared(2)).await
}
