"""How long many ranks take to exchange gradients, computed from a model and not measured.

DistributedDataParallel sums the gradients of a backward pass over the ranks in buckets, while the pass goes on with the
layers before: what is left after it is at least the last bucket. The sum of S bytes over R ranks takes in

- a ring 2 (R - 1) / R * S / bandwidth + 2 (R - 1) * latency (Patarasuk and Yuan, Bandwidth Optimal All-reduce
  Algorithms for Clusters of Workstations, 2009);
- a tree 2 S / bandwidth + 2 log2(R) * latency (Sanders, Speck and Traeff, Two-tree Algorithms for Full Bandwidth
  Broadcast, Reduction and Scan, 2009).

NCCL chooses between both by size and number of ranks.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

GRADIENT_BYTES = 138e6
"""Of U-Net SE-ResNeXt50, in float32: a quarter of its checkpoint, which has the weights four times."""
BUCKET_BYTES = 25 * 2**20
"""DistributedDataParallel's default."""
STEP_S = 0.079
"""A step of 16 images of 512 px on one H100, in bf16: 202 images per second, see the results."""
BACKWARD_SHARE = 2 / 3
"""Of a step: a backward pass has twice the multiplications of a forward pass."""


@dataclass(frozen=True, kw_only=True)
class Links:
    """The slowest connection that ranks exchange over."""

    name: str
    bytes_per_s: float
    """For each rank, in each direction."""
    latency_s: float
    """Of one message."""


NVLINK = Links(name="NVLink, 200 GB/s, 5 us", bytes_per_s=200e9, latency_s=5e-6)
NETWORK = Links(name="network, 25 GB/s for each GPU, 10 us", bytes_per_s=25e9, latency_s=10e-6)
WORLDS = ((8, NVLINK), (64, NETWORK), (512, NETWORK))
"""Ranks of a fold, and their links."""


def ring_s(size: float, ranks: int, links: Links) -> float:
    """Return the seconds for summing ``size`` bytes over the ranks in a ring."""
    return 2 * (ranks - 1) / ranks * size / links.bytes_per_s + 2 * (ranks - 1) * links.latency_s


def tree_s(size: float, ranks: int, links: Links) -> float:
    """Return the seconds for summing ``size`` bytes over the ranks in a tree."""
    return 2 * size / links.bytes_per_s + 2 * math.log2(ranks) * links.latency_s


def exchange_s(ranks: int, links: Links) -> float:
    """Return the seconds for all buckets, each in the way that is the faster one for it."""
    full, rest = divmod(GRADIENT_BYTES, BUCKET_BYTES)
    return full * _bucket_s(BUCKET_BYTES, ranks, links) + (_bucket_s(rest, ranks, links) if rest else 0.0)


def efficiency(ranks: int, links: Links) -> float:
    """Return a rank's images per second beside those of one that exchanges nothing."""
    exchange = exchange_s(ranks, links)
    exposed = max(_bucket_s(BUCKET_BYTES, ranks, links), exchange - BACKWARD_SHARE * STEP_S)
    return STEP_S / (STEP_S + exposed)


def _bucket_s(size: float, ranks: int, links: Links) -> float:
    return min(ring_s(size, ranks, links), tree_s(size, ranks, links))


def table() -> Iterator[str]:
    """Yield the lines of the page's table."""
    yield "| ranks of a fold | links | exchange | of the backward pass | efficiency |"
    yield "|---|---|---|---|---|"
    for ranks, links in WORLDS:
        seconds = exchange_s(ranks, links)
        share = seconds / (BACKWARD_SHARE * STEP_S)
        yield f"| {ranks} | {links.name} | {1e3 * seconds:.1f} ms | {share:.0%} | {efficiency(ranks, links):.3f} |"
