-- What was read, written and judged: the audit of runs, the catalogue of raw files, the dates that
-- are there, and the verdicts of the checks.

CREATE TABLE IF NOT EXISTS data_ingest_runs (
    id bigserial PRIMARY KEY
);

ALTER TABLE data_ingest_runs
    ADD COLUMN IF NOT EXISTS vendor text,
    ADD COLUMN IF NOT EXISTS dataset text,
    ADD COLUMN IF NOT EXISTS file_name text,
    ADD COLUMN IF NOT EXISTS file_sha256 text,
    ADD COLUMN IF NOT EXISTS started_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS finished_at timestamptz,
    ADD COLUMN IF NOT EXISTS row_count bigint,
    ADD COLUMN IF NOT EXISTS inserted_count bigint,
    ADD COLUMN IF NOT EXISTS updated_count bigint,
    ADD COLUMN IF NOT EXISTS min_ts timestamptz,
    ADD COLUMN IF NOT EXISTS max_ts timestamptz,
    ADD COLUMN IF NOT EXISTS status text,
    ADD COLUMN IF NOT EXISTS error text,
    ADD COLUMN IF NOT EXISTS asset text,
    ADD COLUMN IF NOT EXISTS symbol text,
    ADD COLUMN IF NOT EXISTS start_date date,
    ADD COLUMN IF NOT EXISTS end_date date,
    ADD COLUMN IF NOT EXISTS dagster_run_id text,
    ADD COLUMN IF NOT EXISTS source text,
    ADD COLUMN IF NOT EXISTS unchanged_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS rejected_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS removed_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS rejected_by_rule jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS batch_count integer,
    ADD COLUMN IF NOT EXISTS retry_count integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS cost_usd numeric,
    ADD COLUMN IF NOT EXISTS logic_version text;

ALTER TABLE data_ingest_runs ALTER COLUMN started_at SET DEFAULT now();

SELECT pg_temp.demand_id('data_ingest_runs');
SELECT pg_temp.demand_values('data_ingest_runs', 'started_at', 'status');
SELECT pg_temp.demand_rule('data_ingest_runs', 'status_is_known',
    $$status IN ('running', 'success', 'failed')$$);
SELECT pg_temp.demand_rule('data_ingest_runs', 'success_accounts_for_every_row',
    $$asset IS NULL OR status <> 'success' OR
    (row_count = inserted_count + updated_count + unchanged_count + rejected_count) IS TRUE$$);

CREATE INDEX IF NOT EXISTS data_ingest_runs_of_symbol
    ON data_ingest_runs (symbol, started_at DESC);
CREATE INDEX IF NOT EXISTS data_ingest_runs_running
    ON data_ingest_runs (started_at) WHERE status = 'running';

CREATE TABLE IF NOT EXISTS raw_files (
    id bigserial PRIMARY KEY,
    path text NOT NULL UNIQUE,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    mtime_ns bigint NOT NULL,
    sha256 text,
    verdict text NOT NULL CHECK (verdict IN ('verified', 'refused')),
    reason text,
    dataset text,
    schema text,
    stype_in text,
    dbn_version integer,
    start_ts timestamptz,
    end_ts timestamptz,
    first_ts timestamptz,
    last_ts timestamptz,
    record_count bigint CHECK (record_count >= 0),
    symbols text[],
    roots text[],
    catalogued_at timestamptz NOT NULL DEFAULT now(),
    missing_since timestamptz,
    CONSTRAINT refused_for_a_reason CHECK ((verdict = 'refused') = (reason IS NOT NULL))
);

CREATE TABLE IF NOT EXISTS raw_file_contracts (
    file_id bigint NOT NULL REFERENCES raw_files (id) ON DELETE CASCADE,
    date date NOT NULL,
    root text NOT NULL,
    contract text NOT NULL,
    continuous text,
    volume bigint NOT NULL CHECK (volume >= 0),
    bar_count integer NOT NULL CHECK (bar_count > 0),
    first_ts timestamptz NOT NULL,
    last_ts timestamptz NOT NULL,
    PRIMARY KEY (file_id, date, contract)
);

CREATE INDEX IF NOT EXISTS raw_file_contracts_by_root ON raw_file_contracts (root, date);

CREATE TABLE IF NOT EXISTS bar_dates (
    symbol text NOT NULL,
    date date NOT NULL,
    layer text NOT NULL CHECK (layer IN ('legacy', 'clean')),
    state text NOT NULL CHECK (state IN ('writing', 'complete')),
    bar_count integer NOT NULL DEFAULT 0 CHECK (bar_count >= 0),
    rejected_count integer NOT NULL DEFAULT 0 CHECK (rejected_count >= 0),
    contract text,
    first_ts timestamptz,
    last_ts timestamptz,
    fingerprint bigint NOT NULL DEFAULT 0,
    ingestion_run_id bigint,
    completed_at timestamptz,
    PRIMARY KEY (symbol, date, layer),
    CONSTRAINT complete_at_a_time CHECK ((state = 'complete') = (completed_at IS NOT NULL))
);

CREATE TABLE IF NOT EXISTS data_quality_results (
    symbol text NOT NULL,
    date date NOT NULL,
    asset text NOT NULL,
    check_name text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('WARN', 'ERROR')),
    passed boolean NOT NULL,
    row_count bigint,
    failed_count bigint,
    description text,
    failure_cases jsonb NOT NULL DEFAULT '[]',
    dagster_run_id text,
    checked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, date, asset, check_name)
);

CREATE INDEX IF NOT EXISTS data_quality_results_failures
    ON data_quality_results (symbol, date, asset) WHERE NOT passed AND severity = 'ERROR';
