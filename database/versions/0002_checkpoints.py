"""Saved engine states, and from which minute on a signal is in doubt.

Going down drops the states: they can be made again from the bars.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE signal_checkpoints (
            symbol text NOT NULL,
            date date NOT NULL,
            history_fingerprint numeric NOT NULL,
            rules text NOT NULL,
            logic_version text NOT NULL,
            layout integer NOT NULL,
            state bytea NOT NULL,
            last_good_close bigint,
            last_good_contract text,
            locked_for integer NOT NULL DEFAULT 0,
            locked_since timestamptz,
            locked_by text,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (symbol, date)
        );
        COMMENT ON TABLE signal_checkpoints IS
            'The state of a symbol''s signal after the last bar of a date. It is used only if what '
            'it was made from is what there is now.';
        COMMENT ON COLUMN signal_checkpoints.date IS
            'The UTC date after whose last bar (by its OPEN) the state stands.';
        COMMENT ON COLUMN signal_checkpoints.history_fingerprint IS
            'Of all selected bars up to and with the date, see selected_bar_dates.';
        COMMENT ON COLUMN signal_checkpoints.rules IS
            'signal_rules(symbol) when it was saved: anchor, sessions, history start, thresholds.';
        COMMENT ON COLUMN signal_checkpoints.logic_version IS 'Version of the rules in the code.';
        COMMENT ON COLUMN signal_checkpoints.layout IS 'How the bytes of the state are laid out.';
        COMMENT ON COLUMN signal_checkpoints.state IS
            'Gaps, extremes, unfinished higher bars and last bars of all timeframes, compressed.';
        COMMENT ON COLUMN signal_checkpoints.last_good_close IS
            'Close of the last accepted bar, in units of 1e-9: what the hygiene rules go on from.';
        COMMENT ON COLUMN signal_checkpoints.last_good_contract IS 'The contract of that bar.';
        COMMENT ON COLUMN signal_checkpoints.locked_for IS
            'How many legacy bars in a row the hygiene rules had just rejected.';
        COMMENT ON COLUMN signal_checkpoints.locked_since IS
            'OPEN (UTC) of the first of them.';
        COMMENT ON COLUMN signal_checkpoints.locked_by IS 'The rule it broke.';

        ALTER TABLE symbol_registry
            ADD COLUMN IF NOT EXISTS lockout_alarm_minutes integer NOT NULL DEFAULT 30
            CHECK (lockout_alarm_minutes > 0);
        COMMENT ON COLUMN symbol_registry.lockout_alarm_minutes IS
            'How many legacy bars in a row the hygiene rules may keep from the signal before it is '
            'an alarm.';

        ALTER TABLE bar_dates
            ADD COLUMN IF NOT EXISTS changed_from timestamptz,
            ADD COLUMN IF NOT EXISTS changed_at timestamptz,
            ADD COLUMN IF NOT EXISTS writing_since timestamptz;
        COMMENT ON COLUMN bar_dates.changed_from IS
            'OPEN (UTC) of the first bar of the date that changed, appeared or disappeared since '
            'the signals that rest on it were last computed.';
        COMMENT ON COLUMN bar_dates.changed_at IS 'When the last such change was.';
        COMMENT ON COLUMN bar_dates.writing_since IS
            'Since when the date is not there, being changed. Null if it is complete.';

        ALTER TABLE signal_dates
            ADD COLUMN IF NOT EXISTS locked_out integer NOT NULL DEFAULT 0,
            ADD COLUMN IF NOT EXISTS longest_lock_out integer NOT NULL DEFAULT 0,
            ADD COLUMN IF NOT EXISTS locked_out_since timestamptz,
            ADD COLUMN IF NOT EXISTS locked_out_by text;
        COMMENT ON COLUMN signal_dates.locked_out IS
            'How many legacy bars of the date the hygiene rules kept from the signal.';
        COMMENT ON COLUMN signal_dates.longest_lock_out IS
            'The most bars rejected in a row, up to and with one of the date.';
        COMMENT ON COLUMN signal_dates.locked_out_since IS
            'OPEN (UTC) of the first bar of that run.';
        COMMENT ON COLUMN signal_dates.locked_out_by IS 'The rule that bar broke.';

        CREATE FUNCTION signal_doubts_under(code_rules text)
        RETURNS TABLE (symbol text, first_date date, last_date date, dates bigint, reasons text,
                       from_ts timestamptz)
        LANGUAGE sql STABLE
        BEGIN ATOMIC
            WITH compared AS MATERIALIZED (
                SELECT s.symbol, s.date, s.completed_at, s.withdrawn,
                       coalesce(d.reason, CASE WHEN s.logic_version <> code_rules
                                               THEN 'the rules in the code changed' END) AS reason
                FROM signal_dates s
                LEFT JOIN signal_dates_in_doubt d ON d.symbol = s.symbol AND d.date = s.date
            ), doubts AS (
                SELECT c.symbol, min(c.date) AS first_date, max(c.date) AS last_date,
                       count(*) AS dates, string_agg(DISTINCT c.reason, '; ') AS reasons,
                       (array_agg(c.completed_at ORDER BY c.date))[1] AS computed_at
                FROM compared c WHERE c.reason IS NOT NULL GROUP BY c.symbol
            )
            SELECT d.symbol, d.first_date, d.last_date, d.dates, d.reasons,
                   coalesce(
                       -- Up to the last date that is not in doubt no change was seen by a signal.
                       (SELECT min(CASE WHEN b.state = 'complete' THEN b.changed_from
                                        -- A date that went away went with all of its bars.
                                        WHEN b.first_ts IS NOT NULL THEN (
                                            SELECT min(o.first_ts) FROM bar_dates o
                                            WHERE o.symbol = b.symbol AND o.date = b.date) END)
                        FROM bar_dates b
                        WHERE b.symbol = d.symbol AND b.date <= d.first_date
                          AND b.date > coalesce((SELECT max(c.date) FROM compared c
                                                 WHERE c.symbol = d.symbol
                                                   AND c.date < d.first_date
                                                   AND NOT c.withdrawn), '-infinity')
                          AND CASE b.state WHEN 'writing' THEN b.writing_since
                                           ELSE b.changed_at END > d.computed_at
                          AND (b.layer = 'clean' OR NOT EXISTS (
                                   SELECT FROM bar_dates o
                                   WHERE o.symbol = b.symbol AND o.date = b.date
                                     AND o.layer = 'clean' AND o.state = 'complete'))),
                       (SELECT min(b.first_ts) FROM bar_dates b
                        WHERE b.symbol = d.symbol AND b.date = d.first_date),
                       d.first_date::timestamp AT TIME ZONE 'UTC')
            FROM doubts d;
        END;
        COMMENT ON FUNCTION signal_doubts_under(text) IS
            'For each symbol with stored signals that were computed from other bars or under other '
            'rules than there are now: how many dates, and from which minute (OPEN, UTC) on. The '
            'argument is the version of the rules in the code; null leaves it out of account.';

        CREATE VIEW signal_doubts AS SELECT * FROM signal_doubts_under(NULL);
        COMMENT ON VIEW signal_doubts IS
            'The same, whatever version of the code is in use.';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP VIEW signal_doubts;
        DROP FUNCTION signal_doubts_under(text);
        DROP TABLE signal_checkpoints;
        """
    )
