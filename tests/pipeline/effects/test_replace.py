"""Another background: a colour, a gradient, an image, a video."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from configs import ConfigError
from pipeline.effects import effect_from_text
from pipeline.effects.backdrop import gradient
from pipeline.effects.replace import Cutout, Replace
from pipeline.sources.synthetic import read_number
from tests.pipeline.effects.scenes import Scene, person_scene
from tests.pipeline.sources.clips import write_clip


def _behind(scene: Scene) -> np.ndarray:
    return np.asarray(scene.matte.alpha == 0)


@pytest.mark.parametrize(
    ("text", "bgr"),
    [
        ("cutout", (64, 177, 0)),
        ("cutout:black", (0, 0, 0)),
        ("cutout:#112233", (0x33, 0x22, 0x11)),
        ("replace:white", (255, 255, 255)),
    ],
)
def test_a_flat_colour_stands_behind_the_subject(text: str, bgr: tuple[int, int, int]) -> None:
    """Behind, each pixel is the colour; in front, each is the captured one."""
    scene = person_scene()

    painted = scene.painted(effect_from_text(text))

    inside = scene.matte.alpha == 255
    assert (painted[_behind(scene)] == np.array(bgr)).all()
    np.testing.assert_array_equal(painted[inside], scene.image_bgr[inside])


def test_without_a_value_a_gradient_is_drawn() -> None:
    """It has many tones, no steps that show, and is the same each time."""
    scene = person_scene()

    painted = scene.painted(Replace())

    drawn = gradient(96, 160)
    np.testing.assert_array_equal(painted[_behind(scene)], drawn[_behind(scene)])
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 500
    assert np.abs(np.diff(drawn.astype(np.int16), axis=1)).max() < 8


@pytest.mark.parametrize(("width", "height"), [(401, 101), (101, 401), (49, 31), (161, 97)])
def test_an_image_covers_the_frame_and_keeps_its_shape(tmp_path: Path, width: int, height: int) -> None:
    """No bars, no stretching: a circle stays one, and the overhang is cut off evenly."""
    picture = np.full((height, width, 3), (200, 60, 20), np.uint8)
    radius = min(width, height) // 4
    cv2.circle(picture, (width // 2, height // 2), radius, (20, 220, 240), -1)
    cv2.imwrite(str(tmp_path / "b.png"), picture)
    scene = person_scene()
    scene.matte.alpha.fill(0)

    painted = scene.painted(effect_from_text(f"replace:{tmp_path / 'b.png'}"))

    rows, columns = np.nonzero(painted[..., 1] > 140)
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    expected = (2 * radius + 1) * max(160 / width, 96 / height)
    # Where the circle is larger than the frame it is cut; else it is round and in the middle.
    assert abs(wide - min(expected, 160)) <= 4
    assert abs(high - min(expected, 96)) <= 4
    assert abs(rows.mean() - 47.5) < 2
    assert abs(columns.mean() - 79.5) < 2


def test_a_mix_lets_the_background_shine_through() -> None:
    """At half, a black cut-out darkens what is behind to half its light."""
    scene = person_scene()

    painted = scene.painted(Cutout(background="black").with_strength(0.5))

    behind = _behind(scene)
    assert np.abs(painted[behind] - scene.image_bgr[behind] / 2).max() <= 1


def test_a_video_runs_behind_the_subject(tmp_path: Path) -> None:
    """At 0.4 s of the stream, the clip of 25 pictures a second shows its 11th, whichever frames came before."""
    clip = write_clip(tmp_path / "b.mp4")
    scene = person_scene(320, 240)
    scene.matte.alpha.fill(0)

    painted = scene.painted(effect_from_text(f"replace:{clip}"), pts_ns=400_000_000)

    assert read_number(painted) == 11


@pytest.mark.parametrize("name", ["b.jpg", "b.mp4"])
def test_a_file_that_is_no_picture_is_refused(tmp_path: Path, name: str) -> None:
    """The refusal names the file and what would do."""
    path = tmp_path / name
    path.write_text("not a picture")
    effect = effect_from_text(f"replace:{path}")

    with pytest.raises(ConfigError, match=f"backdrop .*{name}: .*pass a"):
        effect.open(person_scene().format)


def test_a_file_of_sound_alone_is_refused(tmp_path: Path) -> None:
    """FFmpeg reads it, but nothing can be shown."""
    import wave

    with wave.open(str(tmp_path / "b.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    effect = effect_from_text(f"replace:{tmp_path / 'b.wav'}")

    with pytest.raises(ConfigError, match="no video"):
        effect.open(person_scene().format)
