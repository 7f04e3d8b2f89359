-- Make again what was set aside.

DO $$
DECLARE
    made record;
BEGIN
    FOR made IN SELECT object, statement FROM pg_temp.set_aside ORDER BY position LOOP
        BEGIN
            EXECUTE made.statement;
        EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION '% can''t be made again on the new tables: %', made.object, SQLERRM
                USING HINT = 'drop it, migrate, and make it again by hand';
        END;
    END LOOP;
END $$;
