"""How a name, a manifest or a graph becomes one engine, and what is said when it does not."""

import json
from pathlib import Path

import pytest

from engines.errors import EngineMismatch, EngineNotFound
from engines.names import known_engines, resolve, search_folders
from engines.runtime import BACKENDS, backend_reason, open_engine
from engines.spec import ResizeRule
from tests.engines.runtime.graphs import write_engine, write_graph


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, an empty data folder and no zoo."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("SEGSTREAM_ENGINES", raising=False)
    monkeypatch.setattr("engines.names.ZOO", tmp_path / "zoo")
    return tmp_path


def test_a_name_gives_the_default_graph(world: Path) -> None:
    """Without a size the manifest's default is taken, with the classes and the rule it states."""
    manifest = write_engine(world / "zoo" / "tiny", sizes=((64, 32), (32, 32)))

    spec = resolve("tiny")

    assert spec.label == "tiny 64x32 fp32"
    assert spec.path == manifest.parent / "tiny-64x32-fp32.onnx"
    assert spec.output.classes == ("background", "person")
    assert spec.output.subject == 1
    assert spec.input.resize is ResizeRule.LETTERBOX


def test_size_and_precision_choose_the_graph(world: Path) -> None:
    """`NAME@WxH:precision` picks exactly that one, width first."""
    manifest = write_engine(world / "zoo" / "tiny", sizes=((64, 32), (32, 64)))
    tree = json.loads(manifest.read_text())
    tree["graphs"][1]["precision"] = "int8"
    manifest.write_text(json.dumps(tree))

    assert resolve("tiny@32x64").label == "tiny 32x64 int8"
    assert resolve("tiny:int8").label == "tiny 32x64 int8"
    assert resolve("tiny@64x32:fp32").label == "tiny 64x32 fp32"
    assert resolve(f"{manifest}@32x64").label == "tiny 32x64 int8"


def test_a_size_that_is_not_there_is_answered_with_those_that_are(world: Path) -> None:
    """The error lists the sizes and precisions of the engine."""
    write_engine(world / "zoo" / "tiny", sizes=((64, 32), (32, 64)))

    with pytest.raises(EngineNotFound, match=r"no graph 640x360; .* 64x32 fp32, 32x64 fp32"):
        resolve("tiny@640x360")
    with pytest.raises(EngineNotFound, match="no graph 64x32 int8"):
        resolve("tiny@64x32:int8")


def test_a_misspelt_name_is_answered_with_near_ones(world: Path) -> None:
    """Known names are told, and where they were looked for."""
    write_engine(world / "zoo" / "person", name="person")

    with pytest.raises(EngineNotFound, match=r"did you mean 'person'\? \(searched"):
        resolve("persn")


def test_without_any_engine_the_folders_are_told(world: Path) -> None:
    """The error says where an engine would have to lie."""
    with pytest.raises(EngineNotFound, match=r"none is installed.*segstream/engines"):
        resolve("person")


def test_nearer_folders_win(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEGSTREAM_ENGINES comes before the working folder, then the user's data, then the zoo."""
    folders = [world / "asked", world / "engines", world / "data" / "segstream" / "engines", world / "zoo"]
    monkeypatch.setenv("SEGSTREAM_ENGINES", str(folders[0]))
    assert [folder.resolve() for folder in search_folders()] == folders

    for folder in reversed(folders):
        write_engine(folder / "tiny")
        assert resolve("tiny").path.resolve().parent == folder / "tiny"

    assert [known.manifest_path.resolve().parent.parent for known in known_engines()] == folders


def test_a_manifest_may_lie_in_the_folder_itself(world: Path) -> None:
    """`./engines/NAME.json` is found as well as `./engines/NAME/NAME.json`; other JSON files are nobody's engine."""
    write_engine(world / "engines")
    (world / "engines" / "notes.json").write_text("{}")

    assert resolve("tiny").label == "tiny 64x32 fp32"
    assert [known.name for known in known_engines()] == ["tiny"]


def test_a_path_to_a_graph_uses_the_manifest_that_lists_it(world: Path) -> None:
    """The graph's file name is looked up in the manifests beside it, whatever they are called."""
    manifest = write_engine(world / "elsewhere")
    manifest.rename(manifest.with_name("another-name.json"))

    assert resolve(world / "elsewhere" / "tiny-64x32-fp32.onnx").name == "tiny"


def test_a_graph_without_a_manifest_speaks_for_itself(world: Path) -> None:
    """Size and classes are deduced from inputs and outputs."""
    spec = resolve(write_graph(world / "alone.onnx", 64, 32))

    assert spec.label == "alone 64x32 fp32"
    assert spec.output.classes == ("background", "class 1")
    assert spec.output.subject == 1
    assert len(spec.palette) == 2
    assert spec.sha256


def test_the_metadata_of_a_graph_is_read(world: Path) -> None:
    """Classes, palette, subject and resize rule may be in the file."""
    metadata = {
        "classes": '["road", "car"]',
        "palette": "[[1, 2, 3], [4, 5, 6]]",
        "subject": "",
        "resize": "stretch",
        "name": "street",
        "precision": "fp16",
    }

    spec = resolve(write_graph(world / "alone.onnx", 64, 32, metadata))

    assert spec.label == "street 64x32 fp16"
    assert spec.output.classes == ("road", "car")
    assert spec.output.subject is None
    assert spec.palette == ((1, 2, 3), (4, 5, 6))
    assert spec.input.resize is ResizeRule.STRETCH


def test_both_runtimes_tell_the_same_of_a_graph(world: Path) -> None:
    """Without ONNX Runtime, OpenVINO reads a graph's inputs and outputs alike."""
    for name in ("openvino", "onnxruntime"):
        if reason := backend_reason(name):
            pytest.skip(f"needs {name}: {reason}")
    from engines.runtime.onnxruntime_engine import load_session, session_facts
    from engines.runtime.openvino_engine import load_model, model_facts

    path = write_graph(world / "alone.onnx", 64, 32)

    ours, theirs = model_facts(load_model(path)), session_facts(load_session(path, n_threads=1, optimise=False))
    assert ours.inputs == theirs.inputs == {"image_bgr": ("uint8", (1, 32, 64, 3))}
    assert ours.outputs == theirs.outputs


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"classes": "person"}, "'classes' is not JSON"),
        ({"classes": '{"a": 1}'}, "expected a list"),
        ({"classes": '["a", "b"]', "palette": "[[0, 0, 0]]"}, "1 colours for 2 classes"),
        ({"subject": "dog"}, "'dog' is not one of the classes"),
        ({"resize": "crop"}, "expected letterbox or stretch"),
    ],
)
def test_wrong_metadata_is_told(world: Path, metadata: dict[str, str], told: str) -> None:
    """Each fault names the file and the key."""
    path = write_graph(world / "alone.onnx", 64, 32, metadata)

    with pytest.raises(EngineMismatch, match=told):
        resolve(path)


def test_a_file_that_changed_is_refused(world: Path) -> None:
    """The manifest's sha256 decides: one byte more is another engine."""
    manifest = write_engine(world / "zoo" / "tiny")
    graph = manifest.parent / "tiny-64x32-fp32.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")

    with pytest.raises(EngineMismatch, match="sha256"):
        resolve("tiny")


def test_a_spec_whose_file_changed_since_is_refused(world: Path) -> None:
    """A worker checks again what the supervisor resolved."""
    manifest = write_engine(world / "zoo" / "tiny")
    spec = resolve("tiny")
    (manifest.parent / "tiny-64x32-fp32.onnx").unlink()

    with pytest.raises(EngineMismatch, match="is missing"):
        open_engine(spec)


def test_a_broken_manifest_is_told_with_its_key(world: Path) -> None:
    """Neither bad JSON nor a wrong field passes, and the list shows the engine with its problem."""
    manifest = write_engine(world / "zoo" / "tiny")
    tree = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**tree, "palette": [[0, 0, 0]]}))

    with pytest.raises(EngineMismatch, match="palette has 1 colours for 2 classes"):
        resolve("tiny")
    assert "palette" in known_engines()[0].problem

    manifest.write_text("{")
    with pytest.raises(EngineMismatch, match="not valid JSON"):
        resolve("tiny")


def test_a_path_that_is_not_there_is_told(world: Path) -> None:
    """A missing graph, manifest or folder names what was expected."""
    for text in ("nowhere.onnx", "nowhere.json", "some/folder"):
        with pytest.raises(EngineNotFound, match="no engine at"):
            resolve(text)


def test_a_folder_may_be_named(world: Path) -> None:
    """`path/to/tiny` or `path/to/tiny/` opens the manifest of the same name inside."""
    write_engine(world / "deep" / "tiny")

    assert resolve("deep/tiny").name == resolve("deep/tiny/").name == "tiny"


def test_the_zoo_holds_what_it_lists() -> None:
    """Every graph that ships is there, with the content its manifest was written for."""
    for known in known_engines():
        assert not known.problem
        for graph in known.manifest.graphs if known.manifest else ():
            resolve(known.manifest_path.parent / graph.file)


def test_the_fake_needs_no_file(world: Path) -> None:
    """`fake@WxH?key=value` is an engine on every machine."""
    spec = resolve("fake@64x32?work_ms=2.5&resize=stretch")

    assert (spec.label, spec.input.resize) == ("fake 64x32 exact", ResizeRule.STRETCH)
    assert resolve("fake").label == "fake 512x288 exact"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fake@64", "expected WIDTHxHEIGHT"),
        ("fake@65x32", "multiples of 4"),
        ("fake?workms=3", "did you mean 'work_ms'"),
        ("fake?work_ms=soon", "work_ms"),
    ],
)
def test_a_wrong_fake_is_told(world: Path, text: str, told: str) -> None:
    """Size and options of the fake are checked like everything else."""
    with pytest.raises(EngineNotFound, match=told):
        resolve(text)


def test_every_backend_says_whether_it_works() -> None:
    """Each line of the table leads to a class with a docstring that answers."""
    for name in BACKENDS:
        reason = backend_reason(name)
        assert reason is None or "pip install" in reason or "NVIDIA" in reason
