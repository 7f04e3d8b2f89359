"""A case: one damaged file, made from a number and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from trisignal_pipeline_tests.fuzz import (
    container_damage,
    header_damage,
    mapping_damage,
    record_damage,
)
from trisignal_pipeline_tests.fuzz.specimens import Specimen, generated, vendor_files

_DAMAGES: dict[str, Callable[[random.Random, Specimen], bytes]] = {
    f"{module.__name__.rpartition('.')[2].removesuffix('_damage')}: {damage.__name__}": damage
    for module, damages in (
        (
            container_damage,
            (
                container_damage.flipped_bits,
                container_damage.cut,
                container_damage.hole,
                container_damage.appended,
                container_damage.shuffled_frames,
                container_damage.lying_frame,
                container_damage.bomb,
                container_damage.foreign,
            ),
        ),
        (
            header_damage,
            (
                header_damage.flipped_bits,
                header_damage.absurd_number,
                header_damage.wrong_length,
                header_damage.version,
                header_damage.times,
                header_damage.text,
                header_damage.another_header,
                header_damage.another_promise,
            ),
        ),
        (
            record_damage,
            (
                record_damage.flipped_bits,
                record_damage.order,
                record_damage.same_minute,
                record_damage.odd_prices,
                record_damage.odd_volumes,
                record_damage.odd_times,
                record_damage.odd_ids,
                record_damage.odd_kinds,
                record_damage.foreign_bytes,
            ),
        ),
        (
            mapping_damage,
            (
                mapping_damage.intervals,
                mapping_damage.two_names,
                mapping_damage.ids,
                mapping_damage.many,
            ),
        ),
    )
    for damage in damages
}

KINDS = tuple(_DAMAGES)


@dataclass(frozen=True, slots=True)
class Case:
    """A damaged file: what was done to which specimen, and the bytes that came of it.

    delivered_again   a later file of the same specimen, which contradicts it here and there
    """

    seed: int
    kind: str
    specimen: str
    content: bytes = field(repr=False)
    delivered_again: bytes = field(repr=False)


def make_case(seed: int) -> Case:
    """The case of `seed`: the same bytes on every machine that has the same specimens."""
    rng = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    real = vendor_files() if rng.random() < 0.3 else ()
    specimen = rng.choice(real or generated())
    content = _DAMAGES[kind](rng, specimen)
    again = rng.choice((record_damage.same_minute, record_damage.odd_prices, record_damage.order))
    return Case(seed, kind, specimen.name, content, again(rng, specimen))
