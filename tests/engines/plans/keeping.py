"""Keeping plans, also in processes of their own: imports little, so that a fresh interpreter starts soon."""

import os
import time
from pathlib import Path

from engines.plans.cache import BuildFacts, Plan, PlanCache, PlanManifest
from engines.plans.key import PlanKey

CODE = bytes(range(256)) * 40
"""Stands for a plan's native code."""


def kept(cache: PlanCache, wanted: PlanKey, code: bytes = CODE) -> Plan:
    """A plan under that key, kept as the builder keeps it."""
    manifest = PlanManifest(
        engine="tiny 64x32 fp32",
        source="tiny",
        key=wanted,
        plan="to be written",
        plan_bytes=1,
        plan_sha256="",
        facts=BuildFacts(seconds=1.5),
    )
    with cache.building(wanted.digest):
        return cache.keep(manifest, code)


def keep_one(folder: Path, wanted: PlanKey, holding_s: float) -> None:
    """Hold the lock for a while, note in what order, and keep a plan."""
    cache = PlanCache(folder)
    with cache.building(wanted.digest), (folder / "order").open("a", encoding="utf-8") as order:
        order.write("in ")
        order.flush()
        time.sleep(holding_s)
        order.write("out ")
    kept(cache, wanted, CODE + bytes([os.getpid() % 256]))


def replace_for_ever(folder: Path, wanted: PlanKey) -> None:
    """Until killed."""
    for number in range(10**6):
        kept(PlanCache(folder), wanted, CODE * 40 + number.to_bytes(4, "big"))
