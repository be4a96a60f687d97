"""What a submission may use of the machine."""

from typing import NamedTuple


class Limits(NamedTuple):
    """What a submission may use; times in seconds, sizes in bytes.

    `call_seconds` is the wall time of one call, `all_seconds` that of everything.
    """

    call_seconds: float = 20.0
    load_seconds: float = 120.0
    all_seconds: float = 1800.0
    cpu_seconds: int = 600
    memory_bytes: int = 2 << 30
    threads: int = 32
    file_bytes: int = 64 << 20
    tmp_bytes: int = 128 << 20
    output_bytes: int = 1 << 20


USUAL = Limits()
