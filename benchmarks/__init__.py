"""As fast as the wire: ours beside the limit and the peers, in the same run (`make bench`; results in docs/performance.md)."""
