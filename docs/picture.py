"""Makes the moving picture at the head of the README: `make picture`.

Runs the main job on `demo` as a user would, then turns its file into a GIF with a palette of its own.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import av
import av.filter

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "demo.gif"
SECONDS, WIDTH, HEIGHT, RATE = 4, 480, 270, 10


def main() -> None:
    """Run, convert, say how large it became."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "demo.mp4"
        command = [sys.executable, str(ROOT / "run_stream.py"), "run", "demo", "--effect", "split"]
        subprocess.run([*command, "--seconds", str(SECONDS), "--sink", f"file:{clip}"], check=True)
        gif_from(clip)
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size / 2**20:.1f} MiB")


def gif_from(clip: Path) -> None:
    """Write OUT: one palette for the whole clip, light dithering."""
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        graph = av.filter.Graph()
        source = graph.add_buffer(template=video, time_base=video.time_base)
        small = graph.add("scale", f"{WIDTH}:{HEIGHT}:flags=area")
        rate = graph.add("fps", str(RATE))
        split = graph.add("split")
        palette = graph.add("palettegen", "max_colors=128:stats_mode=diff")
        use = graph.add("paletteuse", "dither=bayer:bayer_scale=4:diff_mode=rectangle")
        sink = graph.add("buffersink")
        for one, other in ((source, rate), (rate, small), (small, split)):
            one.link_to(other)
        split.link_to(palette, 0, 0)
        split.link_to(use, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        for frame in container.decode(video):
            source.push(frame)
        source.push(None)
        with av.open(str(OUT), "w") as gif:
            stream = gif.add_stream("gif", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "pal8"
            while True:
                try:
                    frame = sink.pull()
                except (av.error.EOFError, av.error.BlockingIOError):
                    break
                gif.mux(stream.encode(frame))
            gif.mux(stream.encode(None))


if __name__ == "__main__":
    main()
