//! The broker: listeners, APIs, partitions, configuration, metrics.
