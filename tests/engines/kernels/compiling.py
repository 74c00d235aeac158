"""Compiles every kernel for an NVIDIA GPU that need not be there.

python -m tests.engines.kernels.compiling [CAPABILITY ...]        (75, 80, 86, 89, 90; default 90)

In a process of its own: triton decides at its import whether kernels are interpreted.
"""

import sys
from typing import Any

from triton import compile as compiled
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from engines.kernels.blur import blur_kernel
from engines.kernels.composite import composite_kernel
from engines.kernels.lattice_blur import axis_kernel
from engines.kernels.mean_field import step_kernel
from engines.kernels.preprocess import resize_kernel
from engines.kernels.simplices import locate_kernel
from engines.kernels.splat import sum_kernel
from engines.kernels.upsample import planes_kernel

FLOATS = {"step_x", "step_y"}

CASES: list[tuple[Any, dict[str, str], dict[str, Any]]] = [
    (resize_kernel, {"image": "*u8", "out": "*u8"}, {"CHANNELS": 3, "SWAP": False, "BLOCK": 1024}),
    (resize_kernel, {"image": "*u8", "out": "*u8"}, {"CHANNELS": 3, "SWAP": True, "BLOCK": 1024}),
    (resize_kernel, {"image": "*u8", "out": "*u8"}, {"CHANNELS": 1, "SWAP": False, "BLOCK": 1024}),
    *(
        (planes_kernel, {"logits": f"*{kind}", "labels": "*u8", "alpha": "*u8"}, {**flags, "BLOCK": 128})
        for kind in ("fp32", "fp16", "bf16")
        for flags in ({"HAS_LABELS": True, "HAS_ALPHA": True},)
    ),
    (composite_kernel, dict.fromkeys(("image", "alpha", "background", "out"), "*u8"), {"BLOCK": 1024}),
    (blur_kernel, {"source": "*u8", "out": "*fp16", "weights": "*fp32"}, {"IS_LAST": False, "BLOCK": 1024}),
    *(
        (
            locate_kernel,
            {"image": "*u8", "matrix": "*fp32", "packing": "*i64", "keys": "*i64", "weights": "*fp32"},
            {"D": d, "SIDE": side, "BLOCK": 32},
        )
        for d, side in ((5, 8), (2, 4))
    ),
    *(
        (
            sum_kernel,
            {"values": "*fp32", "points": "*i32", "weights": "*fp32", "bounds": "*i64", "out": "*fp32"},
            {"IS_NAMED": is_named, "ROWS": rows, "STEP": 32, "COLUMNS": columns},
        )
        for is_named in (True, False)
        for rows, columns in ((2, 32), (64, 1))
    ),
    (axis_kernel, {"values": "*fp32", "out": "*fp32", "near": "*i32"}, {"ROWS": 64, "COLUMNS": 32}),
    *(
        (
            step_kernel,
            {"probs": "*fp32", "values": "*fp32", "corners": "*i32", "weights": "*fp32", "out": "*fp32"},
            {"IS_SOFTMAX": is_softmax, "N_CORNERS": n_corners, "ROWS": 64, "COLUMNS": columns},
        )
        for is_softmax, n_corners, columns in ((True, 9, 32), (True, 0, 2), (False, 6, 1))
    ),
    (blur_kernel, {"source": "*fp16", "out": "*u8", "weights": "*fp32"}, {"IS_LAST": True, "BLOCK": 1024}),
]
"""Kernel, types of its pointers, its constants."""


def main(capabilities: list[int]) -> None:
    """Compile all for each, also as a launch with every number 1 would: triton makes constants of ones."""
    for capability in capabilities:
        for kernel, pointers, constants in CASES:
            names = [name for name in kernel.arg_names if name not in constants and name not in pointers]
            ones = {name: 1 for name in names if name not in FLOATS}
            for known in (constants, {**constants, **ones}):
                plain = {name: "fp32" if name in FLOATS else "i32" for name in names}
                types = {**plain, **pointers, **dict.fromkeys(known, "constexpr")}
                source = ASTSource(kernel, {name: types[name] for name in kernel.arg_names}, known)
                made = compiled(source, target=GPUTarget("cuda", capability, 32))
                print(f"sm_{capability} {kernel.__name__} {known}: {len(made.asm['cubin'])} bytes")
        print(f"sm_{capability}: {len(CASES)} kernels")


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [90])
