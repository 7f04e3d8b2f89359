"""Which source each date of bars comes from; clean dates of the API stand on their own.

Going down keeps the column, which earlier code leaves alone, and coming up again fills it anew.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Of a date whose legacy bars are broken, clean bars made from them are not believed either.
_SELECTED = """
    CREATE OR REPLACE VIEW selected_bar_dates AS
    WITH failed AS (
        SELECT DISTINCT symbol, date, asset
        FROM data_quality_results
        WHERE NOT passed AND severity = 'ERROR' AND asset IN ('legacy_bars', 'clean_bars')
    ), usable AS (
        SELECT DISTINCT ON (d.symbol, d.date) d.symbol, d.date, d.layer, d.bar_count, d.contract,
               d.first_ts, d.last_ts, d.fingerprint
        FROM bar_dates d
        LEFT JOIN symbol_registry r ON r.internal_symbol = d.symbol
        LEFT JOIN failed ON failed.symbol = d.symbol AND failed.date = d.date
                        AND failed.asset IN ({made_from}, d.layer || '_bars')
        WHERE d.state = 'complete'
          AND failed.symbol IS NULL
          AND (r.history_start IS NULL OR d.date >= r.history_start)
        -- 'clean' comes before 'legacy'.
        ORDER BY d.symbol, d.date, d.layer
    )
    SELECT usable.*,
           sum(fingerprint) OVER (PARTITION BY symbol ORDER BY date) AS history_fingerprint
    FROM usable;
"""


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE bar_dates ADD COLUMN IF NOT EXISTS source text;
        COMMENT ON COLUMN bar_dates.source IS
            'What the date''s bars were made from when it was last completed: dbn_files for legacy '
            'bars; legacy or databento_api for clean ones. Legacy bars take the place of clean '
            'ones of databento_api only if a run is told so.';
        UPDATE bar_dates d SET source = CASE d.layer WHEN 'legacy' THEN 'dbn_files' ELSE coalesce(
            (SELECT c.source FROM market_bars_ohlcv_1m_clean c
             WHERE c.symbol = d.symbol AND c.ts = d.first_ts), 'legacy') END;
        """
    )
    op.execute(
        _SELECTED.format(
            made_from="CASE WHEN d.source = 'databento_api' THEN '' ELSE 'legacy_bars' END"
        )
    )


def downgrade() -> None:
    op.execute(_SELECTED.format(made_from="'legacy_bars'"))
