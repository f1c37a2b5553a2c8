-- The tables of the service, made by their owner when a rig is provisioned. Idempotent.
-- The login role of the service is a member of crucible_app (NOLOGIN, made before this file runs). It owns nothing and
-- has only the rights granted at the end.

-- A hot counter leaves one dead row version per increment. Half-empty pages keep its updates HOT (no index entry,
-- pruned by later accesses). Autovacuum is triggered by row count alone: a fraction of a small table is never reached
-- or always exceeded.
CREATE TABLE IF NOT EXISTS counters (
    key varchar(255) PRIMARY KEY,
    value bigint NOT NULL DEFAULT 0,
    last_modified timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

CREATE TABLE IF NOT EXISTS data (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content text NOT NULL,
    container_id varchar(50),
    created_at timestamptz NOT NULL DEFAULT now()
);
-- Checked row by row: a bulk insert whose last text is too long fails after the other rows were inserted.
ALTER TABLE data DROP CONSTRAINT IF EXISTS data_content_check,
    ADD CONSTRAINT data_content_check CHECK (char_length(content) <= 65536);
CREATE INDEX IF NOT EXISTS idx_data_created_at ON data (created_at);

-- One row per Idempotency-Key, written in the transaction of its increment: the row exists if and only if the
-- increment was applied. `value` is the response to a replay.
CREATE TABLE IF NOT EXISTS ledger (
    id text PRIMARY KEY,
    key text NOT NULL,
    value bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The answer to a replay of POST /api/txn; null for an increment.
ALTER TABLE ledger ADD COLUMN IF NOT EXISTS answer text;

-- The lists of POST /api/txn. They grow, so pages keep room for updates without a new index entry: those would be
-- conflicts of SERIALIZABLE transactions that read a list next to it in the index.
CREATE TABLE IF NOT EXISTS lists (
    key varchar(255) PRIMARY KEY,
    elements bigint[] NOT NULL
) WITH (fillfactor = 10);

GRANT SELECT, INSERT, UPDATE ON counters TO crucible_app;
GRANT SELECT, INSERT ON data TO crucible_app;
GRANT SELECT, INSERT ON ledger TO crucible_app;
GRANT SELECT, INSERT, UPDATE ON lists TO crucible_app;
