"""Which version of a legacy date its clean bars were made from.

Going down keeps the column's table and drops the column: the next run over a date fills it again.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE bar_dates ADD COLUMN IF NOT EXISTS made_from timestamptz;
        COMMENT ON COLUMN bar_dates.made_from IS
            'Of clean bars made from legacy ones: completed_at of the legacy date as it was read. '
            'Where it is another one now, the clean bars are of an older version. Null for other '
            'bars, and for those made before this was kept.';
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE bar_dates DROP COLUMN made_from")
