"""Saved engine states, so that a signal goes on from where it was instead of from the beginning.

Going down drops them: they can be made again from the bars.
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
            'Gaps, extremes, unfinished higher bars, last bars and last good close, compressed.';

        ALTER TABLE symbol_registry
            ADD COLUMN IF NOT EXISTS lockout_alarm_minutes integer NOT NULL DEFAULT 30
            CHECK (lockout_alarm_minutes > 0);
        COMMENT ON COLUMN symbol_registry.lockout_alarm_minutes IS
            'How many legacy bars in a row the hygiene rules may keep from the signal before it is '
            'an alarm.';
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE signal_checkpoints")
