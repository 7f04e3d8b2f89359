-- Bars. Each table is made with its key alone and then given its columns, so that a new table and
-- an adopted one come out the same. Adopted bars are marked: nobody knows how they were stamped.

CREATE TABLE IF NOT EXISTS market_bars_ohlcv_1m (
    symbol text NOT NULL,
    ts timestamptz NOT NULL,
    PRIMARY KEY (symbol, ts)
) PARTITION BY RANGE (ts);

ALTER TABLE market_bars_ohlcv_1m
    ADD COLUMN IF NOT EXISTS vendor text NOT NULL DEFAULT 'databento',
    ADD COLUMN IF NOT EXISTS schema text NOT NULL DEFAULT 'ohlcv-1m',
    ADD COLUMN IF NOT EXISTS ts_ms bigint,
    ADD COLUMN IF NOT EXISTS open numeric,
    ADD COLUMN IF NOT EXISTS high numeric,
    ADD COLUMN IF NOT EXISTS low numeric,
    ADD COLUMN IF NOT EXISTS close numeric,
    ADD COLUMN IF NOT EXISTS volume bigint,
    ADD COLUMN IF NOT EXISTS ingestion_run_id bigint,
    ADD COLUMN IF NOT EXISTS created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS contract text,
    ADD COLUMN IF NOT EXISTS verified boolean NOT NULL DEFAULT false;

ALTER TABLE market_bars_ohlcv_1m
    ALTER COLUMN vendor SET DEFAULT 'databento',
    ALTER COLUMN schema SET DEFAULT 'ohlcv-1m',
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN verified SET DEFAULT true;

SELECT pg_temp.demand_values(
    'market_bars_ohlcv_1m', 'vendor', 'schema', 'ts_ms', 'open', 'high', 'low', 'close', 'volume',
    'created_at');
SELECT pg_temp.demand_rule('market_bars_ohlcv_1m', 'ohlc_is_consistent',
    'high >= greatest(open, close) AND low <= least(open, close) AND high >= low');
SELECT pg_temp.demand_rule('market_bars_ohlcv_1m', 'volume_is_not_negative', 'volume >= 0');
SELECT pg_temp.demand_rule('market_bars_ohlcv_1m', 'ts_is_a_whole_minute',
    'ts_ms % 60000 = 0 AND ts = to_timestamp(ts_ms / 1000)');

CREATE TABLE IF NOT EXISTS market_bars_ohlcv_1m_clean (
    symbol text NOT NULL,
    ts timestamptz NOT NULL,
    PRIMARY KEY (symbol, ts)
) PARTITION BY RANGE (ts);

ALTER TABLE market_bars_ohlcv_1m_clean
    ADD COLUMN IF NOT EXISTS open numeric,
    ADD COLUMN IF NOT EXISTS high numeric,
    ADD COLUMN IF NOT EXISTS low numeric,
    ADD COLUMN IF NOT EXISTS close numeric,
    ADD COLUMN IF NOT EXISTS volume bigint,
    ADD COLUMN IF NOT EXISTS created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS contract text,
    ADD COLUMN IF NOT EXISTS source text NOT NULL DEFAULT 'adopted';

ALTER TABLE market_bars_ohlcv_1m_clean
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN source SET DEFAULT 'legacy';

SELECT pg_temp.demand_values(
    'market_bars_ohlcv_1m_clean', 'open', 'high', 'low', 'close', 'volume', 'created_at');
SELECT pg_temp.demand_rule('market_bars_ohlcv_1m_clean', 'ohlc_is_consistent',
    'high >= greatest(open, close) AND low <= least(open, close) AND high >= low');
SELECT pg_temp.demand_rule('market_bars_ohlcv_1m_clean', 'volume_is_not_negative', 'volume >= 0');
SELECT pg_temp.demand_rule('market_bars_ohlcv_1m_clean', 'ts_is_a_whole_minute',
    $$ts = date_bin('1 minute', ts, '2000-01-01 00:00:00+00')$$);
SELECT pg_temp.demand_rule('market_bars_ohlcv_1m_clean', 'source_is_known',
    $$source IN ('legacy', 'databento_api', 'adopted')$$);
