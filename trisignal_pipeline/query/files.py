"""The catalogue of raw files, as people want to see it."""

from __future__ import annotations

from pathlib import Path

from trisignal_pipeline.query.tables import Table, read_table
from trisignal_pipeline.storage.connection import Connection


def catalogued_files(connection: Connection, raw_dir: Path, *, refused_only: bool = False) -> Table:
    """One row a file of `raw_dir`, by path within it; missing ones and listed ones that never came.

    verdict   verified, refused, or missing: gone since it was catalogued, or listed by a manifest
              and never there
    reason    why it was refused; what else is to be said of it
    serves    the registered symbols whose bars it can hold; none of a file that isn't verified
    from, to  the range it was made to hold, end excluded
    """
    return read_table(
        connection,
        """
        WITH seen AS (
            SELECT f.*, CASE WHEN f.missing_since IS NOT NULL THEN 'missing'
                             ELSE f.verdict END AS now,
                   CASE WHEN f.missing_since IS NULL AND f.verdict = 'verified' THEN ARRAY(
                       SELECT r.internal_symbol FROM symbol_registry r
                       WHERE r.dataset = f.dataset AND r.root = ANY(f.roots)
                         AND (f.stype_in IS DISTINCT FROM 'continuous'
                              OR concat_ws('.', r.root, r.roll_rule, r.rank) = ANY(f.symbols))
                       ORDER BY r.internal_symbol) END AS serves
            FROM raw_files f WHERE starts_with(f.path, %(folder)s)
        ), listed AS (
            SELECT substr(path, length(%(folder)s) + 1) AS file, now AS verdict,
                   nullif(concat_ws('; ',
                       CASE now WHEN 'missing' THEN
                           'it was taken out of the folder, or renamed' END,
                       reason,
                       CASE WHEN serves = '{}' THEN 'it serves no registered symbol' END,
                       CASE WHEN NOT listed AND now = 'verified' THEN
                           'manifest.json beside it doesn''t list it' END), '') AS reason,
                   dataset, symbols, serves, start_ts AS "from", end_ts AS "to",
                   record_count AS records, job_id AS job, size_bytes AS bytes
            FROM seen
            UNION ALL
            SELECT substr(d.folder || '/' || name, length(%(folder)s) + 1), 'missing',
                   'manifest.json lists it, and it never was there: download it', d.dataset, NULL,
                   NULL, NULL, NULL, NULL, d.job_id, NULL
            FROM raw_deliveries d, unnest(d.listed) AS name
            WHERE starts_with(d.folder || '/', %(folder)s)
              AND NOT EXISTS (SELECT FROM raw_files f WHERE f.path = d.folder || '/' || name)
        )
        SELECT * FROM listed WHERE NOT %(refused_only)s OR verdict = 'refused'
        ORDER BY file COLLATE "C"
        """,
        {"folder": f"{raw_dir}/", "refused_only": refused_only},
    )
