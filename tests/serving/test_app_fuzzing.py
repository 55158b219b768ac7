"""Mutated pictures and mutated requests are answered, and never by a failure of the server."""

import random
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from served import Served, awkward_pictures, heic_picture, serving

from headstart.base.settings import Serving

ANSWERED = {200, 413, 415, 422}
"""What may come of a picture, whatever it is."""


@pytest.fixture(scope="module")
def served(garments: Path) -> Iterator[Served]:
    with serving(
        [garments],
        Serving(max_megapixels=4, max_files=8, max_megabytes=4),
    ) as running:
        yield running


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The bytes of a file changed as transfers, disks and adversaries change them."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        place = chance.randrange(len(changed) + 1) if changed else 0
        match chance.randrange(7):
            case 0 if place < len(changed):
                changed[place] ^= 1 << chance.randrange(8)
            case 1 if place < len(changed):
                changed[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del changed[place:]
            case 3:
                del changed[place : place + chance.randrange(1, 40)]
            case 4:
                changed[place:place] = chance.randbytes(chance.randrange(1, 40))
            case 5:
                changed[place : place + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
            case _:
                other = chance.randrange(len(changed) + 1)
                changed[place:place] = changed[other : other + chance.randrange(1, 200)]
    return bytes(changed)


def ask_with_mutations(served: Served, count: int, seed: int) -> dict[int, int]:
    """How often each status came."""
    chance = random.Random(seed)
    originals = [*awkward_pictures().values(), heic_picture()]
    statuses: dict[int, int] = {}
    for _ in range(count):
        content = mutated(chance.choice(originals), chance)
        got = served.client.post("/v1/predict", content=content, headers={"Content-Type": "image/jpeg"})
        statuses[got.status_code] = statuses.get(got.status_code, 0) + 1
    return statuses


def test_mutated_pictures_are_answered_or_told(served: Served) -> None:
    statuses = ask_with_mutations(served, 60, seed=0)
    assert statuses.keys() <= ANSWERED
    assert {200, 422} <= statuses.keys()


@pytest.mark.slow
def test_2000_mutated_pictures_and_memory_stays(served: Served) -> None:
    ask_with_mutations(served, 200, seed=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert ask_with_mutations(served, 2000, seed=2).keys() <= ANSWERED
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def call_every_operation(served: Served, examples: int, *, with_other_names: bool) -> int:
    """Make requests as OpenAPI says they may be and as it says they may not; return how many were checked.

    A picture that OpenAPI lets be any bytes need not be one, so what it allows may be refused.
    """
    import schemathesis  # here, for it takes a second that not every worker needs to spend
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    # What is too much is refused before it is looked at: 413, which schemathesis does not count as refused.
    checks = {"negative_data_rejection": {"expected-statuses": ["400", "404", "405", "413", "415", "422"]}}
    config = schemathesis.Config.from_dict({"checks": checks})
    schema = schemathesis.openapi.from_url(f"http://{served.host}/openapi.json", config=config)
    known = {"name": "garments", "version": str(served.shelf.model().version)}
    count = 0

    def call(case: Any) -> None:
        nonlocal count
        count += 1
        case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=PATIENCE_S)

    for found in schema.get_all_operations():
        operation: Any = found.ok()
        own = {name: known[name] for name in known if f"{{{name}}}" in operation.path}
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            for path_parameters in [own, None] if own and with_other_names else [own or None]:
                strategy = operation.as_strategy(mode, path_parameters=path_parameters)
                with suppress(Unsatisfiable):  # of an operation without parameters nothing is wrong
                    limits(examples)(given(strategy)(call))()  # type: ignore[no-untyped-call]
    return count


def limits(examples: int) -> settings:
    return settings(
        max_examples=examples,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def test_what_openapi_allows_and_forbids_is_answered_as_it_says(served: Served) -> None:
    assert call_every_operation(served, 2, with_other_names=False) > 30


@pytest.mark.slow
def test_2000_requests_of_what_openapi_allows_and_forbids(served: Served) -> None:
    assert call_every_operation(served, 60, with_other_names=True) >= 2000
