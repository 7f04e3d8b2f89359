"""What an asset says of each partition: metadata, and the verdict of its check."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

import dagster as dg

from trisignal_pipeline.judging import Verdict
from trisignal_pipeline.orchestration.partition_checks import check_done
from trisignal_pipeline.orchestration.partition_metadata import (
    MetadataOfOne,
    add_metadata_per_partition,
)
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.verdicts import DateVerdict, record_verdicts


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """Collects what there is to say of an asset's partitions while their ranges are worked on.

    beside: the reports of the asset's other checks. Their metadata goes with their verdicts, not
        with the materialisations. Dates that this one passes over they pass over too, and their
        verdicts are recorded and told with its own.
    """

    asset: str
    check: str
    beside: tuple[PartitionReport, ...] = ()
    metadata: dict[str, MetadataOfOne] = field(default_factory=dict)
    verdicts: dict[str, DateVerdict] = field(default_factory=dict)
    passed_over: set[str] = field(default_factory=set)

    def add(
        self,
        symbol: str,
        day: date,
        verdict: Verdict,
        *,
        blocking: bool,
        description: str,
        metadata: MetadataOfOne,
    ) -> None:
        """Report one date. `blocking`: if the verdict is bad, nothing downstream may read it."""
        key = partition_key(symbol, day)
        self.metadata[key] = metadata
        self.verdicts[key] = DateVerdict(
            symbol, day, self.asset, self.check, description, verdict, blocking
        )

    def pass_over(self, symbol: str, day: date, reason: str, *, expected: bool) -> None:
        """Report a date on which nothing was done. The verdict on what is stored of it stands.

        `expected`: nothing was to be done, the market being closed.
        """
        verdict = Verdict(0, 0) if expected else Verdict(0, 0, {"NOTHING_TO_READ": 1})
        self.passed_over.add(partition_key(symbol, day))
        self.add(
            symbol,
            day,
            verdict,
            blocking=False,
            description=reason,
            metadata={"bars": 0, "passed_over": reason},
        )
        for other in self.beside:
            other.pass_over(symbol, day, reason, expected=expected)
            other.metadata.pop(partition_key(symbol, day))

    def record(self, connection: Connection, symbol: str, dagster_run_id: str) -> None:
        """Keep the symbol's verdicts in the database, where downstream assets look for them."""
        record_verdicts(
            connection,
            [
                verdict
                for key, verdict in self.verdicts.items()
                if verdict.symbol == symbol and key not in self.passed_over
            ],
            dagster_run_id,
        )
        for other in self.beside:
            other.record(connection, symbol, dagster_run_id)

    def events(
        self, context: dg.AssetExecutionContext, output: str = "result"
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        """What the asset yields at its end: the materialisations, then a verdict on each."""
        asset_key = dg.AssetKey(self.asset)
        add_metadata_per_partition(context, asset_key, self.metadata)
        yield dg.Output(None, output_name=output)
        yield from self.evaluations({})
        for report in self.beside:
            yield from report.evaluations(report.metadata)

    def evaluations(
        self, metadata: Mapping[str, MetadataOfOne]
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        """A verdict on each partition, with `metadata` of its own, and that there are no more."""
        for key, judged in self.verdicts.items():
            yield dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(self.asset),
                check_name=self.check,
                passed=judged.verdict.passed,
                severity=dg.AssetCheckSeverity(judged.severity),
                description=judged.description,
                metadata={**_shown(judged.verdict), **metadata.get(key, {})},
                partition=key,
            )
        yield check_done(self.asset, self.check)


def _shown(verdict: Verdict) -> Mapping[str, dg.MetadataValue]:
    shown: dict[str, dg.MetadataValue] = {
        "rows": dg.MetadataValue.int(verdict.rows),
        "failed": dg.MetadataValue.int(verdict.failed),
    }
    if verdict.by_check:
        shown["failed_by_rule"] = dg.MetadataValue.json(verdict.by_check)
    if verdict.cases:
        columns = list(dict.fromkeys(name for case in verdict.cases for name in case))
        shown["failure_cases"] = dg.MetadataValue.table(
            records=[dg.TableRecord(dict(case)) for case in verdict.cases],
            schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in columns]),
        )
    return shown


def share(part: int, whole: int) -> float:
    """`part` of `whole`; 1.0 where nothing was to be expected."""
    return 1.0 if whole == 0 else math.floor(part / whole * 10_000) / 10_000
