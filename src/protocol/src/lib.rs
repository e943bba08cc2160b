//! Kafka's wire protocol: frames, generated messages, record batches, compression.
