-- A page of a million events costs what the page costs, by whatever it is filtered.
CREATE INDEX events_by_actor ON events (actor, id);
CREATE INDEX events_by_source ON events (source_ip, id);
-- The words of these conditions are those of store/events.py: SQLite compares them.
CREATE INDEX events_failed ON events (id) WHERE kind LIKE '%failed';
CREATE INDEX events_open ON events (id) WHERE acknowledged = 0 AND (kind LIKE '%failed' OR kind = 'system.schema.reset');
