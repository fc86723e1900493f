-- Tasks that the next overseer starts again, and where it goes on numbering.
CREATE TABLE overseer_tasks (
    task_id TEXT PRIMARY KEY,
    epoch TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    at INTEGER NOT NULL, -- when it was started
    action TEXT NOT NULL,
    params TEXT NOT NULL, -- JSON: what the start gave, as policy
    policy TEXT,
    last_seq INTEGER NOT NULL -- no line has a number above
) WITHOUT ROWID;
