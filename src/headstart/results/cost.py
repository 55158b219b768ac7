"""What a run was said to cost, and what it did cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Forecast:
    """What a run was said to cost before anything was trained, and what it did cost.

    Attributes:
        stages: Seconds by backbone and stage, such as "mobilenet_v2 finetune".
        seconds: Their sum: as it was said when all photos were read.
        disk_mb: What it adds to the disk, 10^6 bytes: the cache, and the run while it works.
        memory_mb: The most memory at a time.
        actual_seconds: What it took; None before the end.
        actual_memory_mb: The same of memory; None where the system does not tell.
        budget_seconds: The time it was to fit into; None without one.
        left_out: What was not tried for lack of time, in words.
        first_seconds: The sum as it was said before photos were read; None where too little was known.
    """

    stages: dict[str, float]
    seconds: float
    disk_mb: float
    memory_mb: float
    actual_seconds: float | None = None
    actual_memory_mb: float | None = None
    budget_seconds: float | None = None
    left_out: tuple[str, ...] = ()
    first_seconds: float | None = None
