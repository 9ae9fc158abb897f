"""One case with contenders of every kind: those that agree are timed in turn, of the others it is said why not."""

import pytest
import torch

from contestants import COARSE, DIES, MISSING, TRAINS, WRONG
from maxvit.benchmark import run, worker
from maxvit.benchmark.ours import OURS
from maxvit.benchmark.peers import PEERS, timm_network, torchvision_network
from maxvit.benchmark.plan import Plan, find_ours, find_peers
from maxvit.benchmark.run import benchmark
from maxvit.benchmark.worker import Failure, Worker
from maxvit.config import VARIANTS
from maxvit.errors import MaxViTError

EAGER = OURS[0]
TIMM = PEERS[0]
TORCHVISION = next(c for c in PEERS if c.name == "torchvision")
ROUNDS = 3


@pytest.fixture(scope="module")
def case():
    bad = [COARSE, WRONG, DIES, MISSING, TRAINS, TORCHVISION]
    what = {"batches": [3], "sizes": [(64, 96)], "rounds": ROUNDS, "threads": 1, "busy": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "BUSY_S", 0.01)
        (case,) = benchmark(Plan(model="maxvit_micro", ours=[EAGER], theirs=[TIMM, *bad], **what)).cases
    return case


@pytest.fixture(scope="module")
def why(case):
    return {n.contender: n.why for n in case.not_measured}


@pytest.mark.full
def test_who_agrees_is_timed_once_a_round(case):
    assert [(e.contender, len(e.seconds)) for e in case.entries] == [(n, ROUNDS) for n in ("eager", "timm", "coarse")]
    assert all(second > 0 for entry in case.entries for second in entry.seconds)


@pytest.mark.full
def test_beside_busy_processes_all_are_timed_once_more(case):
    assert all(len(entry.busy_seconds) == ROUNDS and entry.kept.median > 0 for entry in case.entries)
    assert all(pair.busy_ratio is not None for pair in case.pairs)


@pytest.mark.full
def test_ours_is_paired_with_every_peer_that_was_timed(case):
    assert [(p.ours, p.theirs) for p in case.pairs] == [("eager", "timm"), ("eager", "coarse")]
    ours, theirs, _ = (e.seconds for e in case.entries)
    assert case.pairs[0].ratio.median == sorted(b / a for a, b in zip(ours, theirs, strict=True))[ROUNDS // 2]


@pytest.mark.full
def test_rates_follow_from_the_times(case):
    entry = case.entries[1]
    second = sorted(entry.seconds)[ROUNDS // 2]
    assert entry.images_per_s == pytest.approx(3 / second)
    flops = 2 * 3 * case.multiply_adds / second
    assert entry.share_of_peak == pytest.approx(flops / max(case.matrix_product_flops))


@pytest.mark.full
def test_timm_with_our_weights_gives_our_answers(case):
    timm = case.entries[1].agreement
    assert 0 < timm.difference < 1e-5
    assert timm.top1 == 1.0


@pytest.mark.full
def test_memory_is_counted_from_before_the_network_is_made(case):
    weights = sum(t.numel() for t in torch.nn.Module.state_dict(timm_micro()).values()) * 4
    assert all(weights < entry.peak_bytes < 20 * weights for entry in case.entries)


def timm_micro():
    return timm_network(VARIANTS["maxvit_micro"].resized((64, 96)), (64, 96), 0.0)


@pytest.mark.full
def test_who_disagrees_is_not_timed(why):
    assert why["wrong"].startswith("its answers differ by ")
    assert why["wrong"].endswith(" of their deviation, and 0.0001 is allowed")


@pytest.mark.full
def test_of_who_may_differ_agreement_is_reported_over_more_images(case):
    coarse = case.entries[2].agreement
    assert coarse.images == 33  # eleven batches of three: 32 at least
    assert 1e-2 < coarse.difference < 10
    assert 0 <= coarse.top1 <= 1


def test_an_exception_is_told_in_one_sentence():
    assert worker._sentence(RuntimeError("not enough storage\nand more")) == "RuntimeError: not enough storage"
    assert worker._sentence(MemoryError()) == "MemoryError"
    assert worker._sentence(MaxViTError("what, and why")) == "what, and why"


@pytest.mark.full
def test_a_network_that_a_peer_cannot_make_is_told(why):
    assert why["torchvision"] == "torchvision's windows are square, and images of 64 x 96 want others"


@pytest.mark.full
def test_a_task_that_a_contender_does_not_do_is_told(why):
    assert why["trains"] == "it does training alone"


@pytest.mark.full
def test_a_process_that_ends_while_it_is_timed_is_told_and_the_others_go_on(why, case):
    assert why["dies"] == "in round 1: its process ended with exit code 7"
    assert len(case.entries) == 3


@pytest.mark.full
def test_a_process_starts_anew_after_some_rounds(monkeypatch):
    monkeypatch.setattr(run, "ROUNDS_OF_A_PROCESS", 1)
    plan = Plan(model="maxvit_micro", ours=[DIES], theirs=[], batches=[3], sizes=[(64, 96)], rounds=3, threads=1)
    (case,) = benchmark(plan).cases
    assert [len(e.seconds) for e in case.entries] == [3]  # a process that dies in its second round has none
    assert case.entries[0].peak_bytes > 0


def test_a_process_that_is_killed_is_told():
    assert worker._how_it_ended(-9) == "its process was ended by SIGKILL, as the system does when memory runs out"


@pytest.mark.full
def test_a_package_that_is_missing_is_named(why):
    name = "a_package_that_nobody_has"
    assert why["missing"] == f"it needs {name}, which is not installed: pip install {name}"


@pytest.mark.full
def test_a_contender_that_does_not_answer_is_given_up(case, monkeypatch):
    monkeypatch.setattr(worker, "LONGEST_S", 0)
    monkeypatch.setattr(worker, "TIDY_UP_S", 0)
    with Worker(WRONG, None) as waiting, pytest.raises(Failure, match="no answer within 0 s"):
        waiting.ask("open")


@pytest.mark.parametrize("make", [timm_network, torchvision_network])
def test_a_peer_says_which_sizes_it_takes(make):
    with pytest.raises(MaxViTError, match="multiples of 32, and these are 250 x 224"):
        make(VARIANTS["maxvit_micro"], (250, 224), 0.0)


@pytest.mark.parametrize(
    ("make", "kind", "rate"), [(timm_network, "DropPath", "drop_prob"), (torchvision_network, "StochasticDepth", "p")]
)
def test_peers_drop_paths_at_the_rate_that_is_asked_for(make, kind, rate):
    def deepest(asked):
        network = make(VARIANTS["maxvit_micro"], (64, 64), asked)
        return max([getattr(m, rate) for m in network.modules() if type(m).__name__ == kind], default=0.0)

    assert deepest(0.0) == 0.0
    assert deepest(0.5) == pytest.approx(0.5, rel=0.25)  # who counts blocks from 0, and who from 1


def test_contenders_are_found_by_name_and_once():
    assert [c.name for c in find_ours(["onnxruntime", "eager", "eager"])] == ["onnxruntime", "eager"]
    assert find_peers(["timm", "all"]) == list(PEERS)
    with pytest.raises(MaxViTError, match="unknown peer 'tim': did you mean 'timm'"):
        find_peers(["tim"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rounds": 1}, "rounds is 1; percentiles need 2 at least"),
        ({"batches": [8, 0]}, "batch is 0"),
        ({"sizes": [(31, 64)]}, "size is 31"),
        ({"threads": 0}, "threads is 0"),
        ({"model": "maxvit_tny"}, "did you mean 'maxvit_tiny'"),
        ({"what": ["infer"]}, "unknown task 'infer'"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(options, says):
    with pytest.raises(MaxViTError, match=says):
        Plan(**{"model": "maxvit_micro", "ours": [EAGER], "theirs": [TIMM], **options})
