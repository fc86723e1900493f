"""overseer: start child processes for WebSocket clients and stream what they print."""

from overseer._version import __version__

__all__ = ["__version__"]
