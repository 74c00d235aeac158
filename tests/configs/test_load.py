"""Files, overrides, and refusals that name the place."""

import pytest

from configs import ConfigError, Options, load


class Inner(Options):
    """A group."""

    sigma_px: float = 1.0


class Outer(Options):
    """A file."""

    blur: Inner = Inner()
    streams: tuple[Inner, ...] = ()
    name: str = "x"


def test_overrides_win_over_the_file(tmp_path) -> None:
    """The command line has the last word, also inside lists."""
    path = tmp_path / "a.yaml"
    path.write_text("blur: {sigma_px: 3}\nstreams: [{sigma_px: 4}]\n")

    made = load(Outer, path, ["blur.sigma_px=5", "streams.0.sigma_px=6"])

    assert (made.blur.sigma_px, made.streams[0].sigma_px) == (5.0, 6.0)


def test_an_unknown_key_is_refused_with_its_near_matches(tmp_path) -> None:
    """File, dotted key and the likely spelling stand in one line."""
    path = tmp_path / "a.yaml"
    path.write_text("blur: {sigma: 3}\n")

    with pytest.raises(ConfigError, match=r"a.yaml: blur.sigma: unknown key; did you mean 'sigma_px'"):
        load(Outer, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blur.sigma_px=wide", "blur.sigma_px"),
        ("blur", "expected dotted.key=value"),
        ("name.first=1", "name"),
        ("blur.sigma_px={", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_refused(text, message) -> None:
    """Every kind of mistake is a ConfigError that shows what was typed or where it belongs."""
    with pytest.raises(ConfigError, match=message):
        load(Outer, None, [text])


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "\x00"])
def test_a_file_that_is_no_config_is_refused(tmp_path, content) -> None:
    """A list, broken YAML and binary rubbish: one line each."""
    path = tmp_path / "a.yaml"
    path.write_text(content)

    with pytest.raises(ConfigError, match=r"a\.yaml"):
        load(Outer, path)


def test_a_missing_file_is_named(tmp_path) -> None:
    """The path and the reason are told."""
    with pytest.raises(ConfigError, match="No such file"):
        load(Outer, tmp_path / "none.yaml")


@pytest.mark.parametrize("key", ["streams.3.sigma_px", "streams.3", "streams.first"])
def test_a_place_beyond_a_list_says_which_there_are(tmp_path, key) -> None:
    """`--set sources.3.path=x` with one source was called 'below a value', which helped nobody."""
    path = tmp_path / "a.yaml"
    path.write_text("streams: [{sigma_px: 4}]\n")

    with pytest.raises(ConfigError, match=r"is no place in a list of 1 \(places: 0 to 0\)"):
        load(Outer, path, [f"{key}=1"])
