//! The runtime traits on tokio and the operating system.
