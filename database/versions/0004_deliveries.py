"""How raw files were delivered: their jobs, what the vendor says of each day, lead contracts in doubt."""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
