-- Times are ISO 8601 text in UTC. A machine's image ref may dangle: a deleted image orphans its machines, visibly.
CREATE TABLE machines (
    mac                TEXT NOT NULL PRIMARY KEY,
    boot_mode          TEXT NOT NULL,
    bty_image_ref      TEXT,
    target_disk_serial TEXT,
    sanboot_drive      TEXT,
    discovered_at      TEXT,
    last_seen_at       TEXT,
    last_seen_ip       TEXT,
    last_flashed_at    TEXT,
    known_disks_at     TEXT,
    cycle              TEXT,                        -- token of the open cycle
    cycle_state        TEXT,                        -- offered | armed | completed
    cycle_attempts     INTEGER NOT NULL DEFAULT 0,  -- attempts of this cycle that failed
    cycle_flashing     INTEGER NOT NULL DEFAULT 0,  -- a flash plan went out and nothing came back yet
    last_flash         TEXT,                        -- JSON: the newest receipt
    flash_error        TEXT,                        -- why the newest flash failed; NULL after a success
    created_at         TEXT NOT NULL,
    updated_at         TEXT NOT NULL
) STRICT;

CREATE TABLE machine_labels (
    mac   TEXT NOT NULL REFERENCES machines (mac) ON DELETE CASCADE,
    label TEXT NOT NULL,
    PRIMARY KEY (mac, label)
) STRICT;
CREATE INDEX machine_labels_by_label ON machine_labels (label);

-- Large and rarely read, so not part of the machine's row.
CREATE TABLE machine_hardware (
    mac     TEXT NOT NULL PRIMARY KEY REFERENCES machines (mac) ON DELETE CASCADE,
    disks   TEXT,                                   -- JSON array
    lshw    TEXT,                                   -- JSON
    lshw_at TEXT
) STRICT;

CREATE TABLE catalog_entries (
    bty_image_ref  TEXT NOT NULL PRIMARY KEY,
    src            TEXT NOT NULL UNIQUE,
    resolved_src   TEXT,
    disk_image_sha TEXT,
    name           TEXT NOT NULL,
    sha_url        TEXT,
    format         TEXT,
    size_bytes     INTEGER,
    description    TEXT,
    arch           TEXT,
    added_at       TEXT NOT NULL
) STRICT;

-- Images that an operator deleted and that a manifest on disk must not bring back.
CREATE TABLE catalog_tombstones (
    bty_image_ref TEXT NOT NULL PRIMARY KEY,
    deleted_at    TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    ts           TEXT NOT NULL,
    kind         TEXT NOT NULL,
    subject_kind TEXT,
    subject_id   TEXT,
    actor        TEXT,
    source_ip    TEXT,
    summary      TEXT NOT NULL,
    details      TEXT,                              -- JSON object
    acknowledged INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX events_by_ts ON events (ts);
CREATE INDEX events_by_kind ON events (kind, id);
CREATE INDEX events_by_subject ON events (subject_kind, subject_id, id);

CREATE TABLE settings (
    key        TEXT NOT NULL PRIMARY KEY,
    value      TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE TABLE sessions (
    token_sha256 TEXT NOT NULL PRIMARY KEY,
    generation   TEXT NOT NULL,                     -- of the password it was opened with
    created_at   TEXT NOT NULL,
    expires_at   TEXT NOT NULL
) STRICT;
