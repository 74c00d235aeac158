"""The ablation's tables, made of whatever outcomes are there; what is missing is named.

Figures are points of mIoU (of 100), the mean over the seeds and, behind it, half the distance between the best and
the worst seed. The trap: a difference smaller than the two spreads together says nothing.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from engines.bench.ablation.outcome import Outcome, Score
from engines.bench.ablation.plan import Ablation
from engines.bench.pages import table

__all__ = ["tables"]

Pick = Callable[[Score], float]
WAYS = ((False, False), (True, False), (False, True), (True, True))
"""(with CRF, with scales): the columns."""


def tables(plan: Ablation, outcomes: Sequence[Outcome], seeds: Sequence[int]) -> dict[str, str]:
    """Parts of the page by name: `scores`, `effects`, `missing`.

    Outcomes that belong to another ablation are left out.
    """
    own = [outcome for outcome in outcomes if outcome.ablation == plan.name]
    profiles = sorted({outcome.profile for outcome in own})
    scores = [_scores_of(plan, [o for o in own if o.profile == profile]) for profile in profiles]
    effects = [_effects_of(plan, [o for o in own if o.profile == profile], profile) for profile in profiles]
    return {
        "scores": "\n\n".join(scores) or "No row is trained yet.",
        "effects": "\n\n".join(effects) or "No row is trained yet.",
        "missing": _missing(plan, own, profiles or ["cpu"], seeds),
    }


def _scores_of(plan: Ablation, own: Sequence[Outcome]) -> str:
    lines = []
    for row in plan.rows:
        of_row = [outcome for outcome in own if outcome.row == row.name]
        for stride in sorted({score.output_stride for outcome in of_row for score in outcome.scores}, reverse=True):
            cells = [
                _cell([score.miou for score in _scores(of_row, stride, has_crf, has_scales)])
                for has_crf, has_scales in WAYS
            ]
            edge = _cell([score.boundary_f for score in _scores(of_row, stride, False, False)])
            edge_crf = _cell([score.boundary_f for score in _scores(of_row, stride, True, False)])
            lines.append([row.title, str(stride), str(len(of_row)), *cells, edge, edge_crf])
    head = ["network", "OS", "seeds", "plain", "+ CRF", "MS + flip", "MS + flip + CRF", "boundary F", "+ CRF"]
    conditions = _conditions(own)
    return f"{conditions}\n\n{table(head, lines, right=range(1, len(head)))}"


def _conditions(own: Sequence[Outcome]) -> str:
    machines = ", ".join(sorted({outcome.machine for outcome in own}))
    sizes = ", ".join(sorted({outcome.size for outcome in own}))
    steps = ", ".join(sorted({f"{outcome.epochs:g} epochs ({outcome.steps} steps)" for outcome in own}))
    minutes = [outcome.minutes for outcome in own if outcome.minutes is not None]
    took = f"; {statistics.median(minutes):.0f} minutes a training (median)" if minutes else ""
    crops = ", ".join(sorted({f"{outcome.crop_px}x{outcome.crop_px}" for outcome in own}))
    return (
        f"Profile `{own[0].profile}`: {steps}, crops of {crops}, pictures scored at {sizes} and counted at their own "
        f"size{took} on {machines}."
    )


def _effects_of(plan: Ablation, own: Sequence[Outcome], profile: str) -> str:
    """What the papers claim, each as a difference measured within each seed."""
    stride = max((score.output_stride for outcome in own for score in outcome.scores), default=16)
    lines = []
    for row in plan.rows:
        of_row = [outcome for outcome in own if outcome.row == row.name]
        if not of_row:
            continue
        lines.append([f"{row.title}: CRF", *_difference(of_row, of_row, stride, (False, False), (True, False))])
        lines.append([f"{row.title}: MS + flip", *_difference(of_row, of_row, stride, (False, False), (False, True))])
    for row in plan.rows:
        other = row.name.removesuffix("-step")
        if other == row.name:
            continue
        stepped = [outcome for outcome in own if outcome.row == row.name]
        poly = [outcome for outcome in own if outcome.row == other]
        if stepped and poly:
            lines.append([f"{plan.row(other).title}: poly for step", *_difference(stepped, poly, stride)])
    in_order = [row for row in plan.rows if row.policy == "poly" and any(o.row == row.name for o in own)]
    for before, after in pairwise(in_order):
        first = [outcome for outcome in own if outcome.row == before.name]
        second = [outcome for outcome in own if outcome.row == after.name]
        lines.append([f"{after.title}, for {before.title}", *_difference(first, second, stride)])
    head = ["change", "mIoU", "boundary F", "seeds"]
    return f"Profile `{profile}`, output stride {stride}:\n\n{table(head, lines, right=(1, 2, 3))}"


def _difference(
    before: Sequence[Outcome],
    after: Sequence[Outcome],
    stride: int,
    from_way: tuple[bool, bool] = (False, False),
    to_way: tuple[bool, bool] = (False, False),
) -> list[str]:
    pairs = [
        (first, second)
        for one in before
        for other in after
        if one.seed == other.seed
        for first in _scores([one], stride, *from_way)
        for second in _scores([other], stride, *to_way)
    ]
    miou = [second.miou - first.miou for first, second in pairs]
    edge = [second.boundary_f - first.boundary_f for first, second in pairs]
    return [_cell(miou, signed=True), _cell(edge, signed=True), str(len(pairs))]


def _scores(outcomes: Iterable[Outcome], stride: int, has_crf: bool, has_scales: bool) -> list[Score]:
    return [
        score
        for outcome in outcomes
        for score in outcome.scores
        if (score.output_stride, score.has_crf, score.has_scales) == (stride, has_crf, has_scales)
    ]


def _cell(values: Sequence[float], *, signed: bool = False) -> str:
    """Of 100, with half the spread where there are several."""
    if not values:
        return ""
    mean = f"{100 * statistics.mean(values):{'+' if signed else ''}.1f}"
    return mean if len(values) == 1 else f"{mean} ± {50 * (max(values) - min(values)):.1f}"


def _missing(plan: Ablation, own: Sequence[Outcome], profiles: Sequence[str], seeds: Sequence[int]) -> str:
    done = {(outcome.profile, outcome.row, outcome.seed) for outcome in own}
    lines = []
    for profile in profiles:
        for row in plan.rows:
            absent = [str(seed) for seed in seeds if (profile, row.name, seed) not in done]
            if absent:
                lines.append(f"- `{profile}` {row.name}: seed{'s' if len(absent) > 1 else ''} {', '.join(absent)}")
    return "Not trained yet:\n\n" + "\n".join(lines) if lines else "Every row and seed is there."
