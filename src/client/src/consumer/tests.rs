//! Tests of the consumer against brokers that misbehave.
