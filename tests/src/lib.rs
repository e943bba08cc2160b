//! Tests of the real binary with foreign clients and real crashes.
