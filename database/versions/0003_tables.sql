-- What was delivered and isn't in a table of bars, and what was in one and isn't any more. Both may
-- be there already: going down keeps them.

CREATE TABLE IF NOT EXISTS quarantined_bars (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer text NOT NULL CHECK (layer IN ('legacy', 'clean')),
    symbol text NOT NULL,
    ts timestamptz NOT NULL,
    open bigint NOT NULL,
    high bigint NOT NULL,
    low bigint NOT NULL,
    close bigint NOT NULL,
    volume bigint NOT NULL,
    contract text NOT NULL,
    rules text[] NOT NULL CHECK (cardinality(rules) > 0),
    file_name text,
    file_sha256 text,
    source text NOT NULL,
    ingestion_run_id bigint NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    released_at timestamptz,
    released_by_run bigint,
    CONSTRAINT released_by_a_run CHECK ((released_at IS NULL) = (released_by_run IS NULL))
);
CREATE INDEX IF NOT EXISTS quarantined_bars_of_symbol ON quarantined_bars (symbol, layer, ts);
CREATE INDEX IF NOT EXISTS quarantined_bars_not_released
    ON quarantined_bars (symbol, layer, ts) WHERE released_at IS NULL;

COMMENT ON TABLE quarantined_bars IS
    'Every bar that was delivered and rejected, as it was delivered. Nothing is ever deleted here: '
    'a bar that is no longer rejected is released.';
COMMENT ON COLUMN quarantined_bars.layer IS
    'Which table it was kept out of: legacy (market_bars_ohlcv_1m) or clean '
    '(market_bars_ohlcv_1m_clean).';
COMMENT ON COLUMN quarantined_bars.symbol IS
    'The market as symbol_registry.internal_symbol names it.';
COMMENT ON COLUMN quarantined_bars.ts IS
    'OPEN of the bar, UTC, whichever table it was kept out of: the vendor''s ts_event.';
COMMENT ON COLUMN quarantined_bars.open IS
    'As delivered, in units of 1e-9 points; 9223372036854775807 is the vendor''s mark for a price '
    'that isn''t there. So are high, low and close.';
COMMENT ON COLUMN quarantined_bars.volume IS 'As delivered.';
COMMENT ON COLUMN quarantined_bars.contract IS
    'The contract it is of, for instance NQZ4; #id where only an instrument id is known.';
COMMENT ON COLUMN quarantined_bars.rules IS 'Every rule it broke.';
COMMENT ON COLUMN quarantined_bars.file_name IS
    'The raw file it came in; null where it was read from a table.';
COMMENT ON COLUMN quarantined_bars.file_sha256 IS 'The SHA-256 of that file.';
COMMENT ON COLUMN quarantined_bars.source IS
    'Where it was read from: files, the vendor''s API, or a table.';
COMMENT ON COLUMN quarantined_bars.ingestion_run_id IS
    'data_ingest_runs.id of the run that first rejected it.';
COMMENT ON COLUMN quarantined_bars.quarantined_at IS 'When that was.';
COMMENT ON COLUMN quarantined_bars.released_at IS
    'When a later run over its minute no longer rejected it: it is let in, corrected, no longer '
    'delivered, delivered by another file, or breaks other rules. Null while it is rejected.';
COMMENT ON COLUMN quarantined_bars.released_by_run IS 'data_ingest_runs.id of that run.';

CREATE VIEW quarantined_bars_in_points AS
SELECT id, layer, symbol, ts,
       trim_scale(nullif(open, 9223372036854775807) * 0.000000001) AS open,
       trim_scale(nullif(high, 9223372036854775807) * 0.000000001) AS high,
       trim_scale(nullif(low, 9223372036854775807) * 0.000000001) AS low,
       trim_scale(nullif(close, 9223372036854775807) * 0.000000001) AS close,
       volume, contract, rules, file_name, file_sha256, source, ingestion_run_id, quarantined_at,
       released_at, released_by_run
FROM quarantined_bars;
COMMENT ON VIEW quarantined_bars_in_points IS
    'quarantined_bars with prices in points; null for a price that isn''t there.';

CREATE TABLE IF NOT EXISTS market_bars_revisions (
    layer text NOT NULL CHECK (layer IN ('legacy', 'clean')),
    symbol text NOT NULL,
    ts timestamptz NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume bigint NOT NULL,
    contract text,
    source text,
    verified boolean,
    ingestion_run_id bigint,
    kind text NOT NULL CHECK (kind IN ('updated', 'removed', 'superseded')),
    valid_from timestamptz,
    valid_to timestamptz,
    file_name text,
    file_sha256 text,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT was_in_the_table_for_a_time CHECK (
        (kind = 'superseded') = (valid_from IS NULL) AND (valid_from IS NULL) = (valid_to IS NULL)
        AND valid_from <= valid_to),
    CONSTRAINT superseded_has_a_file CHECK ((kind = 'superseded') = (file_sha256 IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS market_bars_revisions_of_bar
    ON market_bars_revisions (symbol, layer, ts, valid_to);
CREATE UNIQUE INDEX IF NOT EXISTS market_bars_revisions_superseded_once
    ON market_bars_revisions (symbol, layer, ts, file_sha256, open, high, low, close, volume,
                              contract)
    WHERE kind = 'superseded';

COMMENT ON TABLE market_bars_revisions IS
    'Versions of bars that stand no longer, of both tables of bars. The database itself writes '
    'what was updated or removed, whoever changes the tables and however.';
COMMENT ON COLUMN market_bars_revisions.layer IS
    'The table it was in: legacy (market_bars_ohlcv_1m) or clean (market_bars_ohlcv_1m_clean).';
COMMENT ON COLUMN market_bars_revisions.symbol IS
    'The market as symbol_registry.internal_symbol names it.';
COMMENT ON COLUMN market_bars_revisions.ts IS
    'As the table stamps bars, UTC: the CLOSE where layer is legacy, the OPEN where it is clean.';
COMMENT ON COLUMN market_bars_revisions.open IS
    'First price of the minute, in points, exact; so are high, low and close.';
COMMENT ON COLUMN market_bars_revisions.volume IS 'Contracts traded in the minute.';
COMMENT ON COLUMN market_bars_revisions.contract IS
    'The contract that traded, for instance NQZ4; #id where only an instrument id is known.';
COMMENT ON COLUMN market_bars_revisions.source IS
    'As the clean table had it; of a superseded bar, where it was read from. Null for a legacy bar.';
COMMENT ON COLUMN market_bars_revisions.verified IS
    'As the legacy table had it; null for a clean bar and for a superseded one.';
COMMENT ON COLUMN market_bars_revisions.ingestion_run_id IS
    'data_ingest_runs.id of the run that wrote this version, as far as the table had it; of a '
    'superseded bar, of the run that found it superseded.';
COMMENT ON COLUMN market_bars_revisions.kind IS
    'What became of it: updated (another version followed in the table), removed (none did), or '
    'superseded (it never was in the table: a later file had another bar for the minute).';
COMMENT ON COLUMN market_bars_revisions.valid_from IS
    'From when on the table held this version; null for a superseded bar.';
COMMENT ON COLUMN market_bars_revisions.valid_to IS
    'Until when, not included: the time of the statement that changed it.';
COMMENT ON COLUMN market_bars_revisions.file_name IS 'The raw file a superseded bar came in.';
COMMENT ON COLUMN market_bars_revisions.file_sha256 IS 'The SHA-256 of that file.';
COMMENT ON COLUMN market_bars_revisions.recorded_at IS 'When this row was written.';
