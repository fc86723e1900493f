"""What a client may offer as WebSocket subprotocols: the version it speaks, and from a browser its token."""

SUBPROTOCOL = "overseer.v1"
"""What a client may offer, and a browser must next to its token."""
TOKEN_SUBPROTOCOL = "bearer."
"""A browser's way to send a token: no page can set a header of its WebSocket."""
