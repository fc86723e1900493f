"""Operating system processes: spawning, pipes, signals, reaping."""
