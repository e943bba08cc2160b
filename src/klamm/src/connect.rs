//! From the command line to a connected client.

use client::{Client, ClientConfig, ClientError};
use protocol::StrBytes;
use runtime::Runtime;

use crate::cli::Global;
use crate::failure::Failure;
use crate::nearest::nearest;

/// Connects to the bootstrap servers.
pub(crate) async fn connect(runtime: &Runtime, global: &Global) -> Result<Client, Failure> {
    let config = ClientConfig {
        bootstrap_servers: global.bootstrap_servers.clone(),
        client_id: "klamm-cli".to_owned(),
        api_timeout: global.timeout,
        request_timeout: global.timeout,
        connect_timeout: global.timeout,
        ..ClientConfig::default()
    };
    let servers = global.bootstrap_servers.join(", ");
    Client::connect(runtime, config)
        .await
        .map_err(|error| Failure::client(format!("connect to {servers}"), &error))
}

/// The failure of something about a topic; when the topic is not there, with the name that may have
/// been meant.
pub(crate) async fn topic_failure(client: &Client, topic: &str, error: &ClientError) -> Failure {
    if !matches!(error, ClientError::UnknownTopic { .. }) {
        return Failure::client(format!("topic `{topic}`"), error);
    }
    let failure = Failure::new(format!("there is no topic `{topic}`"));
    let Ok(topics) = client::Admin::new(client).list_topics().await else { return failure };
    match nearest(topic, topics.keys().map(StrBytes::as_str)) {
        Some(name) => failure.hint(format!("did you mean `{name}`?")),
        None if topics.is_empty() => {
            failure.hint(format!("there are no topics yet; `klamm topic create {topic}` makes one"))
        }
        None => failure.hint(format!(
            "`klamm topic list` shows those there are; `klamm topic create {topic}` makes it"
        )),
    }
}
