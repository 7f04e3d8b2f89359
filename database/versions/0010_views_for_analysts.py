"""Views for those who ask in SQL: bars of finished dates, triangles in context, days in short.

What the bars of a date add up to is kept in a table, by the version of the date it was made from;
the view adds up again what is not kept or was made from another one, so it is right at any moment.

The rights of the new relations are added to `grant_to_roles()` where it lists them, and taken out
of it again. Going down drops all of it: everything can be made again from what stays.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

GRANTS = (
    "(''daily_summaries'', ''INSERT, UPDATE, DELETE''), (''continuous_bars_1m'', NULL), "
    "(''triangles_in_context'', NULL), (''daily_summary'', NULL), "
)


def upgrade() -> None:
    op.execute(
        """
        CREATE VIEW continuous_bars_1m AS
        SELECT b.symbol, b.ts, d.date, b.open, b.high, b.low, b.close, b.volume, b.contract
        FROM market_bars_ohlcv_1m_clean b
        CROSS JOIN LATERAL (
            -- Looked up by key: a planner without statistics would compare each bar with every
            -- date.
            SELECT d.date FROM bar_dates d
            WHERE d.symbol = b.symbol AND d.date = (b.ts AT TIME ZONE 'UTC')::date
              AND d.layer = 'clean' AND d.state = 'complete'
            OFFSET 0
        ) d;
        COMMENT ON VIEW continuous_bars_1m IS
            'Clean 1-minute bars of finished dates, one contract a date and not back-adjusted: at '
            'a roll the price steps.';
        COMMENT ON COLUMN continuous_bars_1m.ts IS 'OPEN of the bar, UTC.';
        COMMENT ON COLUMN continuous_bars_1m.date IS 'The UTC date it opens on.';
        COMMENT ON COLUMN continuous_bars_1m.contract IS 'The contract that traded, such as NQZ4.';

        CREATE VIEW triangles_in_context AS
        SELECT t.symbol, t.ts, t.ts + interval '1 minute' AS known_at, t.direction,
               t.ts AT TIME ZONE r.timezone AS exchange_time, t.contract,
               b.open, b.high, b.low, b.close, b.volume,
               b.high - b.low AS range, b.close - before.close AS change,
               t.bias_1m, t.bias_m5, t.bias_m15, t.bias_h1, t.bias_h4, t.bias_d1,
               CASE t.direction WHEN 'BULL' THEN t.htf_bullish ELSE t.htf_bearish END AS aligned,
               t.engulfing, t.sweep_engulfing,
               last.ts AS previous_ts, last.direction AS previous_direction
        FROM triangle_events_v1 t
        LEFT JOIN symbol_registry r ON r.internal_symbol = t.symbol
        LEFT JOIN continuous_bars_1m b ON b.symbol = t.symbol AND b.ts = t.ts
        LEFT JOIN LATERAL (
            SELECT p.close, p.contract FROM market_bars_ohlcv_1m_clean p
            WHERE p.symbol = t.symbol AND p.ts < t.ts AND p.ts >= t.ts - interval '4 days'
            ORDER BY p.ts DESC LIMIT 1
        ) before ON before.contract = b.contract
        LEFT JOIN LATERAL (
            SELECT e.ts, e.direction FROM triangle_events_v1 e
            WHERE e.symbol = t.symbol AND e.ts < t.ts ORDER BY e.ts DESC LIMIT 1
        ) last ON true;
        COMMENT ON VIEW triangles_in_context IS
            'Each triangle with what was known of it when its bar closed, and nothing that came '
            'after: what became of it is for the reader to measure.';
        COMMENT ON COLUMN triangles_in_context.ts IS
            'OPEN of the bar on whose close the bias flipped, UTC.';
        COMMENT ON COLUMN triangles_in_context.known_at IS
            'CLOSE of that bar: the first moment at which anybody could know of it.';
        COMMENT ON COLUMN triangles_in_context.exchange_time IS
            'ts on a clock of the exchange; empty where the registry doesn''t know the symbol.';
        COMMENT ON COLUMN triangles_in_context.open IS
            'The bar, in points; empty, like those below, where there is no clean bar of a '
            'finished date.';
        COMMENT ON COLUMN triangles_in_context.range IS 'high - low, in points.';
        COMMENT ON COLUMN triangles_in_context.change IS
            'The close less that of the bar before, in points; empty across a roll, and where no '
            'bar lies within 4 days before.';
        COMMENT ON COLUMN triangles_in_context.aligned IS
            'Whether all higher timeframes that are switched on agree with the direction.';
        COMMENT ON COLUMN triangles_in_context.previous_ts IS
            'OPEN of the bar of the triangle before this one.';
        COMMENT ON COLUMN triangles_in_context.previous_direction IS 'And its direction.';

        CREATE TABLE daily_summaries (
            symbol text NOT NULL,
            date date NOT NULL,
            bars_completed_at timestamptz NOT NULL,
            open numeric NOT NULL,
            high numeric NOT NULL,
            low numeric NOT NULL,
            close numeric NOT NULL,
            volume bigint NOT NULL,
            PRIMARY KEY (symbol, date)
        );
        COMMENT ON TABLE daily_summaries IS
            'What the clean bars of a date add up to, kept for the view daily_summary, which is to '
            'be asked instead. Written when signals are computed.';
        COMMENT ON COLUMN daily_summaries.date IS 'The UTC date.';
        COMMENT ON COLUMN daily_summaries.bars_completed_at IS
            'bar_dates.completed_at of the clean bars this was made from; where it is another one '
            'now, the row counts for nothing.';
        COMMENT ON COLUMN daily_summaries.open IS 'Of the first bar, in points.';
        COMMENT ON COLUMN daily_summaries.volume IS 'Contracts traded.';

        CREATE FUNCTION summarised_bars(of_symbol text, of_date date)
        RETURNS TABLE (open numeric, high numeric, low numeric, close numeric, volume bigint)
        LANGUAGE sql STABLE ROWS 1
        BEGIN ATOMIC
            SELECT (array_agg(b.open ORDER BY b.ts))[1], max(b.high), min(b.low),
                   (array_agg(b.close ORDER BY b.ts DESC))[1], sum(b.volume)::bigint
            FROM market_bars_ohlcv_1m_clean b
            WHERE b.symbol = of_symbol AND b.ts >= of_date::timestamp AT TIME ZONE 'UTC'
              AND b.ts < (of_date + 1)::timestamp AT TIME ZONE 'UTC'
            HAVING count(*) > 0;
        END;
        COMMENT ON FUNCTION summarised_bars(text, date) IS
            'What the clean bars of one symbol and UTC date add up to; no row without any.';

        CREATE VIEW daily_summary AS
        SELECT d.symbol, d.date, d.contract, d.rolled, x.open, x.high, x.low, x.close, x.volume,
               d.bar_count AS bars, d.expected_minutes, d.found_minutes, d.first_ts, d.last_ts,
               t.bull, t.bear, t.aligned, t.engulfing
        FROM (
            SELECT symbol, date, contract, bar_count, expected_minutes, found_minutes, first_ts,
                   last_ts, completed_at,
                   coalesce(contract <> lag(contract) OVER (PARTITION BY symbol ORDER BY date),
                            false) AS rolled
            FROM bar_dates WHERE layer = 'clean' AND state = 'complete' AND bar_count > 0
        ) d
        LEFT JOIN signal_dates s ON s.symbol = d.symbol AND s.date = d.date AND NOT s.withdrawn
        LEFT JOIN daily_summaries k
               ON k.symbol = d.symbol AND k.date = d.date AND k.bars_completed_at = d.completed_at
        CROSS JOIN LATERAL (
            SELECT k.open, k.high, k.low, k.close, k.volume WHERE k.symbol IS NOT NULL
            UNION ALL
            SELECT f.open, f.high, f.low, f.close, f.volume
            FROM summarised_bars(d.symbol, d.date) f WHERE k.symbol IS NULL
        ) x
        LEFT JOIN LATERAL (
            SELECT count(*) FILTER (WHERE e.direction = 'BULL') AS bull,
                   count(*) FILTER (WHERE e.direction = 'BEAR') AS bear,
                   count(*) FILTER (WHERE CASE e.direction WHEN 'BULL' THEN e.htf_bullish
                                                           ELSE e.htf_bearish END) AS aligned,
                   count(*) FILTER (WHERE e.engulfing) AS engulfing
            FROM triangle_events_v1 e
            WHERE e.symbol = d.symbol AND e.ts >= d.date::timestamp AT TIME ZONE 'UTC'
              AND e.ts < (d.date + 1)::timestamp AT TIME ZONE 'UTC'
        ) t ON s.symbol IS NOT NULL;
        COMMENT ON VIEW daily_summary IS
            'Each finished UTC date of clean bars in short. Prices are not back-adjusted: where '
            'rolled is true, they step from the date before.';
        COMMENT ON COLUMN daily_summary.date IS
            'The UTC date; a session begins on the evening of the one before.';
        COMMENT ON COLUMN daily_summary.contract IS 'The contract of the date.';
        COMMENT ON COLUMN daily_summary.rolled IS
            'Whether it is another one than on the date before.';
        COMMENT ON COLUMN daily_summary.open IS
            'Of the first bar, in points; close is of the last one.';
        COMMENT ON COLUMN daily_summary.bars IS 'How many bars there are.';
        COMMENT ON COLUMN daily_summary.expected_minutes IS
            'On how many minutes the market was open; empty until the date is judged.';
        COMMENT ON COLUMN daily_summary.found_minutes IS 'How many of these have a bar.';
        COMMENT ON COLUMN daily_summary.first_ts IS 'OPEN of the first bar, UTC.';
        COMMENT ON COLUMN daily_summary.last_ts IS 'OPEN of the last bar, UTC.';
        COMMENT ON COLUMN daily_summary.bull IS
            'BULL triangles; empty, like those below, until the signal of the date is computed.';
        COMMENT ON COLUMN daily_summary.bear IS 'BEAR triangles.';
        COMMENT ON COLUMN daily_summary.aligned IS
            'Triangles with which all higher timeframes agree that are switched on.';
        COMMENT ON COLUMN daily_summary.engulfing IS 'Triangles on an engulfing bar.';

        DO $$
        DECLARE
            before text := pg_get_functiondef('grant_to_roles()'::regprocedure);
            here text := '(''trisignal_schema'', NULL)';
        BEGIN
            IF position(here IN before) = 0 THEN
                RAISE EXCEPTION 'grant_to_roles() is not the one that revision 0009 left'
                    USING HINT = 'bring the database to the schema of an unchanged 0009';
            END IF;
            EXECUTE replace(before, here, '"""
        + GRANTS
        + """' || here);
        END $$;
        -- Where there are no roles revision 0007 has said so already.
        SELECT grant_to_roles() WHERE to_regrole('trisignal_writer') IS NOT NULL
                                  AND to_regrole('trisignal_reader') IS NOT NULL;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DO $$
        BEGIN
            EXECUTE replace(pg_get_functiondef('grant_to_roles()'::regprocedure), '"""
        + GRANTS
        + """', '');
        END $$;
        DROP VIEW daily_summary, triangles_in_context, continuous_bars_1m;
        DROP FUNCTION summarised_bars(text, date);
        DROP TABLE daily_summaries;
        """
    )
