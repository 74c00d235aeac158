"""The table of every version on every backend: what is measured, remembered and drawn."""

from dataclasses import replace

import pytest
import torch

from engines.bench.speed import measure, series
from engines.bench.speed.measure import CRF, network_records
from engines.bench.speed.networks import NETWORKS, PAPER_SIZE, SIZES, Network
from engines.bench.speed.page import write_page
from engines.bench.speed.records import Record, Records
from engines.bench.synthetic import settled
from engines.errors import EngineError
from engines.models.deeplab import ModelConfig, build
from engines.size import DEFAULT_SIZE, Size

RECORD = Record(
    network="v3 ResNet-101 OS8", width=512, height=512, backend="torch", detail="torch eager", machine="here",
    ms_p50=900.0, ms_lowest=850.0, ms_p95=1000.0, n_runs=3, gmac=170.0, parameters=58_000_000, load_average=0.1,
)  # fmt: skip
TINY_MODEL = {"version": "v1", "backbone": "resnet18", "aspp_channels": 8}
TINY = Network("tiny", "v1", "backbones", TINY_MODEL, sizes=(Size(64, 32),))
MARKS = "".join(f"<!-- {name}: made by -->\n<!-- end of {name} -->\n" for name in ("machine", "networks", "crf"))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_every_network_of_the_table_is_a_possible_one(network) -> None:
    """The options of each row pass the model's own checks, and its size suits an engine."""
    assert network.config.version.replace("plus", "+") == network.version
    assert all(side % 32 == 0 for size in network.sizes for side in size)


def test_names_are_cells_of_a_file_so_they_are_apart() -> None:
    """Two networks of one name would overwrite each other's figures."""
    assert len({network.name for network in NETWORKS}) == len(NETWORKS)


def test_figures_survive_and_later_ones_win(tmp_path) -> None:
    """What one run wrote the next one reads; measuring a cell again replaces its figure."""
    Records(tmp_path / "speed.jsonl").add([RECORD])
    Records(tmp_path / "speed.jsonl").add([replace(RECORD, ms_p50=800.0), replace(RECORD, machine="elsewhere")])

    known = Records(tmp_path / "speed.jsonl")

    assert [record.ms_p50 for record in known.of_machine("here").values()] == [800.0]
    assert known.machines == ["here", "elsewhere"]


def test_a_damaged_line_is_named(tmp_path) -> None:
    """File and line, and what to do."""
    (tmp_path / "speed.jsonl").write_text('{"network": "half\n')

    with pytest.raises(EngineError, match=r"speed\.jsonl:1: .*remove the line"):
        Records(tmp_path / "speed.jsonl")


def test_only_what_is_missing_is_measured(tmp_path, monkeypatch) -> None:
    """A series that was stopped goes on at the cell where it was, and `again` starts over."""
    asked: list[tuple[str, tuple[int, int]]] = []

    def pretend(network, size, budget_s):
        asked.append((network.name, size))
        return [replace(RECORD, network=network.name, width=size[0], height=size[1])]

    monkeypatch.setattr(series, "network_records", pretend)
    monkeypatch.setattr(series, "machine_line", lambda: "here")
    known = Records(tmp_path / "speed.jsonl")
    known.add([RECORD])

    series.measure_missing(known, ["v3 ResNet-101 OS8"], 0.0, None, again=False, say=lambda line: None)
    assert asked == [("v3 ResNet-101 OS8", DEFAULT_SIZE)]

    series.measure_missing(known, ["v3 ResNet-101 OS8"], 0.0, None, again=True, say=lambda line: None)
    assert len(asked) == 1 + len(SIZES)


def test_norms_are_settled_before_time_is_taken() -> None:
    """Features of a fresh deep network shrink to nothing; after settling the last norm's output is of order one."""
    torch.manual_seed(0)
    layers = [torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1, bias=False), torch.nn.BatchNorm2d(3)) for _ in range(12)]
    model = torch.nn.Sequential(*layers)
    noise = torch.rand(1, 3, 16, 16) * 2 - 1

    before = model.eval()(noise).std()
    after = settled(model)(noise).std()

    assert not model.training
    assert before < 0.1
    assert after > 0.5


def test_an_untrained_network_has_small_logits() -> None:
    """Its rounding errors would otherwise be more than an exported graph is allowed."""
    torch.manual_seed(0)
    model = settled(build(ModelConfig(version="v2", backbone="mobilenet_v2"), 21))

    with torch.no_grad():
        logits = model(torch.rand(1, 3, 128, 128) * 2 - 1)

    assert 0.001 < float(logits.std()) < 0.02


@pytest.mark.slow
def test_a_network_is_timed_on_every_backend_here() -> None:
    """One export, every runtime that is installed and torch, each with a figure and its arithmetic."""
    records = network_records(TINY, (64, 32), budget_s=0.0)

    assert {record.backend for record in records} == {*measure.RUNTIMES, measure.TORCH}
    assert all(0 < record.ms_lowest <= record.ms_p50 <= record.ms_p95 for record in records)
    assert all(record.n_runs == measure.FEWEST_RUNS for record in records)
    assert len({record.gmac for record in records}) == 1
    assert records[0].gmac is not None
    assert 0 < records[0].gmac < 1  # of 64x32 pixels; 512x288 is 72 times as many


@pytest.mark.slow
def test_the_page_shows_one_machine_and_draws_it(tmp_path) -> None:
    """Table and plot are made of the last machine's figures; the CRF is added where the papers had one."""
    width, height = PAPER_SIZE
    v1 = next(network for network in NETWORKS if network.version == "v1")
    records = Records(tmp_path / "speed.jsonl")
    records.add([
        replace(RECORD, machine="elsewhere", ms_p50=1.0),
        RECORD,
        replace(RECORD, network=v1.name, backend="openvino", ms_p50=500.0),
        replace(RECORD, network=CRF, backend="pydensecrf", ms_p50=1500.0, gmac=None, parameters=None),
    ])  # fmt: skip
    (tmp_path / "speed.md").write_text(MARKS)

    written = write_page(records, tmp_path / "speed.md", tmp_path / "speed.png", results=tmp_path / "none")

    page = (tmp_path / "speed.md").read_text()
    assert f"{width}x{height}" in page
    lines = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("|")]
    cells = {line[1]: line for line in lines}
    assert cells[v1.name][-4:-1] == ["2.0", "0.5", ""]
    assert "900" in cells[RECORD.network]
    assert (tmp_path / "speed.png").stat().st_size > 10_000
    assert written == [tmp_path / "speed.md", tmp_path / "speed.png"]
