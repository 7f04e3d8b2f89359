"""Two roles: one that writes rows and no schema, one that only reads.

They belong to the whole server, so they are made if it has none yet, and stay when this revision
goes: other databases may use them. Where the migrating user may not make roles everything works
without them, and `trisignal db migrate` looks again each time it is run.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION grant_to_roles() RETURNS boolean
        LANGUAGE plpgsql AS $$
        DECLARE
            here text := current_schema();
            granted record;
        BEGIN
            IF NOT pg_has_role((SELECT relowner FROM pg_class
                                WHERE oid = 'symbol_registry'::regclass), 'USAGE') THEN
                RETURN false;
            END IF;
            IF to_regrole('trisignal_reader') IS NULL OR to_regrole('trisignal_writer') IS NULL THEN
                BEGIN
                    IF to_regrole('trisignal_reader') IS NULL THEN
                        CREATE ROLE trisignal_reader;
                    END IF;
                    CREATE ROLE trisignal_writer IN ROLE trisignal_reader;
                    -- From 16 on, who makes a role may hand it on and not yet take it.
                    IF NOT pg_has_role('trisignal_writer',
                                       CASE WHEN current_setting('server_version_num')::integer
                                                 >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
                        GRANT trisignal_writer TO CURRENT_USER;
                    END IF;
                EXCEPTION
                    WHEN duplicate_object OR unique_violation THEN
                        NULL;  -- another database of this server is migrated at the same moment
                    WHEN insufficient_privilege THEN
                        RAISE WARNING 'the roles trisignal_writer and trisignal_reader are not '
                            'there, and % may not create them; all works without. To have them, '
                            'let an administrator run: CREATE ROLE trisignal_reader; CREATE ROLE '
                            'trisignal_writer IN ROLE trisignal_reader; and then run: '
                            'trisignal db migrate', quote_ident(current_user);
                        RETURN false;
                END;
            END IF;

            IF NOT has_schema_privilege('trisignal_reader', here, 'USAGE') THEN
                EXECUTE format('GRANT USAGE ON SCHEMA %I TO trisignal_reader', here);
            END IF;
            -- Rows are compared in temporary tables before they are written.
            IF NOT has_database_privilege('trisignal_writer', current_database(), 'TEMPORARY') THEN
                EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO trisignal_writer',
                               current_database());
            END IF;
            -- The writer reads as a member of the reader. What it may do beyond that:
            FOR granted IN
                SELECT quote_ident(name)::regclass AS relation, writes
                FROM (VALUES
                    ('market_bars_ohlcv_1m', 'INSERT, UPDATE, DELETE'),
                    ('market_bars_ohlcv_1m_clean', 'INSERT, UPDATE, DELETE'),
                    ('bias_series_1m_v1', 'INSERT, UPDATE, DELETE'),
                    ('triangle_events_v1', 'INSERT, UPDATE, DELETE'),
                    ('signal_checkpoints', 'INSERT, UPDATE, DELETE'),
                    ('raw_files', 'INSERT, UPDATE, DELETE'),
                    ('raw_file_contracts', 'INSERT'),
                    ('raw_deliveries', 'INSERT, UPDATE, DELETE'),
                    ('dataset_conditions', 'INSERT, UPDATE'),
                    ('lead_contract_doubts', 'INSERT, UPDATE, DELETE'),
                    ('bar_gaps', 'INSERT, UPDATE, DELETE'),
                    ('bar_dates', 'INSERT, UPDATE'),
                    ('signal_dates', 'INSERT, UPDATE'),
                    ('data_quality_results', 'INSERT, UPDATE'),
                    ('symbol_registry', 'INSERT, UPDATE'),
                    ('data_ingest_runs', 'INSERT, UPDATE'),
                    ('quarantined_bars', 'INSERT, UPDATE'),
                    ('market_bars_revisions', 'INSERT'),
                    ('trisignal_schema', NULL),
                    ('quarantined_bars_in_points', NULL),
                    ('selected_bar_dates', NULL),
                    ('signal_dates_in_doubt', NULL),
                    ('signal_doubts', NULL),
                    ('session_gaps', NULL)
                ) AS rights (name, writes)
            LOOP
                EXECUTE format('REVOKE ALL ON %s FROM trisignal_reader, trisignal_writer',
                               granted.relation);
                EXECUTE format('GRANT SELECT ON %s TO trisignal_reader', granted.relation);
                IF granted.writes IS NOT NULL THEN
                    EXECUTE format('GRANT %s ON %s TO trisignal_writer',
                                   granted.writes, granted.relation);
                END IF;
            END LOOP;
            -- The numbers of new rows.
            FOR granted IN
                SELECT s.oid::regclass AS relation
                FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
                WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                  AND d.deptype IN ('a', 'i')
                  AND has_table_privilege('trisignal_writer', d.refobjid, 'INSERT')
            LOOP
                EXECUTE format('GRANT USAGE, SELECT ON SEQUENCE %s TO trisignal_writer',
                               granted.relation);
            END LOOP;
            REVOKE ALL ON FUNCTION ensure_time_partitions(regclass, timestamptz, timestamptz)
                FROM PUBLIC;
            GRANT EXECUTE ON FUNCTION ensure_time_partitions(regclass, timestamptz, timestamptz)
                TO trisignal_writer;
            GRANT EXECUTE ON FUNCTION signal_rules(text), signal_doubts_under(text)
                TO trisignal_reader;
            RETURN true;
        END $$;
        COMMENT ON FUNCTION grant_to_roles() IS
            'Creates the roles trisignal_writer and trisignal_reader if the server has none, and '
            'gives them exactly what they may do with the tables of trisignal in this database. '
            'False if the caller doesn''t own the tables, or may not create the roles.';

        SELECT grant_to_roles();
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DO $$
        DECLARE
            granted record;
        BEGIN
            FOR granted IN
                SELECT format('%s %s', CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                              oid::regclass) AS object, relacl AS acl FROM pg_class
                UNION ALL
                SELECT format('FUNCTION %s', oid::regprocedure), proacl FROM pg_proc
                UNION ALL
                SELECT format('SCHEMA %I', nspname), nspacl FROM pg_namespace
                UNION ALL
                SELECT format('DATABASE %I', datname), datacl FROM pg_database
                WHERE datname = current_database()
            LOOP
                IF EXISTS (SELECT FROM aclexplode(granted.acl)
                           WHERE grantee IN (SELECT oid FROM pg_roles WHERE rolname IN
                                             ('trisignal_writer', 'trisignal_reader'))) THEN
                    EXECUTE format('REVOKE ALL ON %s FROM trisignal_writer, trisignal_reader',
                                   granted.object);
                END IF;
            END LOOP;
        END $$;
        DROP FUNCTION grant_to_roles();
        GRANT EXECUTE ON FUNCTION ensure_time_partitions(regclass, timestamptz, timestamptz)
            TO PUBLIC;
        """
    )
