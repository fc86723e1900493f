"""What happens to a task over its life: the state machine and the supervisor."""
