"""How raw files were delivered: their jobs, the vendor's word on each day, doubtful leads."""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
