"""Action drivers: how a configured action becomes a running worker."""
