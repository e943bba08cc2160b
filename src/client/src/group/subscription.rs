//! What a member wants to read.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use protocol::StrBytes;

/// The topics of a member.
#[derive(Clone, Debug)]
pub enum Subscription {
    /// These.
    Topics(BTreeSet<StrBytes>),
    /// Those that match, as this client sees the cluster's topics; looked at again with every
    /// refresh of the metadata. Topics that brokers use for themselves are left out.
    Matching(TopicFilter),
    /// Those that match an RE2 expression at the coordinator (KIP-848); consumer protocol only.
    Regex(StrBytes),
}

impl Subscription {
    /// The topics of these names.
    pub fn topics<T: Into<StrBytes>>(names: impl IntoIterator<Item = T>) -> Subscription {
        Subscription::Topics(names.into_iter().map(Into::into).collect())
    }

    /// The topics that `matches` accepts.
    pub fn matching(matches: impl Fn(&str) -> bool + Send + Sync + 'static) -> Subscription {
        Subscription::Matching(TopicFilter(Arc::new(matches)))
    }
}

/// Says of a topic's name whether it is wanted.
#[derive(Clone)]
pub struct TopicFilter(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl TopicFilter {
    pub(crate) fn matches(&self, topic: &str) -> bool {
        (self.0)(topic)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TopicFilter").finish_non_exhaustive()
    }
}
