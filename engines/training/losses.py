"""The terms of the loss on labels: each a small function of one shared `log_softmax`.

Pixels labelled 255 count in none. A mean is a sum over this part of the batch divided by the weight of the
whole batch, which the caller knows beforehand (`PixelWeights`): parts on other processes, or computed after one
another, then add up to exactly the mean over all. The traps: under bf16 autocast logits arrive in bf16, and a
sum over 80 000 pixels in bf16 is noise, so everything here is float32; and logits that lie channels-last make
every pass over classes slow, so they are made contiguous once.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from engines.data import IGNORE
from engines.training.distributed import summed
from engines.training.recipe import Losses

__all__ = ["dice", "full_size_log_probs", "label_terms", "lovasz_softmax", "near_contour", "ohem", "pixel_weights"]


def label_terms(
    logits: Tensor, labels: Tensor, options: Losses, class_weights: Tensor | None, totals: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Every term that has a weight, unweighted.

    Args:
        logits: (n, C, h, w) at any stride.
        labels: (n, H, W) integer, 255 ignored.
        class_weights: (C,) or None.
        totals: the sums of `pixel_weights` over the whole batch.
    """
    log_probs = full_size_log_probs(logits, labels)
    labels = labels.long()
    weights = pixel_weights(labels, options, class_weights)
    terms: dict[str, Tensor] = {}
    if options.cross_entropy or options.boundary or options.ohem:
        nll = F.nll_loss(log_probs, labels, ignore_index=IGNORE, reduction="none")
        for name, weight in weights.items():
            terms[name] = (nll * weight).sum() / totals[name].clamp(min=1e-6)
        if options.ohem:
            base = weights.get("cross_entropy", _counted_weight(labels, class_weights))
            terms["ohem"] = ohem(nll, base, labels != IGNORE, options.ohem_probability, options.ohem_share)
    if options.dice:
        terms["dice"] = dice(log_probs, labels)
    if options.lovasz:
        terms["lovasz"] = lovasz_softmax(log_probs.exp(), labels)
    return terms


def full_size_log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """(n, C, h, w) logits -> (n, C, H, W) float32 log-probabilities, bilinear as in the engine."""
    full = F.interpolate(logits.float().contiguous(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    return full.log_softmax(dim=1)


def pixel_weights(labels: Tensor, options: Losses, class_weights: Tensor | None) -> dict[str, Tensor]:
    """(n, H, W) float32 for each term that is a weighted mean of cross-entropies."""
    weights: dict[str, Tensor] = {}
    labels = labels.long()
    if options.cross_entropy:
        weights["cross_entropy"] = _counted_weight(labels, class_weights)
    if options.boundary:
        weights["boundary"] = _counted_weight(labels, class_weights) * near_contour(labels, options.boundary_px)
    return weights


def _counted_weight(labels: Tensor, class_weights: Tensor | None) -> Tensor:
    is_counted = labels != IGNORE
    if class_weights is None:
        return is_counted.float()
    return class_weights[labels.masked_fill(~is_counted, 0)] * is_counted


def near_contour(labels: Tensor, radius_px: int) -> Tensor:
    """(n, H, W) integer labels -> bool: another class lies within a square of the radius; 255 is no class."""
    is_counted = labels != IGNORE
    as_bytes = labels.to(torch.uint8)
    highest = _spread(as_bytes.masked_fill(~is_counted, 0), radius_px, torch.maximum)
    lowest = _spread(as_bytes, radius_px, torch.minimum)
    return (highest != lowest) & is_counted


def _spread(x: Tensor, radius_px: int, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The largest or smallest byte of each square: rows, then columns, by shifts.

    Ten times as fast on a CPU as pooling, which has no bytes.
    """
    for axis in (1, 2):
        found = x.clone()
        for shift in range(1, min(radius_px, x.shape[axis] - 1) + 1):
            n = x.shape[axis] - shift
            before, after = found.narrow(axis, 0, n), found.narrow(axis, shift, n)
            before.copy_(pick(before, x.narrow(axis, shift, n)))
            after.copy_(pick(after, x.narrow(axis, 0, n)))
        x = found
    return x


def ohem(nll: Tensor, weights: Tensor, is_counted: Tensor, probability: float, share: float) -> Tensor:
    """Mean over the hard pixels of this part of the batch (Shrivastava et al. 2016, as used for pixels).

    Hard is a true-class probability below `probability`, but at least `share` of the counted pixels.
    """
    counted = nll.detach()[is_counted]
    if counted.numel() == 0:
        return nll.sum() * 0.0
    n_least = max(1, int(share * counted.numel()))
    bar = torch.topk(counted, n_least, sorted=True).values[-1]
    bar = torch.minimum(bar, torch.tensor(probability, device=nll.device).log().neg())
    is_hard = is_counted & (nll.detach() >= bar)
    kept = weights * is_hard
    return (nll * kept).sum() / kept.sum().clamp(min=1e-6)


def dice(log_probs: Tensor, labels: Tensor) -> Tensor:
    """1 - soft dice, averaged over the classes that occur; pooled over the batch (Milletari et al. 2016, eq. 1).

    Sums are pooled over all processes too; over accumulated parts they are not.
    """
    n_classes = log_probs.shape[1]
    labels = labels.long()
    is_counted = labels != IGNORE
    safe = labels.masked_fill(~is_counted, 0)
    probs = log_probs.exp()
    # Only the true class's probability is part of the overlap: gathered, not multiplied with a one-hot.
    of_truth = probs.gather(1, safe.unsqueeze(1)).squeeze(1) * is_counted
    overlap = probs.new_zeros(n_classes).scatter_add(0, safe.flatten(), of_truth.flatten())
    predicted = torch.einsum("nchw,nhw->c", probs, is_counted.to(probs.dtype))
    true = probs.new_zeros(n_classes).scatter_add(0, safe.flatten(), is_counted.flatten().to(probs.dtype))
    overlap, predicted, true = summed(overlap), summed(predicted), summed(true)
    scores = 1 - (2 * overlap + 1) / (predicted + true + 1)
    occurs = true > 0
    return torch.where(occurs, scores, 0).sum() / occurs.sum().clamp(min=1)


def lovasz_softmax(probs: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes that occur in this part of the batch (Berman et al. 2018, algorithm 1 and eq. 11)."""
    labels = labels.long()
    is_counted = labels != IGNORE
    flat = probs.movedim(1, -1)[is_counted]
    truth = labels[is_counted]
    losses = []
    for index in range(probs.shape[1]):
        is_class = (truth == index).float()
        n_true = is_class.sum()
        if n_true == 0:
            continue
        errors = (is_class - flat[:, index]).abs()
        ordered, order = errors.sort(descending=True)
        hit = is_class[order]
        # The Jaccard loss of the set of the k pixels with the largest errors, for every k; its steps are the gradient.
        missed = n_true - hit.cumsum(0)
        union = n_true + (1 - hit).cumsum(0)
        jaccard = 1 - missed / union
        steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        losses.append(ordered @ steps)
    return torch.stack(losses).mean() if losses else probs.sum() * 0.0
