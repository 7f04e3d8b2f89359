"""Rejected bars in quarantine, and old versions of changed bars in revisions.

Going down stops the keeping, and keeps what was kept: neither can be made again.
"""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for part in ("tables", "triggers", "partitions"):
        _run(f"0003_{part}")


def downgrade() -> None:
    _run("0003_down")
    _run("0001_partitions")


def _run(name: str) -> None:
    statements = Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
    # Without parameters the driver sends the text as it is, `%` included, in one message.
    op.get_bind().exec_driver_sql(statements, execution_options={"no_parameters": True})
