"""The first schema: made in an empty database, or around the tables an earlier system left there.

Taking over keeps every row, every extra column, and the views that read the tables. Going down
drops only what can be made again (views, functions, checks): no table, no column, no row.
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_UP = (
    "means_of_adoption",
    "set_aside",
    "adopt",
    "bars",
    "signals",
    "bookkeeping",
    "registry",
    "partitions",
    "views",
    "comments",
    "restore",
)


def upgrade() -> None:
    for part in _UP:
        _run(part)


def downgrade() -> None:
    _run("down")


def _run(part: str) -> None:
    statements = Path(__file__).with_name(f"0001_{part}.sql").read_text(encoding="utf-8")
    # Without parameters the driver sends the text as it is, `%` included, in one message.
    op.get_bind().exec_driver_sql(statements, execution_options={"no_parameters": True})
