//! Crashes at random points.
