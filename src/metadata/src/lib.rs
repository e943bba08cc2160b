//! Cluster metadata: records, the immutable image, the controller's decisions.
