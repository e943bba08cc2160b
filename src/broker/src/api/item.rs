//! Requests of many items, each answered by itself.

use metadata::controller::ControllerError;
use protocol::{ErrorCode, StrBytes};

use crate::controller::{Answer, ControllerUnavailable};
use crate::shared::Shared;

/// Why an item was refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    error: ErrorCode,
    text: String,
}

impl Refusal {
    /// The two fields that a response has for an outcome.
    pub(crate) fn split<T>(outcome: Result<T, Refusal>) -> (ErrorCode, Option<StrBytes>) {
        match outcome {
            Ok(_) => (ErrorCode::None, None),
            Err(refusal) => (refusal.error, Some(StrBytes::from(refusal.text))),
        }
    }
}

impl From<ControllerError> for Refusal {
    fn from(error: ControllerError) -> Refusal {
        Refusal { error: error.code(), text: error.to_string() }
    }
}

impl From<ControllerUnavailable> for Refusal {
    fn from(error: ControllerUnavailable) -> Refusal {
        Refusal { error: error.code(), text: error.to_string() }
    }
}

/// Lets the controller decide on the items that could be read, waits until this broker has applied
/// the outcome, and gives one outcome per item, in the order of the request.
pub(crate) async fn decide_valid<Item, T, Deciding>(
    shared: &Shared,
    items: impl Iterator<Item = Result<Item, ControllerError>>,
    decide: impl FnOnce(Vec<Item>) -> Deciding,
) -> Vec<Result<T, Refusal>>
where
    Deciding: Future<Output = Answer<Vec<Result<T, ControllerError>>>>,
{
    let mut valid = Vec::new();
    let read: Vec<Result<(), ControllerError>> =
        items.map(|item| item.map(|item| valid.push(item))).collect();
    let mut decided = match decide(valid).await {
        Ok(committed) => {
            shared.wait_applied(committed.offset).await;
            Ok(committed.outcome.into_iter())
        }
        Err(error) => Err(Refusal::from(error)),
    };
    let outcome = |read: Result<(), ControllerError>| {
        read?;
        match &mut decided {
            Ok(outcomes) => {
                let outcome = outcomes.next().expect("the controller answers every item");
                outcome.map_err(Refusal::from)
            }
            Err(refusal) => Err(refusal.clone()),
        }
    };
    read.into_iter().map(outcome).collect()
}
