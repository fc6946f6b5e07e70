"""The benchmarks: Crossfade beside its peers, in the same run, by alternating slices.

It must not be imported by the service; it drives everything from outside, over loopback only.
"""
