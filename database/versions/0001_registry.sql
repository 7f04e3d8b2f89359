-- The registry of symbols, and its first four.

CREATE TABLE IF NOT EXISTS symbol_registry (
    internal_symbol text PRIMARY KEY
);

SELECT set_config('trisignal.adopts_registry', (NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = 'symbol_registry'::regclass AND attname = 'price_floor'))::text, true);

ALTER TABLE symbol_registry
    ADD COLUMN IF NOT EXISTS dataset text,
    ADD COLUMN IF NOT EXISTS root text,
    ADD COLUMN IF NOT EXISTS roll_rule text DEFAULT 'v',
    ADD COLUMN IF NOT EXISTS rank integer DEFAULT 0,
    ADD COLUMN IF NOT EXISTS schema text DEFAULT 'ohlcv-1m',
    ADD COLUMN IF NOT EXISTS stype_in text DEFAULT 'continuous',
    ADD COLUMN IF NOT EXISTS is_active boolean DEFAULT true,
    ADD COLUMN IF NOT EXISTS vendor_dataset text,
    ADD COLUMN IF NOT EXISTS schema_name text,
    ADD COLUMN IF NOT EXISTS venue text,
    ADD COLUMN IF NOT EXISTS asset_class text,
    ADD COLUMN IF NOT EXISTS timezone text,
    ADD COLUMN IF NOT EXISTS session_profile text DEFAULT 'cme_equity',
    ADD COLUMN IF NOT EXISTS created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS updated_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS price_floor numeric,
    ADD COLUMN IF NOT EXISTS discontinuity_points numeric,
    ADD COLUMN IF NOT EXISTS small_range_points numeric,
    ADD COLUMN IF NOT EXISTS big_gap_points numeric,
    ADD COLUMN IF NOT EXISTS flat_discontinuity_points numeric,
    ADD COLUMN IF NOT EXISTS tick_size numeric,
    ADD COLUMN IF NOT EXISTS higher_timeframe_anchor text NOT NULL DEFAULT 'session',
    ADD COLUMN IF NOT EXISTS history_start date,
    ADD COLUMN IF NOT EXISTS require_engulfing boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS require_sweep_engulfing boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS htf_aligned_only boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS aligned_timeframes text[] NOT NULL DEFAULT '{5m,15m,1h,4h,1d}';

SELECT pg_temp.demand_key('symbol_registry', ARRAY['internal_symbol']);
SELECT pg_temp.demand_values(
    'symbol_registry', 'internal_symbol', 'dataset', 'root', 'roll_rule', 'rank', 'is_active');
SELECT pg_temp.demand_rule('symbol_registry', 'roll_rule_is_known',
    $$roll_rule IN ('c', 'n', 'v')$$);
SELECT pg_temp.demand_rule('symbol_registry', 'rank_is_not_negative', 'rank >= 0');
SELECT pg_temp.demand_rule('symbol_registry', 'anchor_is_known',
    $$higher_timeframe_anchor IN ('session', 'utc')$$);
SELECT pg_temp.demand_rule('symbol_registry', 'timeframes_are_known',
    $$aligned_timeframes <@ '{5m,15m,1h,4h,1d}'$$);
SELECT pg_temp.demand_rule('symbol_registry', 'tick_size_is_positive', 'tick_size > 0');

CREATE TEMPORARY TABLE seed ON COMMIT DROP AS
SELECT 'GLBX.MDP3:' || root AS internal_symbol, root, venue, tick_size
FROM (VALUES ('NQ', 'CME', 0.25), ('ES', 'CME', 0.25), ('YM', 'CBOT', 1), ('RTY', 'CME', 0.1))
     AS future (root, venue, tick_size);

-- An adopted registry keeps its settings; what it had no column for gets its first value here.
UPDATE symbol_registry r
SET price_floor = 1000, discontinuity_points = 500, small_range_points = 10, big_gap_points = 150,
    flat_discontinuity_points = 50, tick_size = seed.tick_size
FROM seed
WHERE r.internal_symbol = seed.internal_symbol
  AND current_setting('trisignal.adopts_registry')::boolean;

INSERT INTO symbol_registry (
    internal_symbol, dataset, root, roll_rule, rank, schema, stype_in, is_active, vendor_dataset,
    schema_name, venue, asset_class, timezone, session_profile, price_floor, discontinuity_points,
    small_range_points, big_gap_points, flat_discontinuity_points, tick_size)
SELECT internal_symbol, 'GLBX.MDP3', root, 'v', 0, 'ohlcv-1m', 'continuous', true, 'GLBX.MDP3',
       'ohlcv-1m', venue, 'index_future', 'America/Chicago', 'cme_equity', 1000, 500, 10, 150, 50,
       tick_size
FROM seed
WHERE NOT EXISTS (SELECT FROM symbol_registry r WHERE r.internal_symbol = seed.internal_symbol)
ON CONFLICT DO NOTHING;
