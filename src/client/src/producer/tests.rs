//! Tests of the producer against brokers that misbehave.
