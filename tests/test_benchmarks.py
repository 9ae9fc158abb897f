"""The benchmarks run, at sizes that take no time, and refuse to time what is wrong. Nothing here looks at a clock."""

import dataclasses
import importlib.util
import json
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("matplotlib", reason="the benchmarks draw with matplotlib: pip install 'maxvit[dev]'")
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def script(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True, scope="module")
def path():
    """Scripts import their neighbours, and workers find their functions by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield


@pytest.fixture(scope="module")
def scaling():
    return script("attention_scaling")


def test_network_scaling_writes_a_row_for_each_side(tmp_path):
    sizes = ["--model", "maxvit_micro", "--sides", "32", "45", "64", "--base", "45", "--rounds", "2"]
    script("network_scaling").main(["--out", str(tmp_path / "scaling"), *sizes])
    rows = [row.split("|")[1:-1] for row in (tmp_path / "scaling.md").read_text().splitlines() if row.startswith("| ")]
    assert [row[0].strip() for row in rows] == ["image side", "32", "45", "64"]
    assert rows[2][2].strip() == "1.00 (1.00 to 1.00)"


@pytest.mark.full
def test_a_detector_of_the_paper_s_authors_is_as_large_as_the_paper_says():
    size = script("detection_size")
    for variant, (operations, parameters) in size.PAPER.items():
        whole = size.add(list(size.parts(variant, size.TWO_STAGES).values()))
        assert whole[0] == pytest.approx(operations, rel=0.012)
        assert whole[1] == pytest.approx(parameters, rel=0.02)


def test_the_parts_of_a_detector_are_those_computed_by_hand():
    found = script("detection_size").parts("maxvit_tiny", script("detection_size").THREE_STAGES)
    cells = sum((896 // stride) ** 2 for stride in (8, 16, 32, 64, 128))
    assert found["RPN"] == (cells * 256 * (2 * 9 * 256 + 9 * 5), 2 * (9 * 256 + 1) * 256 + 257 * 9 * 5)
    layers = (49 * 256 + 1) * 1024 + 1025 * (1024 + 81 + 4)
    biases = 1024 + 1024 + 81 + 4
    assert found["box heads, 3"] == (3 * 1000 * (layers - biases), 3 * layers)


@pytest.mark.parametrize("groups", [1, 10])
def test_a_convolution_s_backward_counts_each_gradient_as_forward_does(groups):
    formula = {torch.ops.aten.convolution_backward: import_module("plan_check").convolution_backward}
    convolution = torch.nn.Conv2d(10, 20, 3, groups=groups)
    with FlopCounterMode(display=False, custom_mapping=formula) as counter:
        convolution(torch.randn(2, 10, 7, 9, requires_grad=True)).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * (2 * 20 * 5 * 7) * 9 * 10 // groups


@pytest.mark.full
def test_exports_are_measured_each_in_its_own_process(tmp_path):
    jobs = ["micro:onnx", "micro@33x45:onnx", "micro@64:onnx"]
    script("exports").main(["--out", str(tmp_path / "exports"), "--jobs", *jobs])
    rows = [row.split("|")[1:-1] for row in (tmp_path / "exports.md").read_text().splitlines() if row.startswith("| ")]
    assert [row[0].strip() for row in rows[1:]] == [job.replace(":", ", ") for job in jobs]
    for row in rows[1:]:
        relative, weights, files, before, peak, _ = map(float, row[1:])
        assert relative < 1e-4
        assert 0 <= weights <= files < before < peak


@pytest.mark.full
def test_a_plan_is_near_what_is_measured(tmp_path):
    import_module("plan_check").main(["--out", str(tmp_path / "check"), "--models", "maxvit_micro"])
    rows = [row.split("|")[1:-1] for row in (tmp_path / "check.md").read_text().splitlines() if row.startswith("| ")]
    for row in rows[1:]:
        assert 1 < float(row[5]) < 1.5  # memory: a bound on what tensors take
        assert 1 < float(row[9]) < 1.1  # operations


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporter, and of what it imports
def test_every_ablation_answers_as_the_whole_does_and_is_timed(tmp_path):
    sizes = ["--model", "maxvit_micro", "--side", "64", "--batch", "2", "--rounds", "2"]
    import_module("ablations").main(["--out", str(tmp_path / "ablations"), *sizes])
    rows = [row for row in (tmp_path / "ablations.md").read_text().splitlines() if row.startswith("| ")]
    assert sum(row.startswith("| all of it") for row in rows) == 2
    assert len(rows) >= 6 + 20  # headings, contenders


def test_a_profile_counts_each_function_once_by_what_it_does():
    profile = script("profile_kernels")
    functions = {
        "kernels-1a.so multiply<12>": 60.0,
        "kernels-1a.so attend": 3.0,
        "kernels-1a.so attention_layer(AttentionLayer const&, long)::{lambda(long)#1}::operator()": 5.0,
        "kernels-1a.so widen(MBConv const&)::{lambda(long)#1}::operator()": 4.0,
        "libgomp.so.1 0x1de62": 8.0,
        "libtorch_cpu.so at::native::mean": 1.0,
        "[kernel.kallsyms] clear_page": 2.0,
    }
    found = profile.by_step(Counter(functions))
    assert sum(found.values()) == 83.0
    assert found["matrix products"] == 60.0
    assert found["attention layers: norms, GELU, residuals"] == 5.0
    assert found["waiting for another thread"] == 8.0
    assert found[profile.OTHER] == 2.0


def test_scaling_writes_numbers_table_and_figure(scaling, tmp_path):
    sizes = ["--sides", "32", "64", "--dim", "32", "--window", "2", "--repeats", "3", "--memory-gb", "0.0001"]
    scaling.main(["--out", str(tmp_path / "scaling"), *sizes])
    records = json.loads((tmp_path / "scaling.json").read_text())["records"]
    assert [(r["image_side"], r["contender"]) for r in records if "skipped" in r] == [(64, scaling.SCORES)]
    assert [len(r["times_s"]) for r in records if "skipped" not in r] == [3] * 5
    assert (
        "| 64 | 16 x 16 | full, scores in memory | skipped: scores would take" in (tmp_path / "scaling.md").read_text()
    )
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_scaling_times_nothing_where_the_contenders_differ(scaling, tmp_path, monkeypatch):
    plain = scaling.full_attention

    def wrong(maxsa, backend):
        full = plain(maxsa, backend)
        torch.nn.init.zeros_(full.grid_attention.ffn.project.weight)
        return full

    monkeypatch.setattr(scaling, "full_attention", wrong)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        scaling.main(["--out", str(tmp_path / "scaling")])
    assert not list(tmp_path.iterdir())


def test_peak_memory_counts_what_is_held_at_once(scaling):
    def run():
        for _ in range(3):
            first = torch.ones(1000)
            second = first + 1
            del first, second

    assert 8000 <= scaling.peak_bytes(run) < 8100  # two tensors of 4000 bytes, and the number 1


@pytest.fixture(scope="module")
def architecture():
    return script("architecture")


@pytest.fixture
def ablate(architecture, tmp_path):
    return lambda: architecture.main(["--quick", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "record")])


@pytest.mark.full
def test_the_architecture_experiment_goes_on_where_it_stopped(architecture, ablate, tmp_path, monkeypatch):
    trained = []
    plain = architecture.train

    def stops_after_three(task, parts, seed):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(parts)
        return plain(task, parts, seed)

    monkeypatch.setattr(architecture, "train", stops_after_three)
    with pytest.raises(KeyboardInterrupt):
        ablate()
    monkeypatch.setattr(architecture, "train", lambda *of_run: (trained.append(of_run[1]), plain(*of_run))[1])
    ablate()
    assert len(trained) == 2 * 8
    first = {path.suffix: path.read_bytes() for path in tmp_path.glob("record.*")}
    ablate()
    assert len(trained) == 2 * 8
    assert sorted(first) == [".json", ".md", ".png"]
    assert (tmp_path / "record.md").read_bytes() == first[".md"]
    assert first[".png"].startswith(b"\x89PNG")
    rows = [line for line in first[".md"].decode().splitlines() if line.startswith(("| yes", "|  |"))]
    assert len(rows) == 2 * 8
    assert len(json.loads(first[".json"])["runs"]) == 2 * 8


def test_a_run_of_another_budget_is_not_taken_for_this_one(architecture, tmp_path, monkeypatch):
    budgets = []
    monkeypatch.setattr(
        architecture, "train", lambda task, *_: budgets.append(task.steps) or {"accuracy": 0.5, "seconds": 1}
    )
    for steps in (2, 3, 3):
        task = dataclasses.replace(architecture.TASKS["halves"], steps=steps)
        architecture.run("halves", task, (True, True, True), 0, tmp_path)
    assert budgets == [2, 3]


def test_variants_keep_the_shape_of_every_map_and_differ_in_what_they_hold(architecture):
    task = architecture.TASKS["halves"]
    networks = {parts: architecture.build(task, parts, seed=0).eval() for parts in architecture.VARIANTS}
    images = torch.randn(2, 3, *task.size)
    shapes = {tuple(map(tuple, (m.shape for m in n.forward_pyramid(images)))) for n in networks.values()}
    assert shapes == {((2, 32, 8, 32), (2, 32, 4, 16), (2, 64, 2, 8), (2, 64, 1, 4))}
    counts = {architecture.multiply_adds(network) for network in networks.values()}
    assert len(counts) == 6  # one attention layer costs the same on either axis
    kinds = Counter(type(m).__name__ for m in networks[False, True, False].modules())
    assert (kinds["MBConv"], kinds["BlockAttention"], kinds["GridAttention"]) == (0, 4, 0)


def test_halves_hold_the_same_colours_and_agree_where_the_label_says_so(architecture, monkeypatch):
    monkeypatch.setattr(architecture, "NOISE", 0.0)
    images, labels = architecture.halves(101, (32, 128), np.random.default_rng(0))
    cells = images.unfold(2, 8, 8).unfold(3, 8, 8)  # (B, 3, 4, 16, 8, 8)
    colours = cells.sum((4, 5)) / 36  # squares of 6 x 6, black around them
    left, right = colours[..., :8], colours[..., 8:]
    for half in (left, right):
        for picture in half.flatten(2).transpose(1, 2):  # (32, 3)
            _, counts = picture.mul(100).round().unique(dim=0, return_counts=True)
            assert counts.tolist() == [4] * 8
    same = ((left - right).abs() < 0.01).all(1).float().mean((1, 2))
    assert (same[labels == 1] == 1).all()
    assert (same[labels == 0] <= 0.25).all()
    assert 30 <= labels.sum() <= 71  # four deviations of a fair coin


def test_decoding_times_every_way_at_every_step(tmp_path):
    decoding = script("decoding")
    decoding.main(["--quick", "--out", str(tmp_path / "decoding")])
    records = json.loads((tmp_path / "decoding.json").read_text())["records"]
    assert len(records) == 2 * 3
    for record in records:
        assert {name: len(seconds) for name, seconds in record["seconds"].items()} == dict.fromkeys(decoding.ways(), 2)
    page = (tmp_path / "decoding.md").read_text()
    assert page.count("| Pillow, reduced; tensors |") == 6
    assert "At 500 x 375, all steps together, " in page


def test_decoding_times_nothing_where_a_way_gives_another_picture(tmp_path, monkeypatch):
    decoding = script("decoding")
    plain = decoding.pil_reduced
    monkeypatch.setattr(
        decoding, "pil_reduced", lambda data, box: (plain(data, box)[0].transpose(Image.Transpose.ROTATE_180), 1.0)
    )
    with pytest.raises(AssertionError, match="crops differ"):
        decoding.main(["--quick", "--out", str(tmp_path / "decoding")])
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def explanations():
    pytest.importorskip("captum", reason="attribution needs captum: pip install 'maxvit[explain]'")
    return script("explanations")


def test_scenes_keep_what_decides_within_its_square(explanations, monkeypatch):
    scenes = explanations.Scenes(test=True, seed=0)
    held_out = {(digit.tobytes(), label) for digit, label in scenes.digits}
    assert not held_out & {(d.tobytes(), label) for d, label in explanations.Scenes(test=False, seed=0).digits}
    painted = []
    plain = scenes._paint
    monkeypatch.setattr(scenes, "_paint", lambda *args: (painted.append(args[1:]), plain(*args)))
    monkeypatch.setattr(scenes, "_background", lambda: np.full((64, 64, 3), 128, np.float32))
    for _ in range(20):
        painted.clear()
        sample = scenes.draw()
        assert painted[0][1] == sample.box
        assert (painted[0][0].tobytes(), sample.label) in held_out
        assert all((digit.tobytes(), label) not in held_out for digit, _ in painted[1:] for label in range(10))
        covered = np.zeros((64, 64), int)
        for _, (top, left, side) in painted:
            covered[top : top + side, left : left + side] += 1
        assert covered.max() == 1
        assert (sample.pixels[covered == 0] == 128).all()


@pytest.mark.full
def test_explanations_are_measured_on_pictures_that_are_answered_rightly(explanations, tmp_path):
    sizes = ["--steps", "2", "--batch", "4", "--images", "24", "--removals", "2"]
    for _ in range(2):  # the second time with the network that was kept
        explanations.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path / "record"), *sizes])
    records = json.loads((tmp_path / "record.json").read_text())["records"]
    assert list(records) == list(explanations.METHODS)
    page = (tmp_path / "record.md").read_text()
    (right,) = {len(values) for of_map in records.values() for values in of_map.values()}
    assert f"{right} of 24 test images" in page
    assert page.count("| class rollout less ") == 2
    assert all(0 <= value <= 1 for of_map in records.values() for k in explanations.MEASURES for value in of_map[k])
    assert (tmp_path / "record.png").read_bytes().startswith(b"\x89PNG")


def test_a_map_of_the_square_alone_has_all_its_relevance_inside(explanations, monkeypatch):
    sample = explanations.Sample(np.zeros((64, 64, 3), np.uint8), 3, (16, 24, 20))
    network = explanations.create_model("maxvit_micro").eval()
    inside = np.zeros((16, 16), np.float32)
    inside[4:9, 6:11] = 1  # rows 16 to 35, columns 24 to 43
    for values, share, hit in (
        (inside, 1, 1),
        (1 - inside, 0, 0),
        (np.ones((16, 16), np.float32), 400 / 4096, 400 / 4096),
    ):
        monkeypatch.setitem(explanations.METHODS, "made", lambda *_, values=values: values)
        found = explanations.measure(network, sample, "made", steps=2)
        assert (found["share inside"], found["hit"]) == pytest.approx((share, hit))


@pytest.mark.full
def test_serving_is_compared_with_a_loop_overloaded_and_soaked(tmp_path):
    sizes = ["--model", "maxvit_micro", "--threads", "1", "--rounds", "2", "--images", "8", "--minutes", "0.02"]
    import_module("serving").main(["--out", str(tmp_path / "serving"), *sizes, "--overload", "1"])
    record = json.loads((tmp_path / "serving.json").read_text())
    assert [len(record["throughput"][clients]["server_s"]) for clients in ("1", "8", "64")] == [2, 2, 2]
    assert set(record["soak"]["statuses"]) == {"200"}
    assert set(record["overload"]["statuses"]) <= {"200", "503"}
    assert "## Twice the capacity" in (tmp_path / "serving.md").read_text()


def test_the_copies_that_are_planted_are_counted_by_how_they_were_made():
    random = np.random.default_rng(0)
    blobs = [Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8)).resize((90, 70)) for _ in range(20)]
    found = script("check_duplicates").count([np.asarray(blob) for blob in blobs], 2, 0)
    assert found.pop("seconds") > 0
    ways = script("check_duplicates").WAYS
    assert found == {**dict.fromkeys(ways, 1.0), "false": 0, "images": 20 + 2 * len(ways)}
