-- Version 1 of the database (PRAGMA user_version). Times are seconds since the epoch, sizes bytes.
-- All rules are in convertd/model/job.py; the CHECKs hold what a row alone can hold.

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

CREATE INDEX jobs_queue ON jobs (run_after, id) WHERE state = 'queued';
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_deadlines ON jobs (deadline) WHERE finished_at IS NULL;
CREATE INDEX jobs_expiry ON jobs (next_expiry) WHERE next_expiry IS NOT NULL;
CREATE INDEX jobs_removal ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_pages ON jobs (account, created_at DESC, id DESC);
CREATE INDEX jobs_pages_by_state ON jobs (account, state, created_at DESC, id DESC);
CREATE INDEX idempotency_jobs ON idempotency_keys (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX idempotency_until ON idempotency_keys (until);
