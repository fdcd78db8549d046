-- When the newest flash ended well. Unlike last_flashed_at, which says that the present mode, image and disk are done, it stays.
ALTER TABLE machines ADD COLUMN flashed_at TEXT;
UPDATE machines SET flashed_at = coalesce(
    last_flashed_at,
    CASE WHEN NOT json_valid(last_flash) THEN NULL
         WHEN json_extract(last_flash, '$.error') IS NULL THEN json_extract(last_flash, '$.at') END,
    (SELECT max(ts) FROM events WHERE subject_kind = 'machine' AND subject_id = mac AND kind = 'machine.flashed')
);
DROP INDEX machines_by_flashed;
CREATE INDEX machines_by_flashed ON machines (flashed_at, mac);
