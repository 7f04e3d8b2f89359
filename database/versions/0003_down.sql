-- The tables stay: what is in them can't be made again.

DO $$
DECLARE
    made record;
BEGIN
    FOR made IN SELECT tgname, tgrelid::regclass AS bars FROM pg_trigger
                WHERE tgfoid = 'keep_bar_revisions()'::regprocedure LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', made.tgname, made.bars);
    END LOOP;
END $$;
DROP VIEW quarantined_bars_in_points;
DROP FUNCTION keep_bar_revisions();
DROP FUNCTION ensure_time_partitions(regclass, timestamptz, timestamptz);
DROP FUNCTION keep_revisions_of(regclass, text);
