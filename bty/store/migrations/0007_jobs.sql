-- Long work, so that what ran when the daemon ended is told after its start. Progress is not kept.
CREATE TABLE jobs (
    id          TEXT NOT NULL PRIMARY KEY,
    kind        TEXT NOT NULL,
    key         TEXT NOT NULL,
    status      TEXT NOT NULL,
    bytes_done  INTEGER NOT NULL,
    bytes_total INTEGER,
    created_at  TEXT NOT NULL,
    started_at  TEXT,
    finished_at TEXT,
    error       TEXT,
    details     TEXT NOT NULL                       -- JSON object
) STRICT;
