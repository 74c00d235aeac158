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
from engines.kernels.preprocess import resize_kernel
from engines.kernels.upsample import planes_kernel

FLOATS = {"step_x", "step_y"}

CASES: list[tuple[Any, dict[str, str], dict[str, Any]]] = [
    (resize_kernel, {"image": "*u8", "out": "*u8"}, {"SWAP": False, "BLOCK": 1024}),
    (resize_kernel, {"image": "*u8", "out": "*u8"}, {"SWAP": True, "BLOCK": 1024}),
    *(
        (planes_kernel, {"logits": f"*{kind}", "labels": "*u8", "alpha": "*u8"}, {**flags, "BLOCK": 128})
        for kind in ("fp32", "fp16", "bf16")
        for flags in ({"HAS_LABELS": True, "HAS_ALPHA": True},)
    ),
    (composite_kernel, dict.fromkeys(("image", "alpha", "background", "out"), "*u8"), {"BLOCK": 1024}),
    (blur_kernel, {"source": "*u8", "out": "*fp16", "weights": "*fp32"}, {"IS_LAST": False, "BLOCK": 1024}),
    (blur_kernel, {"source": "*fp16", "out": "*u8", "weights": "*fp32"}, {"IS_LAST": True, "BLOCK": 1024}),
]
"""Kernel, types of its pointers, its constants."""


def main(capabilities: list[int]) -> None:
    """Compile all for each."""
    for capability in capabilities:
        for kernel, pointers, constants in CASES:
            types = {}
            for name in kernel.arg_names:
                plain = "fp32" if name in FLOATS else "i32"
                types[name] = "constexpr" if name in constants else pointers.get(name, plain)
            made = compiled(ASTSource(kernel, types, constants), target=GPUTarget("cuda", capability, 32))
            print(f"sm_{capability} {kernel.__name__} {constants}: {len(made.asm['cubin'])} bytes")
        print(f"sm_{capability}: {len(CASES)} kernels")


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [90])
