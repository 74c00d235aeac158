"""What the GPU path gives on this machine, in one table: every kernel beside its twin, and how long it takes.

python -m tests.gpu.report [--json FILE] [--packages DIR] [--device cuda|cpu] [--quick] [--only SECTION]

Needs torch, triton, numpy, OpenCV, PyYAML and pydantic; what is missing may lie as wheels in DIR. With `--device cpu`
kernels are interpreted: that shows that this script works, and times nothing. Exits with 1 when something is wrong; a
goal that is missed is said, and wrong is something else.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.gpu.packages import add_packages
from tests.gpu.rows import Row, table

__all__ = ["main"]

SECTIONS = ("kernels", "crf", "networks", "engines", "batches", "video", "hops", "placement", "recovery")


def main(arguments: Sequence[str]) -> int:
    """Run the sections that are asked for; the exit code."""
    asked = _asked(arguments)
    if asked.packages is not None:
        print("added:", ", ".join(add_packages(asked.packages)) or asked.packages)
    if asked.device == "cpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")

    from engines.errors import EngineError
    from engines.kernels.launch import device_of_kernels

    try:
        device = device_of_kernels()
    except EngineError as error:
        print(f"error: {error}; --device cpu --quick runs the checks without a GPU", file=sys.stderr)
        return 1
    if device.type != asked.device:
        print(f"error: TRITON_INTERPRET chooses {device.type}, --device {asked.device}; unset it", file=sys.stderr)
        return 1
    started = time.monotonic()
    rows: list[Row] = []
    for section in asked.only or SECTIONS:
        try:
            rows += _rows_of(section, device, asked.quick)
        except ModuleNotFoundError as error:
            print(f"{section}: left out ({error}); it may lie as a wheel in --packages DIR", file=sys.stderr)
        print(f"{section}: done after {time.monotonic() - started:.0f} s", file=sys.stderr)
    facts = _facts(device)
    wrong = [row.work for row in rows if not row.is_right]
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(table(rows))
    tried = [row for row in rows if not row.refused]
    print(f"{len(tried) - len(wrong)} of {len(tried)} agree with their twins; {len(rows) - len(tried)} were refused")
    if device.type != "cuda":
        print("Interpreted on a CPU: nothing was timed, and nothing here was run on a GPU.")
    if asked.json is not None:
        told = {**facts, "seconds": round(time.monotonic() - started, 1), "rows": [row.as_json() for row in rows]}
        asked.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong else 0


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu interprets the kernels")
    parser.add_argument("--quick", action="store_true", help="tiny pictures: shows that this script works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    parser.add_argument("--packages", type=Path, metavar="DIR", help="wheels that are missing on this machine")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="may be given more than once")
    asked = parser.parse_args(arguments)
    if asked.device == "cpu" and not asked.quick:
        parser.error("--device cpu needs --quick: interpreted kernels take hours for real pictures")
    return asked


def _rows_of(section: str, device: Any, is_quick: bool) -> list[Row]:
    if section == "kernels":
        from tests.gpu.kernel_rows import kernel_rows

        return list(kernel_rows(device, is_quick))
    if section == "crf":
        from tests.gpu.crf_rows import crf_rows

        return list(crf_rows(device, is_quick))
    if section == "networks":
        from tests.gpu.network_rows import network_rows

        return list(network_rows(device, is_quick))
    if section == "batches":
        from tests.gpu.batch_rows import batch_rows

        return list(batch_rows(device, is_quick))
    if section == "video":
        from tests.gpu.video_rows import video_rows

        return list(video_rows(device, is_quick))
    if section == "hops":
        from tests.gpu.hop_rows import hop_rows

        return list(hop_rows(device, is_quick))
    if section == "placement":
        from tests.gpu.placement_rows import placement_rows

        return list(placement_rows(device))
    if section == "recovery":
        from tests.gpu.recovery_rows import recovery_rows

        return list(recovery_rows(device))
    from tests.gpu.engine_rows import engine_rows

    return list(engine_rows(device, is_quick))


def _facts(device: Any) -> dict[str, Any]:
    import platform

    import torch
    import triton

    from engines.machine import machine_kind

    is_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else "CPU, interpreted",
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))) if is_gpu else None,
        "machine": machine_kind(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton.__version__,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
