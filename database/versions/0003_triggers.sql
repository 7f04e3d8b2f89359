-- The database keeps the old version of every bar that is updated or removed, whoever does it: the
-- product, another program, or somebody by hand, on a table of bars or on one of its partitions.

CREATE FUNCTION keep_bar_revisions() RETURNS trigger
LANGUAGE plpgsql
-- A writer need not be let into the revisions.
SECURITY DEFINER
AS $$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    is_legacy CONSTANT boolean := TG_ARGV[0] = 'legacy';
    changed text;
    moved boolean;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        changed := format('SELECT o.*, true AS gone FROM %s o', TG_RELID::regclass);
    ELSIF NOT EXISTS (SELECT FROM old_bars) THEN
        RETURN NULL;
    ELSIF TG_OP = 'DELETE' THEN
        changed := 'SELECT o.*, true AS gone FROM old_bars o';
    ELSE
        -- A row without a new version under its key was given another key.
        changed := format(
            'SELECT o.*, n.symbol IS NULL AS gone '
            'FROM old_bars o LEFT JOIN new_bars n ON n.symbol = o.symbol AND n.ts = o.ts '
            'WHERE (n.symbol, n.open, n.high, n.low, n.close, n.volume, n.contract, %1$s) '
            'IS DISTINCT FROM '
            '(o.symbol, o.open, o.high, o.low, o.close, o.volume, o.contract, %2$s)',
            CASE WHEN is_legacy THEN 'n.verified, n.ingestion_run_id' ELSE 'n.source' END,
            CASE WHEN is_legacy THEN 'o.verified, o.ingestion_run_id' ELSE 'o.source' END);
    END IF;
    EXECUTE format(
        $keep$
        WITH kept AS (
            INSERT INTO market_bars_revisions (layer, symbol, ts, open, high, low, close, volume,
                contract, %3$s, kind, valid_from, valid_to, recorded_at)
            SELECT %1$L, c.symbol, c.ts, c.open, c.high, c.low, c.close, c.volume, c.contract, %4$s,
                   CASE WHEN c.gone THEN 'removed' ELSE 'updated' END, since, greatest(since, $1),
                   $1
            FROM (%2$s) c
            CROSS JOIN LATERAL (
                SELECT greatest(c.created_at, max(r.valid_to)) AS since
                FROM market_bars_revisions r
                WHERE r.symbol = c.symbol AND r.layer = %1$L AND r.ts = c.ts) AS before
            RETURNING kind
        )
        SELECT bool_or(kind = 'removed') FROM kept
        $keep$,
        TG_ARGV[0], changed,
        CASE WHEN is_legacy THEN 'verified, ingestion_run_id' ELSE 'source' END,
        CASE WHEN is_legacy THEN 'c.verified, c.ingestion_run_id' ELSE 'c.source' END)
    INTO moved USING moment;

    IF TG_OP = 'UPDATE' AND moved THEN
        -- Under its new key the row is there only from now on.
        EXECUTE format(
            'UPDATE %s b SET created_at = $1 FROM new_bars n '
            'WHERE b.symbol = n.symbol AND b.ts = n.ts AND NOT EXISTS '
            '(SELECT FROM old_bars o WHERE o.symbol = n.symbol AND o.ts = n.ts)',
            CASE WHEN is_legacy THEN 'market_bars_ohlcv_1m' ELSE 'market_bars_ohlcv_1m_clean' END)
        USING moment;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION keep_bar_revisions() IS
    'Trigger: copies the old version of every bar that a statement updates or removes into '
    'market_bars_revisions. Its argument is the layer.';
-- Laid on a table of one's own, with types of one's own, it would run one's own code as the owner.
REVOKE ALL ON FUNCTION keep_bar_revisions() FROM PUBLIC;

CREATE FUNCTION keep_revisions_of(bars regclass, layer text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER revisions_of_updates AFTER UPDATE ON %1$s '
        'REFERENCING OLD TABLE AS old_bars NEW TABLE AS new_bars '
        'FOR EACH STATEMENT EXECUTE FUNCTION keep_bar_revisions(%2$L)', bars, layer);
    EXECUTE format(
        'CREATE TRIGGER revisions_of_deletes AFTER DELETE ON %1$s '
        'REFERENCING OLD TABLE AS old_bars '
        'FOR EACH STATEMENT EXECUTE FUNCTION keep_bar_revisions(%2$L)', bars, layer);
    -- Truncating a partitioned table fires the triggers of its partitions too.
    IF (SELECT relkind FROM pg_class WHERE oid = bars) <> 'p' THEN
        EXECUTE format(
            'CREATE TRIGGER revisions_of_truncates BEFORE TRUNCATE ON %1$s '
            'FOR EACH STATEMENT EXECUTE FUNCTION keep_bar_revisions(%2$L)', bars, layer);
    END IF;
END $$;
COMMENT ON FUNCTION keep_revisions_of(regclass, text) IS
    'Makes the triggers of a table of bars or of one of its partitions: a statement fires only '
    'those of the table it names.';

DO $$
DECLARE
    layer record;
    bars regclass;
BEGIN
    EXECUTE format('ALTER FUNCTION keep_bar_revisions() SET search_path = pg_catalog, %I, pg_temp',
                   current_schema());
    EXECUTE format('ALTER FUNCTION keep_revisions_of(regclass, text) '
                   'SET search_path = pg_catalog, %I, pg_temp', current_schema());
    FOR layer IN SELECT * FROM (VALUES ('legacy', 'market_bars_ohlcv_1m'::regclass),
                                       ('clean', 'market_bars_ohlcv_1m_clean')) AS v (name, parent)
    LOOP
        FOR bars IN SELECT relid FROM pg_partition_tree(layer.parent) LOOP
            PERFORM keep_revisions_of(bars, layer.name);
        END LOOP;
    END LOOP;
END $$;
