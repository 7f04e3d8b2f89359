"""Gaps and off-tick prices of each date of clean bars.

Going down drops the gaps: they can be made again from the bars.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE bar_dates
            ADD COLUMN IF NOT EXISTS expected_minutes integer,
            ADD COLUMN IF NOT EXISTS found_minutes integer,
            ADD COLUMN IF NOT EXISTS no_trade_minutes integer,
            ADD COLUMN IF NOT EXISTS rejected_minutes integer,
            ADD COLUMN IF NOT EXISTS suspicious_minutes integer,
            ADD COLUMN IF NOT EXISTS longest_gap integer,
            ADD COLUMN IF NOT EXISTS outside_count integer,
            ADD COLUMN IF NOT EXISTS off_tick_count integer;
        COMMENT ON COLUMN bar_dates.expected_minutes IS
            'On how many minutes of the date the market was open. Of clean bars only, as are the '
            'columns below. Null while the date''s bars have not been judged as they are now: the '
            'columns below then say nothing.';
        COMMENT ON COLUMN bar_dates.found_minutes IS 'How many of these have a bar.';
        COMMENT ON COLUMN bar_dates.no_trade_minutes IS
            'How many have none in gaps that chance explains, given how often minutes around them '
            'traded.';
        COMMENT ON COLUMN bar_dates.rejected_minutes IS
            'How many have none because it was rejected.';
        COMMENT ON COLUMN bar_dates.suspicious_minutes IS
            'How many have none in gaps that chance does not explain; session_gaps tells which of '
            'these other markets show to be halts.';
        COMMENT ON COLUMN bar_dates.longest_gap IS 'The longest gap of the date, in minutes.';
        COMMENT ON COLUMN bar_dates.outside_count IS
            'Bars on minutes on which the market was closed.';
        COMMENT ON COLUMN bar_dates.off_tick_count IS
            'Bars with a price that is no multiple of the market''s tick; null where the registry '
            'has no tick_size.';

        CREATE TABLE bar_gaps (
            symbol text NOT NULL,
            ts timestamptz NOT NULL,
            date date GENERATED ALWAYS AS ((ts AT TIME ZONE 'UTC')::date) STORED,
            minutes integer NOT NULL CHECK (minutes > 0),
            kind text NOT NULL CHECK (kind IN ('no_trade', 'rejected', 'suspicious')),
            minutes_around integer NOT NULL,
            traded_around integer NOT NULL,
            at_edge boolean NOT NULL,
            PRIMARY KEY (symbol, ts),
            CONSTRAINT no_more_traded_than_looked_at
                CHECK (traded_around BETWEEN 0 AND minutes_around)
        );
        COMMENT ON TABLE bar_gaps IS
            'Runs of minutes on which the market was open and clean bars have none. None reaches '
            'across a midnight (UTC), a pause or a close.';
        COMMENT ON COLUMN bar_gaps.ts IS 'OPEN (UTC) of the first minute without a bar.';
        COMMENT ON COLUMN bar_gaps.date IS 'The UTC date the whole gap lies on.';
        COMMENT ON COLUMN bar_gaps.minutes IS 'How many minutes the gap is long.';
        COMMENT ON COLUMN bar_gaps.kind IS
            'What the bars of its own date make of it: no_trade (chance explains it), rejected '
            '(its bars were rejected) or suspicious (chance does not).';
        COMMENT ON COLUMN bar_gaps.minutes_around IS
            'How many open minutes within an hour of the gap were looked at.';
        COMMENT ON COLUMN bar_gaps.traded_around IS 'On how many of these there was a trade.';
        COMMENT ON COLUMN bar_gaps.at_edge IS
            'Whether the gap touches the minute on which the market opens or closes, pauses '
            'included.';

        CREATE VIEW session_gaps AS
        SELECT g.symbol, g.ts, g.minutes, CASE WHEN h.markets IS NULL THEN g.kind ELSE 'halt' END
                   AS kind,
               g.at_edge,
               CASE WHEN h.markets IS NOT NULL
                    THEN 'silent as well: ' || h.markets
                    WHEN g.kind = 'rejected'
                    THEN 'its bars were rejected'
                    WHEN g.minutes_around = 0
                    THEN 'no bar at all between a close, pause or midnight (UTC) and the next'
                    ELSE format('%s of %s open minutes within an hour of it traded',
                                g.traded_around, g.minutes_around)
                         || CASE WHEN g.at_edge THEN '; at the edge of a session' ELSE '' END
               END AS why
        FROM bar_gaps g
        CROSS JOIN LATERAL (
            -- Looked up by key, gap for gap: a planner without statistics would compare each gap
            -- with every date.
            SELECT b.date FROM bar_dates b
            WHERE b.symbol = g.symbol AND b.date = g.date AND b.layer = 'clean'
              AND b.state = 'complete' AND b.expected_minutes IS NOT NULL
            OFFSET 0
        ) d
        LEFT JOIN LATERAL (
            -- Which market falls silent a minute before another is chance.
            SELECT string_agg(o.symbol, ', ' ORDER BY o.symbol) AS markets
            FROM symbol_registry own
            JOIN symbol_registry other
              ON other.session_profile = own.session_profile
             AND other.asset_class IS NOT DISTINCT FROM own.asset_class
             AND other.internal_symbol <> own.internal_symbol
            JOIN bar_dates o ON o.symbol = other.internal_symbol AND o.date = d.date
             AND o.layer = 'clean' AND o.state = 'complete' AND o.expected_minutes IS NOT NULL
             AND o.bar_count > 0
            LEFT JOIN bar_gaps s ON s.symbol = o.symbol AND s.kind <> 'rejected'
             AND s.ts BETWEEN g.ts - interval '1 day' AND g.ts + interval '1 minute'
             AND s.ts + s.minutes * interval '1 minute'
                 >= g.ts + (g.minutes - 1) * interval '1 minute'
            WHERE own.internal_symbol = g.symbol
              AND g.kind = 'suspicious' AND NOT g.at_edge AND g.minutes >= 5
            HAVING bool_and(s.symbol IS NOT NULL) AND bool_or(s.kind = 'suspicious')
        ) h ON true;
        COMMENT ON VIEW session_gaps IS
            'The gaps of complete dates, halts told apart: a gap of 5 minutes or more inside a '
            'session that chance does not explain is a halt if every other market of the same '
            'hours and asset class that has bars of the date is silent in it too, and chance does '
            'not explain that of at least one of these either.';
        """
    )


def downgrade() -> None:
    op.execute("DROP VIEW session_gaps; DROP TABLE bar_gaps;")
