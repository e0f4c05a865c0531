"""Figures: ratios are medians over medians, the base comes first, the text and the JSON tell the same."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks import report, tables
from benchmarks.__main__ import main, parser
from benchmarks.compute import Figures, Times, measure, measure_once
from benchmarks.fresh import WrongResult
from benchmarks.kernel_table import BY_NAME, Kernel


@pytest.fixture
def figures() -> Figures:
    """Two kernels, two contenders; the peer takes 4 and then 1 times as long."""
    return Figures(
        times={
            "fib": {
                "ours": Times([0.001], [0.002], [1.0, 2.0, 9.0], [1.0]),
                "peer": Times([0.003], [0.004], [8.0, 4.0, 8.0], [9.0]),
            },
            "json": {"ours": Times([0.001], [0.002], [0.5], [0.5]), "peer": Times([0.003], [0.004], [0.5], [0.5])},
        },
        versions={"ours": "1", "peer": "2"},
    )


def test_ratios_are_medians_over_medians(figures: Figures) -> None:
    assert figures.ratio("fib", "peer", "ours") == 4.0
    assert figures.mean_ratio("peer", "ours") == pytest.approx(2.0)
    assert figures.times["fib"]["ours"].spread == pytest.approx(4.0)


def test_the_text_has_ratios_first_and_the_facts_last(figures: Figures) -> None:
    text = report.text(figures, {"processor": "a good one"})
    assert (
        text.index("| fib                 | 4.00 |") < text.index("| … in processor time | 3.00 |") < text.index("2000.0 ±200 %")
    )
    assert text.endswith("processor: a good one\nours: 1\npeer: 2")


def test_json_holds_every_round_and_the_ratios(figures: Figures) -> None:
    data = json.loads(json.dumps(report.as_json(figures, {})))
    assert data["base"] == "ours"
    assert data["ratios"]["peer"] == {
        "geometric_mean": pytest.approx(2.0),
        "geometric_mean_of_processor_time": pytest.approx(3.0),
        "kernels": {"fib": 4.0, "json": 1.0},
    }
    assert data["seconds"]["fib"]["ours"]["run"] == [1.0, 2.0, 9.0]


def test_the_plot_is_svg_with_a_bar_for_each_figure(figures: Figures) -> None:
    bars = [node for node in ElementTree.fromstring(report.svg(figures)).iter() if node.get("height") == str(tables.BAR - 2)]
    assert [float(bar.get("width", "nan")) for bar in bars] == [tables.WIDTH / 4, tables.WIDTH, tables.WIDTH, tables.WIDTH]


def test_a_measurement_in_a_fresh_process_is_checked() -> None:
    figures = measure(["wasmtime"], [small("fib")], rounds=2, options={})
    times = figures.times["fib"]["wasmtime"]
    assert len(times.run) == len(times.compile) == len(times.start) == 2
    assert min(*times.run, *times.compile, *times.start) > 0 and min(times.processor) >= 0


def test_a_wrong_result_names_kernel_and_contender() -> None:
    right = small("fib")
    wrong = Kernel("fib", right.about, right.size, right.checksum + 1, right.small_size, right.small_checksum)
    with pytest.raises(WrongResult, match=r"wasmtime on fib: run\(15\) = 610, a native build gives 611"):
        measure_once("wasmtime", wrong, {})


def test_the_command_line_refuses_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--peers", "v8"], "unknown peer 'v8'"),
        (["--kernels", "fob"], "unknown kernel 'fob'"),
        (["fast"], "'fast'"),
        (["--peer", "name"], "expected NAME=COMMAND, got 'name'"),
    ):
        with pytest.raises(SystemExit) as ended:
            parser().parse_args(arguments)
        assert ended.value.code == 2
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--rounds", "0"])
    with pytest.raises(SystemExit):
        main(["program", "--rounds", "0", "x.wasm"])
    with pytest.raises(SystemExit):
        main(["program", "no/such/file.wasm"])
    assert "no/such/file.wasm is no file" in capsys.readouterr().err


def small(name: str) -> Kernel:
    """The kernel with little work."""
    kernel = BY_NAME[name]
    return Kernel(name, kernel.about, kernel.small_size, kernel.small_checksum, kernel.small_size, kernel.small_checksum)
