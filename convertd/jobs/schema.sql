-- Version 2 of the database (PRAGMA user_version). Times are seconds since the epoch, sizes bytes.
-- All rules are in convertd/model/job.py and callback.py; the CHECKs hold what a row alone can hold.
-- A new version changes this file, and brings older databases to the same in an upgrade_N.sql.

CREATE TABLE jobs (
    id                TEXT PRIMARY KEY,
    account           TEXT NOT NULL,
    dialect           TEXT NOT NULL,
    operation         TEXT NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    version           INTEGER NOT NULL CHECK (version > 0),
    attempt           INTEGER NOT NULL CHECK (attempt >= 0),
    token             TEXT,
    lease_until       REAL,
    created_at        REAL NOT NULL,
    run_after         REAL NOT NULL,
    deadline          REAL NOT NULL,
    started_at        REAL,
    finished_at       REAL,
    inputs_expire_at  REAL,
    outputs_expire_at REAL,
    next_expiry       REAL,              -- derived: Job.next_expiry, for housekeeping
    metadata          TEXT NOT NULL,     -- JSON object of the client
    extras            TEXT NOT NULL,     -- JSON object of the dialect
    error             TEXT,              -- JSON {code, message}
    callback          TEXT,              -- JSON {url, secret, origin}
    state_since       REAL,              -- NULL for new jobs and those of version 1
    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'running') = (token IS NOT NULL)),
    CHECK ((token IS NULL) = (lease_until IS NULL)),
    CHECK ((state = 'failed') = (error IS NOT NULL))
) STRICT;

CREATE TABLE tasks (
    job_id    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    inputs    TEXT NOT NULL,             -- JSON list of input positions
    operation TEXT NOT NULL,
    source    TEXT NOT NULL,
    target    TEXT NOT NULL,
    options   TEXT NOT NULL,             -- JSON object
    engine    TEXT NOT NULL,
    fidelity  TEXT NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    progress  REAL NOT NULL CHECK (progress BETWEEN 0 AND 1),
    attempts  INTEGER NOT NULL CHECK (attempts >= 0),
    error     TEXT,                      -- JSON {code, message}: of the last attempt
    PRIMARY KEY (job_id, position),
    CHECK (state != 'failed' OR error IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    job_id   TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    kind     TEXT NOT NULL CHECK (kind IN ('input', 'output')),
    position INTEGER NOT NULL,
    key      TEXT NOT NULL UNIQUE,
    name     TEXT NOT NULL,
    format   TEXT NOT NULL,
    bytes    INTEGER NOT NULL CHECK (bytes >= 0),
    sha256   TEXT NOT NULL,
    task     INTEGER,
    facts    TEXT NOT NULL,              -- JSON object
    notes    TEXT NOT NULL,              -- JSON list of sentences
    gone     INTEGER NOT NULL CHECK (gone IN (0, 1)),
    PRIMARY KEY (job_id, kind, position),
    CHECK ((kind = 'output') = (task IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    account     TEXT NOT NULL,
    key         TEXT NOT NULL,
    job_id      TEXT,                    -- NULL while the first request is in flight
    fingerprint TEXT,
    until       REAL NOT NULL,
    PRIMARY KEY (account, key),
    CHECK ((job_id IS NULL) = (fingerprint IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    account    TEXT NOT NULL,
    prefix     TEXT NOT NULL,            -- the first characters, to tell keys apart in a list
    digest     TEXT NOT NULL UNIQUE,     -- SHA-256 of the whole key
    created_at REAL NOT NULL,
    revoked_at REAL
) STRICT;

CREATE TABLE deliveries (
    id          TEXT PRIMARY KEY,
    account     TEXT NOT NULL,
    dialect     TEXT NOT NULL,
    event       TEXT NOT NULL CHECK (event IN ('job.succeeded', 'job.failed', 'job.cancelled', 'test')),
    callback    TEXT NOT NULL,           -- JSON {url, secret, origin}
    host        TEXT NOT NULL,           -- derived: Delivery.host
    endpoint    TEXT NOT NULL,           -- derived: Delivery.endpoint
    job_id      TEXT,                    -- derived; no reference, for a delivery may outlive the job's row
    created_at  REAL NOT NULL,
    next_at     REAL,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    finished_at REAL,                    -- derived: Delivery.finished_at, for housekeeping
    tries       INTEGER NOT NULL CHECK (tries >= 0),
    attempts    TEXT NOT NULL,           -- JSON list of {at, seconds, status, error, body}
    job         TEXT NOT NULL,           -- JSON of the whole job as it ended; null for a test
    CHECK ((state = 'pending') = (next_at IS NOT NULL)),
    CHECK ((state = 'pending') = (finished_at IS NULL)),
    CHECK ((event = 'test') = (job_id IS NULL))
) STRICT;

CREATE TABLE signing_secrets (
    account        TEXT PRIMARY KEY,
    current        TEXT NOT NULL,
    previous       TEXT,
    previous_until REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE usage (
    account      TEXT NOT NULL,
    dialect      TEXT NOT NULL,
    month        TEXT NOT NULL,          -- YYYY-MM of the jobs' ends, UTC
    jobs         INTEGER NOT NULL,
    succeeded    INTEGER NOT NULL,
    input_bytes  INTEGER NOT NULL,
    output_bytes INTEGER NOT NULL,
    saved_bytes  INTEGER NOT NULL,
    PRIMARY KEY (account, dialect, month)
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_queue ON jobs (run_after, id) WHERE state = 'queued';
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_deadlines ON jobs (deadline) WHERE finished_at IS NULL;
CREATE INDEX jobs_expiry ON jobs (next_expiry) WHERE next_expiry IS NOT NULL;
CREATE INDEX jobs_removal ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_pages ON jobs (account, created_at DESC, id DESC);
CREATE INDEX jobs_pages_by_dialect ON jobs (account, dialect, created_at DESC, id DESC, state);
CREATE INDEX jobs_pages_by_state ON jobs (account, state, created_at DESC, id DESC);
CREATE INDEX idempotency_jobs ON idempotency_keys (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX idempotency_until ON idempotency_keys (until);
CREATE INDEX deliveries_due ON deliveries (next_at, id, account, host, endpoint) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_jobs ON deliveries (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX deliveries_pages ON deliveries (account, created_at DESC, id DESC, dialect);
CREATE INDEX deliveries_removal ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
