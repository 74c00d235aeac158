"""The entry point of a worker process: what is settled before the loop begins and after it ends."""

import faulthandler
import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from configs import ConfigError
from engines.errors import DeviceLost, EngineError
from pipeline.errors import StreamError
from pipeline.lifeline import Lifeline
from pipeline.link import remove_socket_folder
from pipeline.process import DEVICE_LOST
from pipeline.worker import Worker

__all__ = ["main"]

_LOOK_S = 0.5
_GRACE_S = 5.0
"""For a worker to see the end of its lifeline and close its files."""


def main(fd: int) -> None:
    """Entry point of the child process; `fd` is its end of the lifeline."""
    faulthandler.enable()
    lifeline = Lifeline.inherited(fd)
    received = lifeline.receive()
    if received is None:
        return
    job, _ = received
    _watch_parent(Path(job["folder"]))
    _settle(job)
    worker = Worker(job, lifeline)
    code = 0
    try:
        worker.run()
    except BaseException as error:  # noqa: BLE001 - the supervisor decides what a death means
        code = DEVICE_LOST if isinstance(error, DeviceLost) else 1
        worker.say(
            {
                "type": "failed",
                "error": type(error).__name__,
                "why": str(error),
                # A lost GPU is met by another process, not by ending the run.
                "expected": isinstance(error, StreamError | EngineError | ConfigError) and code != DEVICE_LOST,
                "lost": error.backend if isinstance(error, DeviceLost) else None,
                "traceback": traceback.format_exc(),
            }
        )
    try:
        worker.close()
    except Exception as error:  # noqa: BLE001
        if not code:
            print(f"{worker.name}: while closing: {error}", file=sys.stderr)
            code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of decoders and encoders may be stuck in native code; everything of ours is closed by now.
    os._exit(code)


def _settle(job: dict[str, Any]) -> None:
    name = f"segstream:{job['name']}"
    with suppress(OSError):  # only a name for `top`
        Path("/proc/self/comm").write_text(name[:15], encoding="ascii")
    threading.current_thread().name = name
    if "segment" not in job["stages"]:
        os.nice(5)  # the engine is the slowest: whoever feeds it yields to it (ARCHITECTURE.md, decision 11)
    if job.get("opencv_threads") and job["stages"] != ["segment"]:
        import cv2

        cast("Any", cv2).setNumThreads(job["opencv_threads"])


def _watch_parent(folder: Path) -> None:
    """End this process when its parent is gone and the lifeline's end-of-file was not seen to: stuck in native code."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        time.sleep(_GRACE_S)
        remove_socket_folder(folder)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
