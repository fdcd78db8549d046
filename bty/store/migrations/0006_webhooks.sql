-- How far each webhook is: the events above `cursor` are those that it still has to be told of, so the audit log is the queue.
CREATE TABLE webhooks (
    hook      TEXT NOT NULL PRIMARY KEY,             -- a digest of its address, which may be a secret
    cursor    INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What nobody took. `again`: an operator wants it sent once more.
CREATE TABLE webhook_dead_letters (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    hook     TEXT NOT NULL REFERENCES webhooks (hook) ON DELETE CASCADE,
    event_id INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    at       TEXT NOT NULL,
    reason   TEXT NOT NULL,
    again    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX webhook_dead_letters_by_hook ON webhook_dead_letters (hook, again, id);
