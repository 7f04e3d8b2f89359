-- Tables of bars and biases that an earlier system left are plain. Each becomes the first, wide
-- partition of a new table of the same name: no row is copied unless a price was a float.

-- The partition spans the whole UTC years its rows lie in.
CREATE OR REPLACE FUNCTION pg_temp.adopt_as_partition(plain regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    schema_name text;
    plain_name text;
    adopted_name text;
    adopted text;
    whole text;
    owned record;
    statement text;
    statements text[];
    first_year timestamptz;
    year_after timestamptz;
BEGIN
    SELECT n.nspname, c.relname, c.relname || '_adopted'
    INTO schema_name, plain_name, adopted_name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = plain;
    whole := format('%I.%I', schema_name, plain_name);
    adopted := format('%I.%I', schema_name, adopted_name);

    statements := ARRAY(SELECT * FROM pg_temp.ownership(plain, whole))
               || ARRAY(SELECT * FROM pg_temp.remarks(plain, 'TABLE', whole));

    EXECUTE format('ALTER TABLE %s RENAME TO %I', whole, adopted_name);
    PERFORM pg_temp.key_by_symbol_and_ts(plain, plain_name, adopted_name);

    -- A partition can't have an identity column, and a sequence must outlive the partition.
    FOR owned IN
        SELECT attname AS name, attidentity <> '' AS is_identity,
               pg_get_serial_sequence(adopted, attname) AS sequence
        FROM pg_attribute
        WHERE attrelid = plain AND attnum > 0 AND NOT attisdropped
          AND pg_get_serial_sequence(adopted, attname) IS NOT NULL
    LOOP
        IF owned.is_identity THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP IDENTITY', adopted, owned.name);
            owned.sequence := format('%I.%I', schema_name,
                                     plain_name || '_' || owned.name || '_seq');
            EXECUTE format('CREATE SEQUENCE %s', owned.sequence);
            EXECUTE format('SELECT setval(%L, coalesce(max(%I), 0) + 1, false) FROM %s',
                           owned.sequence, owned.name, adopted);
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT nextval(%L)',
                           adopted, owned.name, owned.sequence);
            -- Unlike an identity column, a default wants the writer to have the sequence's leave.
            statements := statements || ARRAY(
                SELECT format('GRANT USAGE ON SEQUENCE %s TO %s', owned.sequence,
                              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
                FROM pg_class c, aclexplode(c.relacl) AS a
                WHERE c.oid = plain AND a.privilege_type = 'INSERT'
            ) || (SELECT format('ALTER SEQUENCE %s OWNER TO %s', owned.sequence, relowner::regrole)
                  FROM pg_class WHERE oid = plain);
        END IF;
        statements := statements
                   || format('ALTER SEQUENCE %s OWNED BY %s.%I', owned.sequence, whole, owned.name);
    END LOOP;

    EXECUTE format(
        'CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE, '
        'PRIMARY KEY (symbol, ts)) PARTITION BY RANGE (ts)', whole, adopted);
    FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
    END LOOP;

    EXECUTE format(
        'SELECT date_trunc(''year'', coalesce(min(ts), now()), ''UTC''), '
        'date_trunc(''year'', coalesce(max(ts), now()), ''UTC'') + interval ''1 year'' FROM %s',
        adopted) INTO first_year, year_after;
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                   whole, adopted, first_year, year_after);
END $$;

-- Give an adopted table the primary key (symbol, ts), which the new table shares with it.
CREATE OR REPLACE FUNCTION pg_temp.key_by_symbol_and_ts(
    plain regclass, plain_name text, adopted_name text
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT conname AS name, contype AS kind, pg_get_constraintdef(oid) AS definition
        FROM pg_constraint
        WHERE conrelid = plain AND contype IN ('p', 'u')
        ORDER BY contype
    LOOP
        IF found.definition = 'PRIMARY KEY (symbol, ts)' THEN
            EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', plain, found.name,
                           adopted_name || '_pkey');
            RETURN;
        END IF;
        -- Another primary key makes room and stays unique; a second (symbol, ts) would only cost.
        IF found.kind = 'p'
           OR found.definition IN ('UNIQUE (symbol, ts)', 'UNIQUE (ts, symbol)') THEN
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', plain, found.name);
        END IF;
        IF found.kind = 'p' AND found.definition <> 'PRIMARY KEY (ts, symbol)' THEN
            EXECUTE format('ALTER TABLE %s ADD %s', plain,
                           replace(found.definition, 'PRIMARY KEY', 'UNIQUE'));
        END IF;
    END LOOP;
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY (symbol, ts)', plain,
                   adopted_name || '_pkey');
END $$;

-- Bring the columns of an adopted table to the types the new one has.
CREATE OR REPLACE FUNCTION pg_temp.convert_columns(plain regclass, wanted jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    changes text;
BEGIN
    SELECT string_agg(
        format('ALTER COLUMN %1$I TYPE %2$s USING %3$s', a.attname, w.value,
            CASE WHEN a.atttypid = 'timestamp'::regtype
                     THEN format('%I AT TIME ZONE ''UTC''', a.attname)
                 WHEN a.atttypid IN ('real'::regtype, 'double precision'::regtype)
                     THEN format('%I::text::numeric::%s', a.attname, w.value)
                 ELSE format('%I::%s', a.attname, w.value) END), ', ')
    INTO changes
    FROM jsonb_each_text(wanted) AS w
    JOIN pg_attribute a ON a.attrelid = plain AND a.attname = w.key AND NOT a.attisdropped
    WHERE format_type(a.atttypid, a.atttypmod) <> w.value;
    IF changes IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s %s', plain, changes);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION pg_temp.refuse_what_cant_move(plain regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    relation pg_class := (SELECT c FROM pg_class c WHERE c.oid = plain);
    obstacle text;
BEGIN
    SELECT pg_describe_object(classid, objid, objsubid) INTO obstacle
    FROM pg_depend
    WHERE (refclassid = 'pg_class'::regclass AND refobjid = plain
           OR refclassid = 'pg_type'::regclass AND refobjid = relation.reltype)
      AND classid IN ('pg_proc'::regclass, 'pg_policy'::regclass, 'pg_publication_rel'::regclass)
    LIMIT 1;
    obstacle := CASE
        WHEN relation.relkind <> 'r' THEN 'it is not a plain table'
        WHEN relation.relrowsecurity THEN 'row-level security is enabled on it'
        WHEN EXISTS (SELECT FROM pg_inherits WHERE plain IN (inhrelid, inhparent))
            THEN 'it takes part in inheritance'
        ELSE obstacle || ' is bound to it' END;
    IF obstacle IS NOT NULL THEN
        RAISE EXCEPTION '% can''t become a partition: %', plain, obstacle
            USING HINT = 'undo that, migrate, and set it up again on the new table';
    END IF;
    SELECT string_agg(name, ', ') INTO obstacle
    FROM unnest(ARRAY['symbol', 'ts']) AS name
    WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = plain AND attname = name);
    IF obstacle IS NOT NULL THEN
        RAISE EXCEPTION '% has no column %, so its rows can''t be told apart', plain, obstacle
            USING HINT = 'rename the table, or give it the column';
    END IF;
END $$;

DO $$
DECLARE
    prices jsonb := '{"open": "numeric", "high": "numeric", "low": "numeric", "close": "numeric"}';
    key jsonb := '{"symbol": "text", "ts": "timestamp with time zone"}';
    bar jsonb := key || prices || '{"volume": "bigint"}';
    wanted jsonb := jsonb_build_object(
        'market_bars_ohlcv_1m', bar || '{"ts_ms": "bigint", "ingestion_run_id": "bigint"}',
        'market_bars_ohlcv_1m_clean', bar,
        'bias_series_1m_v1', key);
    plain regclass[];
    name text;
BEGIN
    -- One that is partitioned already went down to an earlier revision and comes up again.
    plain := ARRAY(SELECT to_regclass(t) FROM jsonb_object_keys(wanted) AS t
                   WHERE to_regclass(t) IS NOT NULL
                     AND NOT EXISTS (SELECT FROM pg_partitioned_table
                                     WHERE partrelid = to_regclass(t))
                   ORDER BY t);
    FOR i IN 1 .. coalesce(array_length(plain, 1), 0) LOOP
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', plain[i]);
        PERFORM pg_temp.refuse_what_cant_move(plain[i]);
    END LOOP;
    PERFORM pg_temp.set_views_aside(plain);
    FOR i IN 1 .. coalesce(array_length(plain, 1), 0) LOOP
        name := (SELECT relname FROM pg_class WHERE oid = plain[i]);
        PERFORM pg_temp.refuse_ambiguous_rows(plain[i], ARRAY['symbol', 'ts']);
        PERFORM pg_temp.set_references_aside(plain[i]);
        PERFORM pg_temp.convert_columns(plain[i], wanted -> name);
        PERFORM pg_temp.adopt_as_partition(plain[i]);
    END LOOP;
END $$;
