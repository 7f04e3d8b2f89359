"""What Dagster moves between assets: nothing. Rows move through PostgreSQL."""

from __future__ import annotations

import dagster as dg

from trisignal_pipeline.errors import WrongRunError


class NothingStored(dg.IOManager):
    """The IO manager for assets that write their rows themselves; resource key `io_manager`.

    Dagster hands it the empty output of every asset, once for all partitions of a run. Its own
    default refuses more than one partition, and would write a file for each.
    """

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Keep nothing.

        Raises:
            WrongRunError: the asset handed over a value, which would be lost.
        """
        if obj is not None:
            name = context.asset_key.to_user_string() if context.has_asset_key else context.name
            raise WrongRunError(
                f"{name}: the asset returned a value; write it to a table "
                "and yield an Output of None"
            )

    def load_input(self, context: dg.InputContext) -> None:
        """Refuse: there is nothing to load.

        Raises:
            WrongRunError: always.
        """
        raise WrongRunError(
            f"{context.name}: nothing is handed from asset to asset; name the upstream asset in "
            "`deps` and read its table"
        )
