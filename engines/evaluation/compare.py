"""Two segmenters on the same pictures: an engine and its checkpoint, two precisions, two trainings.

The trap: agreement says nothing of quality. Two engines may agree on 99.9 % and both be wrong, and a better one
agrees less; so both mIoUs stand beside it, with the interval of their difference.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from engines.data.pairs import Pair
from engines.errors import EngineMismatch
from engines.evaluation.evaluate import readers
from engines.evaluation.segmenters import Segmenter, label_map_of
from engines.evaluation.threads import in_order, scoring_threads
from engines.metrics import Agreement, Comparison, Counts
from engines.metrics.ratios import Ints

__all__ = ["Compared", "compare"]


@dataclass(frozen=True)
class Compared:
    """An agreement, and under which protocols it was measured."""

    protocols: tuple[str, str]
    agreement: Agreement

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is undefined is null."""
        found = self.agreement
        first, second = found.first, found.second
        return {
            "protocols": list(self.protocols),
            "images": first.n_images,
            "label_agreement": _plain(found.agreement),
            "band_agreement": _plain(found.band_agreement),
            "miou": [_plain(first.miou), _plain(second.miou)],
            "miou_difference": _plain(found.miou_difference),
            "miou_difference_95": [_plain(value) for value in found.difference_interval],
            "iou": {name: [_plain(value), _plain(second.iou[name])] for name, value in first.iou.items()},
            "boundary_f": [_plain(first.mean_boundary_f), _plain(second.mean_boundary_f)],
        }


def compare(
    first: Segmenter,
    second: Segmenter,
    pairs: Iterable[Pair],
    *,
    watch: Callable[[int], None] | None = None,
    n_threads: int | None = None,
) -> Compared:
    """Ask both about every picture.

    Args:
        pairs: as for `evaluate`.
        watch: told how many pictures are done, by the calling thread.

    Raises:
        EngineMismatch: they do not know the same classes in the same order.
        ValueError: `pairs` is empty.
    """
    if first.classes != second.classes:
        raise EngineMismatch(
            f"classes differ: {', '.join(first.classes)} against {', '.join(second.classes)}; "
            "label maps can be compared only where a number means the same"
        )
    comparison = Comparison(first.classes)

    def counted(read: Callable[[], Pair]) -> tuple[Counts, Counts, Ints]:
        pair = read()
        one, other = (label_map_of(s.logits(pair.image_bgr).transpose(2, 0, 1)) for s in (first, second))
        return comparison.count(one, other, pair.label_map)

    for done, counts in enumerate(in_order(counted, readers(pairs), n_threads or scoring_threads()), start=1):
        comparison.take(counts)
        if watch is not None:
            watch(done)
    return Compared((first.protocol, second.protocol), comparison.agreement())


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
