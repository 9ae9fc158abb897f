"""The cost of a training, against the same worked out by hand for a made-up network whose figures are primes."""

from dataclasses import astuple, replace
from itertools import pairwise

import pytest
import torch

from maxvit import create_model
from maxvit.errors import MaxViTError
from maxvit.plan.cost import Schedule, make_plan
from maxvit.plan.devices import Device, Devices
from maxvit.plan.memory import memory
from maxvit.summary import Part, Summary, summarize
from maxvit.training.ema import Average
from maxvit.training.optim import make_optimizer

PARAMETERS, STATISTICS = 1009, 52
SUMMARY = Summary(
    image_size=(37, 83),
    parts=[Part("stem", 0, (2, 3, 5), 13, 17), Part("stage 1", 3, (2, 3, 5), 893, 19), Part("head", 0, (7,), 103, 23)],
    parameters=PARAMETERS,
    multiply_adds=10007,
    weight_bytes=4 * PARAMETERS + STATISTICS,
    training_bytes=6007,
    checkpointed_bytes=1999,
    largest_bytes=307,
)
DEVICE = Device(
    name="toy",
    memory_bytes=1e6,
    half="bf16",
    half_flops=1e7,
    fp32_flops=4e6,
    share_of_peak=(0.1, 0.25),
    reserved_bytes=101,
)
SCHEDULE = Schedule(
    images=1000, batch_size=12, epochs=5, warmup_epochs=1.5, gradient_checkpointing=True, image_bytes=11.0
)


def ways(*, count=3, device=DEVICE, precision="fp32", summary=SUMMARY, **changes):
    """Without and with gradient checkpointing."""
    return make_plan(summary, replace(SCHEDULE, **changes), Devices(device, count), precision).ways


def test_memory_on_one_device_in_fp32():
    found = memory(SUMMARY, 7, DEVICE, "fp32", False)
    parts = (4036 + 52, 4036, 8072, 4036 + 52, 7 * 6007, 3 * 307 * 7 + 101)
    assert astuple(found) == (*parts, sum(parts))
    again = memory(SUMMARY, 7, DEVICE, "fp32", True)
    assert again == replace(found, activations=7 * 1999, total=found.total - 7 * 6007 + 7 * 1999)


def test_in_bf16_activations_shrink_and_weights_get_a_copy():
    found = memory(SUMMARY, 10, DEVICE, "bf16", False)
    assert found.activations == 36042  # 0.6 of 10 * 6007
    assert found.workspace == 5526 + 2 * 1009 + 101  # 0.6 of 3 * 307 * 10
    assert (found.weights, found.gradients, found.optimizer) == (4088, 4036, 8072)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_devices_share_weights_and_what_belongs_to_them(count):
    found = memory(SUMMARY, 7, DEVICE, "fp32", False, count)
    assert found.gradients == -(-4036 // count)
    assert found.optimizer == -(-8072 // count)
    assert found.weights == found.average == -(-4036 // count) + STATISTICS


def test_operations_are_three_forwards_and_four_with_checkpointing():
    plain, again = ways()
    assert plain.step_flops == 3 * 2 * 10007 * 12
    assert again.step_flops == 4 * 2 * 10007 * 12


def test_a_batch_that_does_not_fit_is_accumulated():
    limit = 4088 + 4036 + 8072 + 4088 + 2 * 6007 + 3 * 307 * 2 + 101  # two images on one device
    small = replace(DEVICE, memory_bytes=limit / 0.9 + 1)
    plain, again = ways(count=1, device=small)
    assert (plain.images, plain.accumulation, plain.fits, plain.memory.total) == (2, 6, True, limit)
    assert (again.images, again.accumulation) == (4, 3)  # 4 * 1999 + 3 * 307 * 4 is less, and 6 of each is more
    assert ways(count=1)[0].accumulation == 1
    one_less = replace(DEVICE, memory_bytes=(limit - 1) / 0.9)
    assert ways(count=1, device=one_less)[0].images == 1


def test_the_images_that_a_device_takes_at_once_are_those_of_the_recipe():
    assert [(way.images, way.accumulation) for way in ways(count=1, device_batch_size=5)] == [(4, 3)] * 2  # 12 images
    assert ways(count=1, device_batch_size=5)[0].memory.activations == 4 * 6007
    small = replace(DEVICE, memory_bytes=3e4)
    assert ways(count=1, device_batch_size=5, device=small)[0].advice == (
        "4 images at once need 0.0 of 0.0 GB: lower data.device_batch_size, or leave it out for as many as fit"
    )


def test_what_does_not_fit_says_what_would():
    fitting = [way.memory.total for sharded in (False, True) for way in ways(count=2, batch_size=2, sharded=sharded)]
    assert fitting[0] > fitting[1] > fitting[2] > fitting[3]  # one image a device
    between = [replace(DEVICE, memory_bytes=(a + b) / 1.8) for a, b in pairwise(fitting)]
    first, second, third = ([way.advice for way in ways(count=2, device=d, batch_size=2)] for d in between)
    assert first[0].endswith("GB: --set model.gradient_checkpointing=true")
    assert first[1] == ""
    assert [advice.split(": ")[1] for advice in second] == ["--set engine.strategy=fsdp2"] * 2
    assert third[0].endswith("--set engine.strategy=fsdp2 and --set model.gradient_checkpointing=true")
    assert third[1].endswith(": --set engine.strategy=fsdp2")
    sharded = ways(count=2, device=between[2], batch_size=2, sharded=True)
    assert sharded[0].advice.endswith("GB: --set model.gradient_checkpointing=true")
    assert sharded[1].advice == ""
    none = ways(count=2, device=replace(DEVICE, memory_bytes=10), batch_size=2)
    assert [way.fits for way in none] == [False] * 2
    assert all("one image needs 0.0 of 0.0 GB: take more memory a device" in way.advice for way in none)


def test_time_is_a_range_of_shares_of_the_peak():
    plain = ways(count=3)[0]
    fast, slow = 720504 / (3 * 4e6 * 0.25), 720504 / (3 * 4e6 * 0.1)
    assert plain.step_s == pytest.approx((fast, slow))
    steps = 84 * 5  # of 1000 images, 12 at a time
    assert plain.days == pytest.approx((steps * fast / 86400, steps * slow / 86400))


def test_twice_the_devices_take_half_the_days():
    for few, many in zip(ways(count=3), ways(count=6), strict=True):
        assert few.days == pytest.approx([2 * days for days in many.days])


def test_data_is_fed_as_fast_as_the_best_speed_eats_it():
    plan = make_plan(SUMMARY, SCHEDULE, Devices(DEVICE, 3), "fp32", images_per_core=7)
    way = plan.ways[0]
    assert way.images_per_s == pytest.approx(12 / way.step_s[0])
    assert way.storage_bytes_per_s == pytest.approx(11 * way.images_per_s)
    assert way.cores == 8  # 49.97 images/s
    assert "7 images/s a core (measured: 133 with PIL to 154 by tensors)" in plan.assumptions[-1]


def test_steps_warm_up_and_files():
    plan = make_plan(SUMMARY, SCHEDULE, Devices(DEVICE, 3), "fp32")
    assert (plan.steps, plan.warmup_steps) == (420, 126)  # 84 an epoch
    assert (plan.checkpoint_bytes, plan.state_bytes) == (4088, 2 * 4088 + 8072)
    assert make_plan(SUMMARY, replace(SCHEDULE, images=5), Devices(DEVICE, 3), "fp32").steps == 5  # one an epoch


def test_what_is_assumed_is_said():
    left_out, said, *_ = make_plan(SUMMARY, SCHEDULE, Devices(DEVICE, 3), "fp32").assumptions
    assert left_out == "not counted: validation, and traffic between devices"
    with_head = replace(SUMMARY, not_counted="the loss")
    assert (
        make_plan(with_head, SCHEDULE, Devices(DEVICE, 3), "fp32").assumptions[0].startswith("not counted: the loss;")
    )
    assert said.startswith("time: not measured on this hardware; assumes that 10% to 25% of the peak is reached (MFU)")
    assert "not measured" not in make_plan(SUMMARY, SCHEDULE, Devices(replace(DEVICE, name="cpu"), 3)).assumptions[1]


@pytest.mark.parametrize(
    ("count", "changes", "said"),
    [
        (5, {}, "a batch of 12 cannot be shared evenly by 5 devices: use --set data.batch_size=15"),
        (1, {"images": 0}, "images: 0 were given; the number must be above 0"),
    ],
)
def test_what_cannot_be_planned_is_refused(count, changes, said):
    with pytest.raises(MaxViTError, match=said):
        ways(count=count, **changes)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_core_decodes_more_than_nothing(rate):
    with pytest.raises(MaxViTError, match=r"images per core: .* must be above 0"):
        make_plan(SUMMARY, SCHEDULE, Devices(DEVICE, 3), "fp32", images_per_core=rate)


def test_bytes_are_those_of_a_real_network_after_a_step():
    """maxvit_micro with the optimiser and the average that training uses; AdamW also counts steps, 4 bytes a tensor."""
    network = create_model("maxvit_micro")
    optimizer, average = make_optimizer(network, 1e-3, 0.05), Average(network, 0.99)
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()

    def size(tensors):
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    needed = memory(summarize(network), 2, DEVICE, "fp32", False)
    assert needed.weights == size(network.state_dict().values())
    assert needed.gradients == size(p.grad for p in network.parameters())
    assert needed.optimizer == size(moments)
    assert needed.average == size(average.network.state_dict().values())
