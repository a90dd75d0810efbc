-- From version 1 to 2: callbacks, what is owed to them, and usage, with the jobs that are there counted.

ALTER TABLE jobs ADD COLUMN callback TEXT;
ALTER TABLE jobs ADD COLUMN state_since REAL;

CREATE INDEX jobs_pages_by_dialect ON jobs (account, dialect, created_at DESC, id DESC, state);

-- Keys are kept for each dialect from now on; there was one.
UPDATE OR REPLACE idempotency_keys SET key = 'native:' || key;

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

CREATE INDEX deliveries_due ON deliveries (next_at, id, account, host, endpoint) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_jobs ON deliveries (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX deliveries_pages ON deliveries (account, created_at DESC, id DESC, dialect);
CREATE INDEX deliveries_removal ON deliveries (finished_at) WHERE finished_at IS NOT NULL;

INSERT INTO usage (account, dialect, month, jobs, succeeded, input_bytes, output_bytes, saved_bytes)
SELECT
    account,
    dialect,
    strftime('%Y-%m', finished_at, 'unixepoch'),
    count(*),
    sum(state = 'succeeded'),
    sum(iif(state = 'succeeded',
        (SELECT coalesce(sum(bytes), 0) FROM artifacts WHERE job_id = jobs.id AND kind = 'input'), 0)),
    sum(iif(state = 'succeeded',
        (SELECT coalesce(sum(bytes), 0) FROM artifacts WHERE job_id = jobs.id AND kind = 'output'), 0)),
    sum(iif(state = 'succeeded', (
        SELECT coalesce(sum(max(0,
            (SELECT sum(bytes) FROM artifacts, json_each(tasks.inputs)
             WHERE job_id = tasks.job_id AND kind = 'input' AND position = value)
            - (SELECT coalesce(sum(bytes), 0) FROM artifacts
               WHERE job_id = tasks.job_id AND kind = 'output' AND task = tasks.position)
        )), 0)
        FROM tasks WHERE tasks.job_id = jobs.id AND tasks.state = 'succeeded'
    ), 0))
FROM jobs WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3;
