"""ONNX operators as calls of torch: what the graphs of `engines export` are made of, and their nearest relatives.

A rule turns one node into a function and its arguments. An argument is a tensor that is known now (a weight, a shape)
or one that comes with the picture; what torch wants as plain numbers must be known now. The trap: ONNX pads each side
on its own and names axes as it likes, torch pads both sides alike; where that matters a rule says so or refuses.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["RULES", "Call", "NotServed", "Operands"]


class NotServed(Exception):
    """This node, as it is written, has no rule."""


@dataclass(frozen=True)
class Call:
    """A function and what it is called with."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Operands:
    """What one node takes: its inputs in order (None where one is left out) and its attributes."""

    inputs: Sequence[Any]
    attributes: Mapping[str, Any]
    opset: int
    """The version of ONNX's own operators that the graph was written for."""

    def __getitem__(self, place: int) -> Any:
        value = self.get(place)
        if value is None:
            raise NotServed(f"its input {place} is missing")
        return value

    def get(self, place: int) -> Any:
        """An input that may be left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def numbers(self, place: int, attribute: str = "") -> list[Any] | None:
        """An input that must be known now, else the attribute of older graphs in its place; None without both."""
        value = self.get(place)
        if value is None:
            known = self.attributes.get(attribute)
            return None if known is None else list(known) if isinstance(known, Sequence) else [known]
        if not isinstance(value, Tensor):
            raise NotServed(f"its input {place} is only known while it runs")
        return list(value.reshape(-1).tolist())

    def name(self, attribute: str, default: str) -> str:
        """An attribute that is a word."""
        value = self.attributes.get(attribute, default)
        return value.decode() if isinstance(value, bytes) else str(value)


def _elementwise(function: Callable[..., Any]) -> Callable[[Operands], Call]:
    return lambda o: Call(function, tuple(o.inputs))


def _of_two(function: Callable[..., Any]) -> Callable[[Operands], Call]:
    def rule(o: Operands) -> Call:
        if len(o.inputs) != 2:
            raise NotServed(f"it has {len(o.inputs)} inputs, not two")
        return Call(function, (o[0], o[1]))

    return rule


def _softmax(o: Operands) -> Call:
    if o.opset < 13:
        raise NotServed(f"before opset 13 it takes all axes from one on together, the graph's is {o.opset}")
    return Call(torch.softmax, (o[0], o.attributes.get("axis", -1)))


def _conv(o: Operands) -> Call:
    if o.name("auto_pad", "NOTSET") != "NOTSET":
        raise NotServed("auto_pad is set")
    a = o.attributes
    pads = list(a.get("pads", (0, 0, 0, 0)))
    options = (list(a.get("strides", (1, 1))), pads[:2], list(a.get("dilations", (1, 1))), a.get("group", 1))
    if len(pads) != 4:
        raise NotServed("it is not two-dimensional")
    if pads[:2] == pads[2:]:
        return Call(F.conv2d, (o[0], o[1], o.get(2), *options))
    return Call(_conv_padded, (o[0], o[1], o.get(2), [pads[1], pads[3], pads[0], pads[2]], *options))


def _conv_padded(
    x: Tensor, weight: Tensor, bias: Tensor | None, pads: list[int], stride: Any, _: Any, *rest: Any
) -> Tensor:
    return F.conv2d(F.pad(x, pads), weight, bias, stride, 0, *rest)


def _max_pool(o: Operands) -> Call:
    pads, kernel, strides, is_ceil = _window(o)
    return Call(_largest, (o[0], pads, kernel, strides, list(o.attributes.get("dilations", (1, 1))), is_ceil))


def _average_pool(o: Operands) -> Call:
    pads, kernel, strides, is_ceil = _window(o)
    if (any(pads) and not o.attributes.get("count_include_pad", 0)) or is_ceil:
        raise NotServed("an average over a border that is not counted")
    return Call(_average, (o[0], pads, kernel, strides))


def _window(o: Operands) -> tuple[list[int], list[int], list[int], bool]:
    """Pads as torch writes them (left, right, above, below), kernel, strides, and whether sizes are rounded up."""
    a = o.attributes
    if o.name("auto_pad", "NOTSET") != "NOTSET" or len(a["kernel_shape"]) != 2:
        raise NotServed("auto_pad is set, or it is not two-dimensional")
    above, left, below, right = a.get("pads", (0, 0, 0, 0))
    strides, is_ceil = list(a.get("strides", (1, 1))), bool(a.get("ceil_mode", 0))
    return [left, right, above, below], list(a["kernel_shape"]), strides, is_ceil


def _largest(x: Tensor, pads: list[int], kernel: Any, stride: Any, dilation: Any, is_ceil: bool) -> Tensor:
    if any(pads):
        x = F.pad(x, pads, value=float("-inf"))
    return F.max_pool2d(x, kernel, stride, 0, dilation, is_ceil)


def _average(x: Tensor, pads: list[int], kernel: Any, stride: Any) -> Tensor:
    return F.avg_pool2d(F.pad(x, pads) if any(pads) else x, kernel, stride)


def _clip(o: Operands) -> Call:
    lowest, highest = o.numbers(1, "min"), o.numbers(2, "max")
    return Call(torch.clamp, (o[0], lowest[0] if lowest else None, highest[0] if highest else None))


def _reduced(function: Callable[..., Any]) -> Callable[[Operands], Call]:
    def rule(o: Operands) -> Call:
        axes = o.numbers(1, "axes")
        if not axes:
            if o.attributes.get("noop_with_empty_axes", 0):
                return Call(_identity, (o[0],))
            raise NotServed("it reduces all axes")
        return Call(function, (o[0], axes, bool(o.attributes.get("keepdims", 1))))

    return rule


def _arg_max(o: Operands) -> Call:
    if o.attributes.get("select_last_index", 0):
        raise NotServed("it takes the last of equal ones")
    return Call(torch.argmax, (o[0], o.attributes.get("axis", 0), bool(o.attributes.get("keepdims", 1))))


def _cast(o: Operands) -> Call:
    kind = int(o.attributes["to"])
    if kind not in DTYPES:
        raise NotServed(f"it casts to type {kind}")
    return Call(_to, (o[0], DTYPES[kind]))


def _expand(o: Operands) -> Call:
    return Call(_broadcast, (o[0], o.numbers(1)))


def _broadcast(x: Tensor, shape: list[int]) -> Tensor:
    missing = len(shape) - x.ndim
    own = [1] * missing + list(x.shape) if missing > 0 else list(x.shape)
    wanted = [1] * (len(own) - len(shape)) + list(shape)
    return x.expand([ours if theirs == 1 else theirs for ours, theirs in zip(own, wanted, strict=True)])


def _pad(o: Operands) -> Call:
    pads, axes = o.numbers(1, "pads"), o.numbers(3)
    mode = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}.get(o.name("mode", "constant"))
    if mode is None or pads is None:
        raise NotServed(f"it pads by {o.name('mode', 'constant')}")
    n_axes = len(pads) // 2
    sides: dict[int, tuple[int, int]] = {}
    for place, axis in enumerate(axes if axes is not None else range(n_axes)):
        sides[axis % 4 if axes is not None else axis + 4 - n_axes] = (pads[place], pads[place + n_axes])
    if min(sides) < 0 or any(any(sides.get(axis, (0, 0))) for axis in (0, 1)):
        raise NotServed("it pads more than height and width")
    outside = o.numbers(2, "value")
    value = outside[0] if outside and mode == "constant" else None
    return Call(F.pad, (o[0], [*sides.get(3, (0, 0)), *sides.get(2, (0, 0))], mode, value))


def _resize(o: Operands) -> Call:
    scales, sizes = o.numbers(2), o.numbers(3)
    how, where = o.name("mode", "nearest"), o.name("coordinate_transformation_mode", "half_pixel")
    if o.attributes.get("antialias", 0) or not (scales or sizes) or any(s != 1 for s in (scales or [])[:2]):
        raise NotServed("it smooths, or resizes more than height and width")
    size = sizes[2:] if sizes else None
    factors = [float(scale) for scale in scales[2:]] if scales and not sizes else None
    if how == "linear" and where in {"half_pixel", "pytorch_half_pixel", "align_corners"}:
        return Call(F.interpolate, (o[0], size, factors, "bilinear", where == "align_corners"))
    if how == "nearest" and where == "asymmetric" and o.name("nearest_mode", "round_prefer_floor") == "floor":
        return Call(F.interpolate, (o[0], size, factors, "nearest"))
    raise NotServed(f"it resizes by {how}, {where}")


def _slice(o: Operands) -> Call:
    starts, ends = o.numbers(1, "starts"), o.numbers(2, "ends")
    if starts is None or ends is None:
        raise NotServed("it has no bounds")
    axes = o.numbers(3, "axes") or list(range(len(starts)))
    steps = o.numbers(4) or [1] * len(starts)
    if min(axes) < 0 or min(steps) < 1:
        raise NotServed("it counts from the end, or backwards")
    cut = [slice(None)] * (max(axes) + 1)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(start, end, step)
    return Call(operator.getitem, (o[0], tuple(cut)))


def _gather(o: Operands) -> Call:
    places, axis = o[1], o.attributes.get("axis", 0)
    if not isinstance(places, Tensor) or places.ndim > 1:
        raise NotServed("it picks by what is only known while it runs")
    if places.ndim == 0:
        return Call(torch.select, (o[0], axis, int(places)))
    return Call(torch.index_select, (o[0], axis, places))


def _squeeze(o: Operands) -> Call:
    axes = o.numbers(1, "axes")
    if axes is None:
        raise NotServed("it squeezes whatever has one element")
    return Call(torch.squeeze, (o[0], tuple(axes)))


def _unsqueeze(o: Operands) -> Call:
    axes = o.numbers(1, "axes") or []
    if min(axes, default=0) < 0:
        raise NotServed("it counts axes from the end")
    return Call(_unsqueezed, (o[0], sorted(axes)))


def _unsqueezed(x: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def _reshape(o: Operands) -> Call:
    shape = o.numbers(1)
    if shape is None or 0 in shape:
        raise NotServed("it keeps a side of its input")
    return Call(torch.reshape, (o[0], shape))


def _batch_norm(o: Operands) -> Call:
    return Call(F.batch_norm, (o[0], o[3], o[4], o[1], o[2], False, 0.0, o.attributes.get("epsilon", 1e-5)))


def _quantise(o: Operands) -> Call:
    zero = o.get(2)
    if zero is not None and not isinstance(zero, Tensor):
        raise NotServed("its zero is only known while it runs")
    lowest, highest = (-128, 127) if zero is not None and zero.dtype == torch.int8 else (0, 255)
    axis = o.attributes.get("axis", 1)
    return Call(_quantised, (o[0], o[1], 0.0 if zero is None else zero.float(), axis, lowest, highest))


def _quantised(x: Tensor, scale: Tensor, zero: Any, axis: int, lowest: int, highest: int) -> Tensor:
    # The integer, held as a float: torch has no int8 convolution that every device knows.
    return torch.clamp(torch.round(x / _along(scale, x, axis)) + _along(zero, x, axis), lowest, highest)


def _dequantise(o: Operands) -> Call:
    zero = o.get(2)
    return Call(
        _dequantised, (o[0], o[1], zero.float() if isinstance(zero, Tensor) else zero, o.attributes.get("axis", 1))
    )


def _dequantised(q: Tensor, scale: Tensor, zero: Any, axis: int) -> Tensor:
    centred = q.to(scale.dtype)
    if zero is not None:
        centred = centred - _along(zero, q, axis)
    scaled: Tensor = centred * _along(scale, q, axis)
    return scaled


def _along(value: Any, x: Tensor, axis: int) -> Any:
    if not isinstance(value, Tensor) or value.ndim == 0 or value.numel() == 1:
        return value
    return value.reshape([-1 if place == axis else 1 for place in range(x.ndim)])


def _concat(o: Operands) -> Call:
    return Call(torch.cat, (list(o.inputs), int(o.attributes["axis"])))


def _identity(x: Tensor) -> Tensor:
    return x


def _to(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype)


DTYPES: dict[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16,
    11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""Of TensorProto.DataType."""

SAME_IN_TORCH: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs, "Add": torch.add, "And": torch.logical_and, "Div": torch.div, "Equal": torch.eq,
    "Exp": torch.exp, "Floor": torch.floor, "Greater": torch.gt, "GreaterOrEqual": torch.ge, "HardSwish": F.hardswish,
    "Identity": _identity, "IsInf": torch.isinf, "IsNaN": torch.isnan, "Less": torch.lt, "LessOrEqual": torch.le,
    "Log": torch.log, "MatMul": torch.matmul, "Mul": torch.mul,
    "Neg": torch.neg, "Not": torch.logical_not, "Or": torch.logical_or, "Pow": torch.pow, "Relu": torch.relu,
    "Sigmoid": torch.sigmoid, "Sqrt": torch.sqrt, "Sub": torch.sub, "Tanh": torch.tanh, "Where": torch.where,
}  # fmt: skip
"""Same operands, same order."""

RULES: dict[str, Callable[[Operands], Call]] = {
    **{name: _elementwise(function) for name, function in SAME_IN_TORCH.items()},
    "ArgMax": _arg_max,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "DequantizeLinear": _dequantise,
    "Expand": _expand,
    "Gather": _gather,
    "GlobalAveragePool": lambda o: Call(torch.mean, (o[0], [2, 3], True)),
    "HardSigmoid": lambda o: Call(
        _hard_sigmoid, (o[0], o.attributes.get("alpha", 0.2), o.attributes.get("beta", 0.5))
    ),
    "LeakyRelu": lambda o: Call(F.leaky_relu, (o[0], o.attributes.get("alpha", 0.01))),
    "Max": _of_two(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _of_two(torch.minimum),
    "Pad": _pad,
    "QuantizeLinear": _quantise,
    "ReduceLogSumExp": _reduced(torch.logsumexp),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "Transpose": lambda o: Call(torch.permute, (o[0], list(o.attributes["perm"]))),
    "Unsqueeze": _unsqueeze,
}  # fmt: skip
"""Operator to rule; what is not here is refused by name."""


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(alpha * x + beta, 0.0, 1.0)
