"""Devices by name and number."""

import pytest

from maxvit.errors import MaxViTError
from maxvit.plan.devices import DEVICES, Devices, parse_devices, this_cpu


@pytest.mark.parametrize(
    ("text", "count", "name"),
    [
        ("64xH100", 64, "H100"),
        ("8xA100-80", 8, "A100-80"),
        ("9xa100-40", 9, "A100-40"),
        ("H200", 1, "H200"),
        (" 3 x RTX4090 ", 3, "RTX4090"),
    ],
)
def test_devices_are_so_many_of_a_kind(text, count, name):
    found = parse_devices(text)
    assert (found.count, found.device) == (count, DEVICES[name])
    assert str(found) == f"{count}x{name}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8xH1000", "unknown device 'H1000': known are B200, H200, H100, A100-80, A100-40, L4, RTX4090, V100"),
        ("cpu", "unknown device 'cpu'"),
        ("-2xH100", "unknown device '-2xH100'"),
        ("0xH100", "devices are '0xH100'; one is the fewest"),
        ("", "devices are ''; write COUNTxDEVICE, such as 64xH100"),
        ("8 H100", "devices are '8 H100'; write COUNTxDEVICE"),
    ],
)
def test_what_is_no_device_is_refused_and_the_known_are_named(text, said):
    with pytest.raises(MaxViTError, match=said):
        parse_devices(text)


def test_the_share_of_the_peak_is_where_memory_bandwidth_ends_it():
    low, high = DEVICES["H100"].share_of_peak
    assert high == pytest.approx(11.1e9 / 286e6 * 3.35e12 / 989e12, rel=0.01)
    assert low == high / 2
    assert DEVICES["V100"].share_of_peak[1] == pytest.approx(38.8 * 0.9 / 125)  # of its products in fp16


def test_a_precision_that_a_device_lacks_is_refused():
    assert DEVICES["H100"].peak_flops("bf16") == 2 * DEVICES["H100"].peak_flops("fp32") + 1e12  # 989 and 494 TFLOP/s
    assert (DEVICES["V100"].precision, DEVICES["V100"].peak_flops("fp16")) == ("fp16", 125e12)
    assert DEVICES["H100"].peak_flops("fp16") == DEVICES["H100"].peak_flops("bf16")
    with pytest.raises(MaxViTError, match="V100 has no bf16 matrix products: use --precision fp16"):
        DEVICES["V100"].peak_flops("bf16")
    with pytest.raises(MaxViTError, match="unknown precision 'fp64'"):
        DEVICES["V100"].peak_flops("fp64")


def test_a_cpu_is_what_one_says_it_is():
    cpu = this_cpu(2e11, 24e9)
    assert parse_devices("2xCPU", cpu) == Devices(cpu, 2)
    assert (cpu.peak_flops("fp32"), cpu.memory_bytes) == (2e11, 24e9)
    for peak in (0, -1.0, float("inf"), float("nan")):
        with pytest.raises(MaxViTError, match="operations a second; give what the CPU reaches"):
            this_cpu(peak, 24e9)
