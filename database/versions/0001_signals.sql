-- What the signal says: the biases of every minute, and the minutes on which they flip.

CREATE TABLE IF NOT EXISTS bias_series_1m_v1 (
    symbol text NOT NULL,
    ts timestamptz NOT NULL,
    PRIMARY KEY (symbol, ts)
) PARTITION BY RANGE (ts);

ALTER TABLE bias_series_1m_v1
    ADD COLUMN IF NOT EXISTS bias_1m text,
    ADD COLUMN IF NOT EXISTS bias_5m text,
    ADD COLUMN IF NOT EXISTS bias_15m text,
    ADD COLUMN IF NOT EXISTS bias_1h text,
    ADD COLUMN IF NOT EXISTS bias_4h text,
    ADD COLUMN IF NOT EXISTS bias_1d text,
    ADD COLUMN IF NOT EXISTS source_table text,
    ADD COLUMN IF NOT EXISTS logic_version text,
    ADD COLUMN IF NOT EXISTS created_at timestamptz NOT NULL DEFAULT now();

ALTER TABLE bias_series_1m_v1 ALTER COLUMN created_at SET DEFAULT now();

SELECT pg_temp.demand_values(
    'bias_series_1m_v1', 'bias_1m', 'bias_5m', 'bias_15m', 'bias_1h', 'bias_4h', 'bias_1d',
    'source_table', 'logic_version', 'created_at');
SELECT pg_temp.demand_rule('bias_series_1m_v1', 'biases_are_known',
    $$ARRAY[bias_1m, bias_5m, bias_15m, bias_1h, bias_4h, bias_1d]
    <@ '{Bullish,Bearish,Neutral}'$$);
SELECT pg_temp.demand_rule('bias_series_1m_v1', 'ts_is_a_whole_minute',
    $$ts = date_bin('1 minute', ts, '2000-01-01 00:00:00+00')$$);

CREATE TABLE IF NOT EXISTS triangle_events_v1 (
    id bigserial PRIMARY KEY,
    symbol text NOT NULL,
    ts timestamptz NOT NULL,
    direction text NOT NULL
);

ALTER TABLE triangle_events_v1
    ADD COLUMN IF NOT EXISTS bias_1m text,
    ADD COLUMN IF NOT EXISTS bias_m5 text,
    ADD COLUMN IF NOT EXISTS bias_m15 text,
    ADD COLUMN IF NOT EXISTS bias_h1 text,
    ADD COLUMN IF NOT EXISTS bias_h4 text,
    ADD COLUMN IF NOT EXISTS bias_d1 text,
    ADD COLUMN IF NOT EXISTS htf_bullish boolean,
    ADD COLUMN IF NOT EXISTS htf_bearish boolean,
    ADD COLUMN IF NOT EXISTS require_engulfing boolean,
    ADD COLUMN IF NOT EXISTS require_sweep_engulfing boolean,
    ADD COLUMN IF NOT EXISTS htf_aligned_only boolean,
    ADD COLUMN IF NOT EXISTS source_table text,
    ADD COLUMN IF NOT EXISTS logic_version text,
    ADD COLUMN IF NOT EXISTS created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS engulfing boolean,
    ADD COLUMN IF NOT EXISTS sweep_engulfing boolean,
    ADD COLUMN IF NOT EXISTS contract text;

ALTER TABLE triangle_events_v1 ALTER COLUMN created_at SET DEFAULT now();

SELECT pg_temp.demand_id('triangle_events_v1');
SELECT pg_temp.demand_key('triangle_events_v1', ARRAY['symbol', 'ts', 'direction']);
SELECT pg_temp.demand_values(
    'triangle_events_v1', 'symbol', 'ts', 'direction', 'bias_1m', 'bias_m5', 'bias_m15', 'bias_h1',
    'bias_h4', 'bias_d1', 'htf_bullish', 'htf_bearish', 'require_engulfing',
    'require_sweep_engulfing', 'htf_aligned_only', 'source_table', 'logic_version', 'created_at');
SELECT pg_temp.demand_rule('triangle_events_v1', 'direction_is_known',
    $$direction IN ('BULL', 'BEAR')$$);
SELECT pg_temp.demand_rule('triangle_events_v1', 'biases_are_known',
    $$ARRAY[bias_1m, bias_m5, bias_m15, bias_h1, bias_h4, bias_d1]
    <@ '{Bullish,Bearish,Neutral}'$$);
SELECT pg_temp.demand_rule('triangle_events_v1', 'ts_is_a_whole_minute',
    $$ts = date_bin('1 minute', ts, '2000-01-01 00:00:00+00')$$);

-- Which dates the signal was computed for, and from what.
CREATE TABLE IF NOT EXISTS signal_dates (
    symbol text NOT NULL,
    date date NOT NULL,
    source_table text,
    bar_count integer NOT NULL CHECK (bar_count >= 0),
    triangle_count integer CHECK (triangle_count >= 0),
    history_fingerprint numeric NOT NULL,
    rules text NOT NULL,
    logic_version text NOT NULL,
    completed_at timestamptz NOT NULL DEFAULT now(),
    withdrawn boolean NOT NULL DEFAULT false,
    PRIMARY KEY (symbol, date)
);
