-- What the signal reads, what it must be computed from again, and the settings that decide it.

CREATE FUNCTION signal_rules(symbol text) RETURNS text
LANGUAGE sql STABLE
RETURN (
    SELECT jsonb_build_object(
        'anchor', r.higher_timeframe_anchor,
        'session_profile', r.session_profile,
        'history_start', r.history_start,
        'price_floor', trim_scale(r.price_floor),
        'discontinuity_points', trim_scale(r.discontinuity_points),
        'small_range_points', trim_scale(r.small_range_points),
        'big_gap_points', trim_scale(r.big_gap_points),
        'flat_discontinuity_points', trim_scale(r.flat_discontinuity_points),
        'require_engulfing', r.require_engulfing,
        'require_sweep_engulfing', r.require_sweep_engulfing,
        'htf_aligned_only', r.htf_aligned_only,
        'aligned_timeframes', (SELECT jsonb_agg(DISTINCT t) FROM unnest(r.aligned_timeframes) AS t)
    )::text
    FROM symbol_registry r
    WHERE r.internal_symbol = signal_rules.symbol
);

COMMENT ON FUNCTION signal_rules(text) IS
    'Every setting of the registry that can change a result of the signal, as one text: two equal '
    'texts mean the same rules. Null for a symbol that is not registered.';

CREATE VIEW selected_bar_dates AS
WITH failed AS (
    SELECT DISTINCT symbol, date, asset
    FROM data_quality_results
    WHERE NOT passed AND severity = 'ERROR' AND asset IN ('legacy_bars', 'clean_bars')
), usable AS (
    SELECT DISTINCT ON (d.symbol, d.date) d.symbol, d.date, d.layer, d.bar_count, d.contract,
           d.first_ts, d.last_ts, d.fingerprint
    FROM bar_dates d
    LEFT JOIN symbol_registry r ON r.internal_symbol = d.symbol
    LEFT JOIN failed ON failed.symbol = d.symbol AND failed.date = d.date
                    AND failed.asset IN ('legacy_bars', d.layer || '_bars')
    WHERE d.state = 'complete'
      AND failed.symbol IS NULL
      AND (r.history_start IS NULL OR d.date >= r.history_start)
    -- 'clean' comes before 'legacy'.
    ORDER BY d.symbol, d.date, d.layer
)
SELECT usable.*,
       sum(fingerprint) OVER (PARTITION BY symbol ORDER BY date) AS history_fingerprint
FROM usable;

CREATE VIEW signal_dates_in_doubt AS
WITH rules AS MATERIALIZED (
    SELECT internal_symbol AS symbol, signal_rules(internal_symbol) AS current
    FROM symbol_registry
), compared AS (
    SELECT s.*,
           CASE WHEN s.withdrawn THEN
                    CASE WHEN b.symbol IS NOT NULL THEN 'bars are selected again' END
                WHEN b.symbol IS NULL THEN 'bars are no longer selected'
                WHEN b.history_fingerprint <> s.history_fingerprint
                    THEN 'bars changed on this date or before it'
                WHEN r.current IS DISTINCT FROM s.rules THEN 'rules changed'
                -- A date without bars has the same fingerprint in both.
                WHEN s.source_table <> CASE b.layer WHEN 'clean' THEN 'market_bars_ohlcv_1m_clean'
                                                    ELSE 'market_bars_ohlcv_1m' END
                    THEN 'bars are read from another table' END AS reason
    FROM signal_dates s
    LEFT JOIN selected_bar_dates b ON b.symbol = s.symbol AND b.date = s.date
    LEFT JOIN rules r ON r.symbol = s.symbol
)
SELECT * FROM compared WHERE reason IS NOT NULL;
