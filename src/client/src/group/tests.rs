//! A member of a group against a scripted coordinator.
