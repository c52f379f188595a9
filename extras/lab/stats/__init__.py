"""Statistics of the lab: pure functions on frames and arrays. Paired by seed, clustered by prompt."""
