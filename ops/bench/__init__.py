"""The benchmarks: Crossfade beside its peers, in the same run, in alternating slices, over loopback only."""
