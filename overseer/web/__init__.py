"""HTTP: the root resource with its access rules, and the pages beside the WebSocket."""
