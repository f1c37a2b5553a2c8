-- The tables of the service, made by their owner when a rig is provisioned. Idempotent: run it again at will.
-- The role that the service logs in with is a member of crucible_app (NOLOGIN, made before this file is run);
-- it owns nothing and gets what is granted at the end, nothing else.

-- A hot counter leaves one dead row version an increment. Half-empty pages keep its updates HOT (no index
-- entry, pruned in passing), and vacuum comes by row count alone: a share of a small table is never reached
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
-- Looked at row by row as rows go in: a bulk insert with such a text last fails when the others are in already.
ALTER TABLE data DROP CONSTRAINT IF EXISTS data_content_check,
    ADD CONSTRAINT data_content_check CHECK (char_length(content) <= 65536);
CREATE INDEX IF NOT EXISTS idx_data_created_at ON data (created_at);

-- One row an Idempotency-Key: written in the transaction of its increment, so it is there if and only if the
-- increment is. `value` is the answer that a replay gets.
CREATE TABLE IF NOT EXISTS ledger (
    id text PRIMARY KEY,
    key text NOT NULL,
    value bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT, UPDATE ON counters TO crucible_app;
GRANT SELECT, INSERT ON data TO crucible_app;
GRANT SELECT, INSERT ON ledger TO crucible_app;
