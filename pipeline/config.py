"""The options of a run, as a YAML file or the command line gives them.

Sources, sinks and effects are texts in the command line's own grammar (`rtsp://...`, `file:out.mp4`,
`blur:12`), so that one grammar serves both; they are read here once, so that a wrong one is refused
before any process starts.
"""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from configs import Options
from pipeline.settings import MatteOptions

__all__ = ["BatchOptions", "CrfOptions", "RestartOptions", "RunConfig", "StreamConfig"]


class StreamConfig(Options):
    """One source and what becomes of it."""

    source: str
    """A camera number, a device, an rtsp:// or http(s):// address, a file, `synthetic` or `demo`."""
    sinks: tuple[str, ...] = ()
    """`window`, `file:PATH`, `browser[:PORT]`, `frames:DIR`, `masks:DIR`, `jsonl:PATH`, `null`;
    empty: window or browser."""
    effect: str = ""
    """`NAME[:VALUE]`; empty: the run's effect."""

    @field_validator("source", mode="before")
    @classmethod
    def _camera_number(cls, source: Any) -> Any:
        return str(source) if isinstance(source, int) and not isinstance(source, bool) else source

    @field_validator("sinks", mode="before")
    @classmethod
    def _null_is_a_sink(cls, sinks: Any) -> Any:
        # YAML reads a bare `null` as nothing; here it is the name of a sink.
        return ["null" if one is None else one for one in sinks] if isinstance(sinks, list | tuple) else sinks


class CrfOptions(Options):
    """The dense CRF between segment and render."""

    method: Literal["off", "auto", "fast", "exact", "reference"] = "off"
    """auto: what the engine's manifest says, its parameters included. fast: keeps a camera's rate. exact: the
    reference's labels, compiled. reference: pydensecrf, the slowest. Under live pacing a method that cannot hold the
    source's rate gives way to a lighter one, and at last to none."""
    preset: Literal["crf-readme", "deeplab"] = "deeplab"
    """`deeplab` raised the mIoU of the person engine on all sets tried, `crf-readme` lowered it on two of three."""
    iterations: int = Field(5, ge=1, le=50)


class BatchOptions(Options):
    """Frames of different streams that go to the engine in one call, where its graph takes more than one."""

    max: int = Field(0, ge=0, le=16)
    """At most so many; 0: one a stream, up to 8, where the backend gains by it (GPUs do, processors do not). One stream
    is never batched."""
    wait_ms: float = Field(0.0, ge=0, le=1000)
    """How long the first frame of a batch may wait for others. Without waiting a batch is what has gathered while the
    engine worked on the one before."""


class RestartOptions(Options):
    """How often a worker may die, and who takes its place."""

    max_restarts: int = Field(3, ge=0)
    window_s: float = Field(60.0, gt=0)
    device_losses: int = Field(2, ge=1)
    """With `backend: auto`: a backend that lost the GPU so often within the window is given up for the next one."""
    standby: int = Field(0, ge=0, le=1)
    """1: a second process keeps the engine open and takes over when the first one dies; it costs the engine's memory
    once more, on the GPU too."""
    beat_s: float = Field(1.0, gt=0.05)
    """How often a worker says that it lives."""
    missed_beats: int = Field(3, ge=2)
    """After so many it is taken for dead and killed."""
    work_timeout_s: float = Field(20.0, gt=0)
    """A stage that is known to be slow may take so long for one frame. Work on a GPU that is not done after it is taken
    for hung: the worker ends as one whose GPU is lost."""
    open_timeout_s: float = Field(60.0, gt=0)
    """Time for a worker to become ready: engines are compiled, sources opened."""


class RunConfig(Options):
    """Everything that `run` needs."""

    streams: tuple[StreamConfig, ...] = Field((), max_length=16)
    engine: str = "person"
    """`NAME[@WxH][:precision]` or a path."""
    engines: tuple[str, ...] = ()
    """Others that may be swapped in while running; slots are sized for the largest."""
    backend: str = "auto"
    """`auto`: the best that opens here; a name is used or refused."""
    build: Literal["never", "background", "wait"] = "background"
    """Where TensorRT and a GPU are, and no plan of the engine fits: stream without TensorRT; build one beside the
    stream, which runs on the next best backend until then; or build it before the stream starts."""
    arithmetic: Literal["auto", "f32"] = "auto"
    """`auto` lets the engine calculate in bf16 where the processor is made for it; `f32` forbids that."""
    effect: str = "blur"
    strength: float = Field(1.0, ge=0, le=2)
    pacing: Literal["auto", "live", "lossless"] = "auto"
    crf: CrfOptions = CrfOptions()
    matte: MatteOptions = MatteOptions()
    stability: float = Field(0.0, ge=0, le=1)
    """How strongly logits are fused with those of the frames before; 0: not at all, 1: the longest memory."""
    size: str = ""
    """Wanted of a camera, or made by `synthetic` and `demo`: `WxH`, `WxH@FPS`."""
    mirror: bool = False
    rate_hz: float | None = Field(None, gt=0, le=1000)
    """Release a file's frames at this rate instead of its own, as a camera would."""
    loop: bool = False
    """Play a file again and again."""
    hwaccel: Literal["auto", "cuda", "none"] = "none"
    """Who decodes files and network streams. cuda: an NVIDIA GPU where that works, told where it does not; auto: the
    same from 1080p on, silently; none: the processor."""
    codec: Literal["libx264", "h264_nvenc", "hevc_nvenc"] = "libx264"
    """What `file:` encodes with; the latter two are an NVIDIA GPU's, and libx264 where they do not work."""
    max_frames: int | None = Field(None, gt=0)
    seconds: float | None = Field(None, gt=0)
    slots: int = Field(0, ge=0, le=64)
    """Frames that may be in the corridor at once, for each stream; 0: as many as its stages need."""
    threads: int = Field(0, ge=0)
    """Processors that the engine may use; 0: chosen by the machine and the pacing."""
    placement: Literal["auto", "fused", "split"] = "auto"
    """Which stages share a process. `split`: each has its own; `fused`: all between capture and the sinks share one, so
    that pixels can stay on a GPU; `auto`: fused where a GPU is expected to serve, else split."""
    workers: tuple[tuple[str, ...], ...] = ()
    """Neighbouring stages that share a process, all of them named; it wins over `placement`. Empty: as that says."""
    batch: BatchOptions = BatchOptions()
    tap: str = ""
    """A folder for the planes of every frame at the engine's size, one .npz a frame; empty: none."""
    diary: bool = True
    """Time stamps per stage; off measures what they cost."""
    restart: RestartOptions = RestartOptions()

    @field_validator("effect")
    @classmethod
    def _effect(cls, text: str) -> str:
        return text or "blur"

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, tree: Any) -> Any:
        # `crf: reference` in a file is short for `crf: {method: reference}`; YAML reads a bare `off` as False.
        if isinstance(tree, dict) and isinstance(tree.get("crf"), str | bool):
            method = tree["crf"] if isinstance(tree["crf"], str) else ("fast" if tree["crf"] else "off")
            tree = {**tree, "crf": {"method": method}}
        return tree
