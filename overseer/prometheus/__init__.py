"""`GET /metrics` for Prometheus: which numbers there are, and how they are written down."""
