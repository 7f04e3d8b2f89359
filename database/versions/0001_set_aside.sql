-- What hangs on a table that is about to be replaced by a partitioned one of the same name: views
-- (also on views, also materialized), triggers, and foreign keys of other tables. Each is written
-- down as the statements that make it again, dropped, and made again when the new table stands.

CREATE TEMPORARY TABLE set_aside (
    position integer GENERATED ALWAYS AS IDENTITY,
    object text NOT NULL,
    statement text NOT NULL
) ON COMMIT DROP;

-- Default privileges may grant more to a new relation than the old one had.
CREATE OR REPLACE FUNCTION pg_temp.revoke_everything(relation regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    holder text;
BEGIN
    FOR holder IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS a
        WHERE c.oid = relation
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', relation, holder);
    END LOOP;
END $$;

-- The statements that give a new relation called `name` the owner and the privileges of this one.
CREATE OR REPLACE FUNCTION pg_temp.ownership(relation regclass, name text) RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT format('ALTER TABLE %s OWNER TO %s', name, relowner::regrole)
    FROM pg_class WHERE oid = relation
    UNION ALL
    SELECT format('SELECT pg_temp.revoke_everything(%L)', name)
    UNION ALL
    SELECT format('GRANT %s%s ON %s TO %s%s', a.privilege_type, ' (' || quote_ident(part) || ')',
                  name, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
    FROM (SELECT NULL AS part, coalesce(relacl, acldefault('r', relowner)) AS acl
          FROM pg_class WHERE oid = relation
          UNION ALL
          SELECT attname, attacl FROM pg_attribute
          WHERE attrelid = relation AND attacl IS NOT NULL) AS granted, aclexplode(acl) AS a
$$;

CREATE OR REPLACE FUNCTION pg_temp.remarks(
    relation regclass, kind text, name text
) RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT format('COMMENT ON %s %s IS %L', kind, name, obj_description(relation, 'pg_class'))
    WHERE obj_description(relation, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT format('COMMENT ON COLUMN %s.%I IS %L', name, attname, col_description(relation, attnum))
    FROM pg_attribute
    WHERE attrelid = relation AND attnum > 0 AND col_description(relation, attnum) IS NOT NULL
$$;

-- An empty search path makes every name come out with its schema.
CREATE OR REPLACE FUNCTION pg_temp.set_views_aside(replaced regclass[]) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    seen record;
    gone text[] := '{}';
    statement text;
    bound text;
BEGIN
    FOR seen IN
        WITH RECURSIVE dependent (id, depth) AS (
            SELECT t, 0 FROM unnest(replaced::oid[]) AS t
            UNION
            SELECT rule.ev_class, d.depth + 1
            FROM dependent d
            JOIN pg_depend link ON link.refclassid = 'pg_class'::regclass AND link.refobjid = d.id
                               AND link.classid = 'pg_rewrite'::regclass
            JOIN pg_rewrite rule ON rule.oid = link.objid AND rule.ev_class <> d.id
        )
        SELECT c.oid, c.oid::regclass::text AS name,
               CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind,
               format('CREATE %s %s%s AS %s%s',
                      CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END,
                      c.oid::regclass,
                      ' WITH (' || array_to_string(c.reloptions, ', ') || ')',
                      rtrim(pg_get_viewdef(c.oid), ';'),
                      CASE WHEN NOT c.relispopulated THEN ' WITH NO DATA' END) AS definition
        FROM dependent d JOIN pg_class c ON c.oid = d.id
        WHERE d.depth > 0
        GROUP BY c.oid, c.relkind, c.reloptions, c.relispopulated
        ORDER BY max(d.depth), c.oid
    LOOP
        FOR statement IN
            SELECT seen.definition
            UNION ALL SELECT * FROM pg_temp.ownership(seen.oid, seen.name)
            UNION ALL SELECT * FROM pg_temp.remarks(seen.oid, seen.kind, seen.name)
            UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = seen.oid
            UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = seen.oid
            UNION ALL SELECT pg_get_ruledef(oid) FROM pg_rewrite
                      WHERE ev_class = seen.oid AND rulename <> '_RETURN'
        LOOP
            INSERT INTO pg_temp.set_aside (object, statement) VALUES (seen.name, statement);
        END LOOP;
        gone := format('DROP %s %s', seen.kind, seen.name) || gone;
    END LOOP;
    FOREACH statement IN ARRAY gone LOOP
        BEGIN
            EXECUTE statement;
        EXCEPTION WHEN dependent_objects_still_exist THEN
            GET STACKED DIAGNOSTICS bound = PG_EXCEPTION_DETAIL;
            RAISE EXCEPTION 'a view can''t be set aside: %', bound
                USING HINT = 'drop what depends on it, migrate, and make it again';
        END;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION pg_temp.set_references_aside(replaced regclass) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT conrelid::regclass AS holder, conname AS name,
               pg_get_constraintdef(oid) AS definition
        FROM pg_constraint
        WHERE contype = 'f' AND confrelid = replaced AND conparentid = 0
        ORDER BY oid
    LOOP
        INSERT INTO pg_temp.set_aside (object, statement)
        VALUES (format('%s of %s', found.name, found.holder),
                format('ALTER TABLE %s ADD CONSTRAINT %I %s',
                       found.holder, found.name, found.definition));
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.holder, found.name);
    END LOOP;
    FOR found IN
        SELECT tgname AS name, pg_get_triggerdef(oid) AS definition, tgenabled AS enabled
        FROM pg_trigger
        WHERE tgrelid = replaced AND NOT tgisinternal
        ORDER BY oid
    LOOP
        INSERT INTO pg_temp.set_aside (object, statement)
        VALUES (found.name, found.definition);
        IF found.enabled <> 'O' THEN
            INSERT INTO pg_temp.set_aside (object, statement)
            VALUES (found.name, format(
                'ALTER TABLE %s %s TRIGGER %I', replaced,
                CASE found.enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
                                   ELSE 'ENABLE ALWAYS' END, found.name));
        END IF;
        EXECUTE format('DROP TRIGGER %I ON %s', found.name, replaced);
    END LOOP;
END $$;
