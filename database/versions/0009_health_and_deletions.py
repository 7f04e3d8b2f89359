"""Figures of the pipeline's health over time, and what was deleted on purpose.

The rights of the new tables are added to `grant_to_roles()` where it lists them, in the text it has
since 0007, and taken out of it again. Going down keeps both tables: neither can be made again.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS health_figures (
            measured_at timestamptz NOT NULL,
            figure text NOT NULL,
            subject text NOT NULL DEFAULT '',
            value double precision NOT NULL,
            PRIMARY KEY (figure, subject, measured_at)
        );
        CREATE INDEX IF NOT EXISTS health_figures_by_time ON health_figures (measured_at);
        COMMENT ON TABLE health_figures IS
            'How the pipeline and its database were, each time they were measured.';
        COMMENT ON COLUMN health_figures.measured_at IS
            'When; all figures of one measurement have the same time.';
        COMMENT ON COLUMN health_figures.figure IS
            'What was measured. The name ends with the unit: bytes, minutes, ratio (0 to 1) and so '
            'on; without one it is a count.';
        COMMENT ON COLUMN health_figures.subject IS
            'Of what: a table, a symbol, or several of these with blanks between them. Empty where '
            'it is of the whole database.';
        COMMENT ON COLUMN health_figures.value IS 'The figure.';

        CREATE TABLE IF NOT EXISTS deletions (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            what text NOT NULL CHECK (what IN ('quarantine', 'revisions', 'year')),
            lower_bound timestamptz NOT NULL,
            upper_bound timestamptz NOT NULL,
            row_count bigint NOT NULL CHECK (row_count >= 0),
            deleted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            CHECK (lower_bound < upper_bound)
        );
        COMMENT ON TABLE deletions IS
            'What was deleted on purpose and can''t be told any more, so that nobody takes what is '
            'left for all there was. Questions about the past that it would answer wrongly are '
            'refused.';
        COMMENT ON COLUMN deletions.what IS
            'quarantine (released rows of quarantined_bars), revisions (rows of '
            'market_bars_revisions), or year (the partitions of a year of both tables of bars and '
            'of bias_series_1m_v1).';
        COMMENT ON COLUMN deletions.lower_bound IS
            'What was deleted begins here, UTC: released_at of quarantine, valid_to of revisions '
            '(recorded_at of superseded ones), the OPEN of bars of a year.';
        COMMENT ON COLUMN deletions.upper_bound IS 'And it ends before this.';
        COMMENT ON COLUMN deletions.row_count IS 'How many rows went.';
        COMMENT ON COLUMN deletions.deleted_at IS 'When.';

        COMMENT ON TABLE quarantined_bars IS
            'Every bar that was delivered and rejected, as it was delivered. A bar that is no '
            'longer rejected is released, not deleted; only `trisignal housekeeping` deletes '
            'released ones, where it is told to, and says so in deletions.';
        COMMENT ON TABLE market_bars_revisions IS
            'Versions of bars that stand no longer, of both tables of bars. The database itself '
            'writes what was updated or removed, whoever changes the tables and however. Only '
            '`trisignal housekeeping` deletes here, where it is told to, and says so in deletions.';
        COMMENT ON COLUMN market_bars_revisions.valid_from IS
            'From when on the table held this version; null for a superseded bar. Too early where '
            'the version before it was deleted.';

        DO $$
        DECLARE
            before text := pg_get_functiondef('grant_to_roles()'::regprocedure);
            here text := '(''trisignal_schema'', NULL)';
        BEGIN
            IF position(here IN before) = 0 THEN
                RAISE EXCEPTION 'grant_to_roles() is not the one that revision 0007 made'
                    USING HINT = 'bring the database to the schema of an unchanged 0008';
            END IF;
            EXECUTE replace(before, here,
                '(''health_figures'', ''INSERT, DELETE''), (''deletions'', ''INSERT''), ' || here);
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
        DECLARE
            granted record;
        BEGIN
            EXECUTE replace(pg_get_functiondef('grant_to_roles()'::regprocedure),
                '(''health_figures'', ''INSERT, DELETE''), (''deletions'', ''INSERT''), ', '');
            -- Who has no roles has nothing to take back.
            FOR granted IN
                SELECT rolname FROM pg_roles
                WHERE rolname IN ('trisignal_writer', 'trisignal_reader')
            LOOP
                EXECUTE format('REVOKE ALL ON health_figures, deletions FROM %I', granted.rolname);
                EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM %I',
                               pg_get_serial_sequence('deletions', 'id'), granted.rolname);
            END LOOP;
        END $$;
        COMMENT ON TABLE quarantined_bars IS
            'Every bar that was delivered and rejected, as it was delivered. Nothing is ever '
            'deleted here: a bar that is no longer rejected is released.';
        COMMENT ON TABLE market_bars_revisions IS
            'Versions of bars that stand no longer, of both tables of bars. The database itself '
            'writes what was updated or removed, whoever changes the tables and however.';
        COMMENT ON COLUMN market_bars_revisions.valid_from IS
            'From when on the table held this version; null for a superseded bar.';
        """
    )
