"""The history on disk: every run and every lifecycle event, in SQLite."""
