//! HTTP endpoints: metrics, liveness, readiness.
