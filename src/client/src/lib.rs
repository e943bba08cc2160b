//! Kafka client over the runtime traits: producer, consumer, admin.
