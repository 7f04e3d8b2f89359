-- As before, and a partition of a table of bars gets the triggers that keep revisions. Whoever may
-- write rows gets the partitions they need, without the right to make tables.

CREATE OR REPLACE FUNCTION ensure_time_partitions(parent regclass, first timestamptz, last timestamptz)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
-- Bounds are written and read back as text, which must not depend on who calls.
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD'
AS $$
DECLARE
    layer text := CASE parent WHEN 'market_bars_ohlcv_1m'::regclass THEN 'legacy'
                              WHEN 'market_bars_ohlcv_1m_clean'::regclass THEN 'clean' END;
    wanted tstzmultirange := tstzmultirange(tstzrange(
        date_trunc('year', first), date_trunc('year', last) + interval '1 year'));
    missing tstzmultirange;
    gap record;
    schema_name text;
    parent_name text;
    partition text;
    made integer := 0;
BEGIN
    IF layer IS NULL AND parent <> 'bias_series_1m_v1'::regclass THEN
        RAISE EXCEPTION '% has no partitions by year', parent;
    END IF;
    IF first IS NULL OR last IS NULL OR last < first THEN
        RAISE EXCEPTION 'no partitions for % from % to %: the range is empty', parent, first, last;
    END IF;
    -- The second look is after the lock: another session may have made them meanwhile.
    FOR attempt IN 1 .. 2 LOOP
        SELECT wanted - coalesce(range_agg(tstzrange(
                   CASE WHEN bound[1] <> 'MINVALUE' THEN trim(bound[1], '''')::timestamptz END,
                   CASE WHEN bound[2] <> 'MAXVALUE' THEN trim(bound[2], '''')::timestamptz END)),
               '{}')
        INTO missing
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        CROSS JOIN regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS bound
        WHERE i.inhparent = parent AND bound IS NOT NULL;
        IF isempty(missing) THEN
            RETURN 0;
        END IF;
        IF attempt = 1 THEN
            PERFORM pg_advisory_xact_lock(x'75160010'::integer, parent::oid::integer);
        END IF;
    END LOOP;

    SELECT n.nspname, c.relname INTO schema_name, parent_name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent;
    FOR gap IN
        SELECT lower(part) AS first, upper(part) AS after,
               part = tstzrange(year, year + interval '1 year') AS is_whole_year
        FROM generate_series(lower(wanted), upper(wanted) - interval '1 year', '1 year') AS year,
             unnest(missing * tstzmultirange(tstzrange(year, year + interval '1 year'))) AS part
        ORDER BY 1
    LOOP
        partition := format('%I.%I', schema_name, parent_name || to_char(
            gap.first, CASE WHEN gap.is_whole_year THEN '"_y"YYYY'
                            ELSE '"_y"YYYY"_"MMDD"_"HH24MISS' END));
        -- Attaching, unlike creating in place, lets others read and write the table meanwhile.
        EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', partition, parent);
        IF layer IS NOT NULL THEN
            PERFORM keep_revisions_of(partition::regclass, layer);
        END IF;
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                       parent, partition, gap.first, gap.after);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION ensure_time_partitions(regclass, timestamptz, timestamptz) '
                   'SET search_path = pg_catalog, %I, pg_temp', current_schema());
END $$;

COMMENT ON FUNCTION ensure_time_partitions(regclass, timestamptz, timestamptz) IS
    'Makes the yearly (UTC) partitions that rows stamped from first to last, both included, still '
    'need, and returns how many. To be called before every write: where none is missing it only '
    'looks into the catalogue.';
