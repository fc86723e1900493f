-- The names begin with overseer_, so that the file may belong to another program, too.
CREATE TABLE overseer_runs (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL, -- when it was first heard of; all instants are microseconds since the epoch
    task_id TEXT NOT NULL,
    run INTEGER NOT NULL,
    action TEXT NOT NULL,
    params TEXT, -- JSON
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    pid INTEGER,
    queued_at INTEGER,
    started_at INTEGER,
    exited_at INTEGER,
    exit_code INTEGER,
    signal TEXT,
    intentional INTEGER NOT NULL,
    output_lines INTEGER NOT NULL,
    output_bytes INTEGER NOT NULL,
    error_message TEXT
);
CREATE INDEX overseer_runs_by_time ON overseer_runs (at);
CREATE INDEX overseer_runs_by_task ON overseer_runs (task_id, at);
CREATE INDEX overseer_runs_by_action ON overseer_runs (action, at);
CREATE INDEX overseer_runs_running ON overseer_runs (id) WHERE state = 'running';
CREATE TABLE overseer_events (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    type TEXT NOT NULL,
    run INTEGER, -- overseer_runs.id, where the event belongs to a run
    task_id TEXT, -- where it does not
    detail TEXT -- JSON: the rest of the message
);
