"""`optimize`: the same answers, by every backend, at every size; and what it refuses."""

import copy
import dataclasses
import functools
import re
from typing import Any

import pytest
import torch

import healthy
from combinations import pairwise
from halves import skip_unless
from maxvit import MaxViT, MaxViTError, accelerate, load_model, optimize
from maxvit.config import DIALECTS, OFFICIAL, TORCHVISION, Dialect
from maxvit.data.builtin import load_digits
from maxvit.data.transforms import preprocess
from maxvit.explain.attention_maps import attention_maps
from maxvit.export.export import export_model
from maxvit.kernels.cpu import build, inference, packing
from maxvit.kernels.folding import fold_for_inference
from maxvit.tasks import make_task
from maxvit.training.recipe import load_recipe
from maxvit.training.run import train
from narrow import SMALL
from official import CHECKPOINT, difference, golden

TIMM = DIALECTS["timm_rmlp_small"]  # has all that timm's own networks have but parallel attention
VOLUMES = {"window_size": (2, 2, 3), "grid_size": (1, 2, 2), "bias_table_size": None, "image_size": (5, 32, 64)}
WIDE: dict[str, Any] = {"stem_channels": 32, "head_dim": 32}  # what vectors of 16 floats need


def make(**changes: object) -> MaxViT:
    network = healthy.fill(MaxViT(dataclasses.replace(SMALL, **changes)))
    assert isinstance(network, MaxViT)
    return network


@functools.cache
def pair(backend: str, dialect: Dialect, wide: bool = False) -> tuple[MaxViT, MaxViT]:
    """An optimised network, and its original."""
    narrow_stem = {"stem_hidden_channels": 12} if dialect == TIMM else {}  # not a multiple of any vector
    model = make(dialect=dialect, **narrow_stem, **(WIDE if wide else {}))
    return optimize(model, backend=backend), model


def worst(fast: MaxViT, model: MaxViT, images: torch.Tensor) -> float:
    """The largest difference of any stage or of the logits, over what it is compared with."""
    with torch.inference_mode():
        pairs = list(
            zip(
                fast.forward_pyramid(images, (2, 4, 8, 16, 32)),
                model.forward_pyramid(images, (2, 4, 8, 16, 32)),
                strict=True,
            )
        )
        pairs.append((fast(images), model(images)))
    assert all(a.shape == b.shape for a, b in pairs)
    return max(difference(a, b) for a, b in pairs)


@pytest.fixture(params=["native", "torch"])
def backend(request) -> str:
    return request.param


@pytest.fixture(params=[False, True], ids=["narrow", "wide"])
def wide(request) -> bool:
    return request.param


@pytest.mark.parametrize(
    ("backend", "wide", "dialect", "size", "number"),
    pairwise(
        ["native", "torch"],
        [False, True],
        [OFFICIAL, TORCHVISION, TIMM],
        [(96, 128), (97, 130), (33, 61), (32, 32), (200, 40)],
        [1, 3],
    ),
)
def test_every_stage_is_the_originals(backend, wide, dialect, size, number):
    assert worst(*pair(backend, dialect, wide), torch.randn(number, 3, *size)) < 2e-5


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_however_many_threads_share_the_work(threads):
    model = make()
    images = torch.randn(2, 3, 70, 45)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert worst(optimize(model, backend="native"), model, images) < 2e-5
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "changes",
    [
        {"in_channels": 1},
        {"in_channels": 5},
        {"num_classes": 0},
        {"num_classes": 1},
        {"pool": "max"},
        {"head_dim": 32},
        {"expansion": 3},
        {"se_ratio": 0.1},
        {"window_size": (1, 1), "grid_size": (9, 9)},
        {"bias_table_size": (13, 13)},
        {"stem_channels": 48, "channels": (96, 32, 32, 48)},
        {"channels": (16, 48, 32, 16), "expansion": 3},
        {**WIDE, "channels": (32, 96, 64, 32), "expansion": 3},
        {**WIDE, "channels": (128, 32, 160, 64), "head_dim": 32},
    ],
    ids=str,
)
def test_networks_of_other_shapes(backend, changes):
    model = make(**changes)
    assert worst(optimize(model, backend=backend), model, torch.randn(2, model.config.in_channels, 75, 100)) < 2e-5


def test_maps_larger_than_a_tile_of_the_kernels():
    model = make(depths=(1, 1, 1, 1))
    assert worst(optimize(model, backend="native"), model, torch.randn(1, 3, 700, 900)) < 2e-5


@pytest.mark.parametrize("name", ["micro_224", "micro_384", "micro_512", "micro_224x448"])
def test_golden_data(backend, name):
    expected = golden(name)
    side = {"micro_384": 384, "micro_512": 512}.get(name)
    fast = optimize(load_model(CHECKPOINT, image_size=side), backend=backend)
    with torch.inference_mode():
        features = fast.forward_features(expected["images"])
        assert difference(features.mean((2, 3)), expected["pooled_features"]) < 1e-5
        assert difference(fast.forward_head(features), expected["logits"]) < 2e-5


def test_folding_alone_is_exact():
    model = make().double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        assert difference(fold_for_inference(model)(images), model(images)) < 1e-12


def test_the_original_is_untouched(backend):
    model = make().train()
    before = copy.deepcopy(model.state_dict())
    fast = optimize(model, backend=backend)
    fast(torch.randn(1, 3, 64, 64))
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_it_knows_what_the_original_knows(backend):
    model = make()
    model.class_names, model.provenance = list("abcdefg"), {"data": "letters"}
    fast = optimize(model, backend=backend)
    assert (fast.config, fast.preprocessing) == (model.config, model.preprocessing)
    assert (fast.class_names, fast.provenance) == (model.class_names, model.provenance)
    assert not fast.training
    assert not any(p.requires_grad for p in fast.parameters())


def test_images_in_any_layout(backend):
    model = make()
    fast = optimize(model, backend=backend)
    images = torch.randn(2, 3, 100, 80)
    with torch.inference_mode():
        answers = [fast(images), fast(images.contiguous(memory_format=torch.channels_last))]
        answers.append(fast(images.transpose(2, 3).contiguous().transpose(2, 3)))
    assert all(torch.equal(a, answers[0]) for a in answers)


def test_the_same_images_get_the_same_answers():
    fast, images = optimize(make(), backend="native"), torch.randn(5, 3, 90, 64)
    assert all(torch.equal(fast(images), fast(images)) for _ in range(3))


def test_what_is_not_a_number_is_not_hidden(backend):
    images = torch.randn(2, 3, 64, 64)
    images[1, 0, 5, 5] = torch.nan
    answers = optimize(make(), backend=backend)(images)
    assert answers[0].isfinite().all()
    assert answers[1].isnan().all()


def test_extreme_images_overflow_no_exponential(backend):
    model = make()
    images = torch.randn(1, 3, 64, 64) * torch.tensor([1e4, -1e4, 1e3])[:, None, None]
    assert worst(optimize(model, backend=backend), model, images) < 1e-4


def test_other_types_take_pytorch():
    fast = optimize(make().to(torch.bfloat16))
    assert fast.engine.startswith("PyTorch (they compute in float32 on the CPU")
    assert fast(torch.randn(1, 3, 64, 64, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_channels_that_fill_no_vector_take_pytorch():
    model = make(channels=(12, 20, 28, 36), head_dim=4)
    fast = optimize(model)
    assert "multiples of" in fast.engine
    assert worst(fast, model, torch.randn(1, 3, 64, 64)) < 2e-5
    with pytest.raises(MaxViTError, match=r"cannot be used: they take channels.*choose backend='torch'"):
        optimize(model, backend="native")


def test_channels_choose_the_width_of_the_kernels():
    assert [inference.width_for(make()), inference.width_for(make(**WIDE))] == [
        min(16, build.widths()[0]),
        build.widths()[0],
    ]


def test_without_a_compiler_pytorch_takes_over(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build, "COMPILERS", ("no-such-compiler",))
    build.load.cache_clear()
    try:
        assert "no C++ compiler" in optimize(make()).engine
        with pytest.raises(MaxViTError, match="no C\\+\\+ compiler was found"):
            optimize(make(), backend="native")
    finally:
        build.load.cache_clear()


def test_a_compiler_that_fails_is_said_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "false")
    build.load.cache_clear()
    try:
        assert "could not compile" in optimize(make()).engine
        assert list(tmp_path.rglob("*.so")) == []
    finally:
        build.load.cache_clear()


def test_a_wrong_kernel_is_caught(monkeypatch):
    correct = packing.pack
    monkeypatch.setattr(packing, "pack", lambda weight, *rest: correct(weight.flip(0), *rest))
    with pytest.raises(MaxViTError, match="differs from the original by"):
        optimize(make(), backend="native")


@pytest.mark.parametrize("dialect", [OFFICIAL, TORCHVISION, TIMM], ids=["official", "torchvision", "timm"])
@pytest.mark.parametrize("size", [(96, 128), (97, 130), (33, 61)], ids=str)
def test_int8_is_near(dialect, size, wide):
    _, model = pair("torch", dialect, wide)
    fast = int8(dialect, wide)
    images = torch.randn(4, 3, *size)
    with torch.inference_mode():
        expected, given = model(images), fast(images)
    error = (given - expected).square().mean().sqrt() / expected.std()
    assert 1e-4 < error < 0.05  # below, it would not be int8


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dialect": DIALECTS["timm_pm"]}, "compute MBConv, block attention, grid attention, and .* blocks are CCP"),
        ({"order": ("GBC", "CBG", "CBG", "BG")}, "and this network's blocks are BG and CBG and GBC"),
        ({"dialect": Dialect(norm="rms")}, r"norm1 is RMSNorm instead of LayerNorm"),
        ({"dialect": Dialect(norm="batch")}, r"norm1 is TokenBatchNorm instead of LayerNorm"),
        ({"dialect": Dialect(feed_forward="gated")}, r"ffn is GatedFeedForward instead of FeedForward"),
        ({"dialect": Dialect(qk_norm=True)}, r"attention has an added module 'qk_norm'"),
        (VOLUMES, "takes maps of 3 sides"),
    ],
    ids=str,
)
def test_blocks_that_kernels_do_not_know_are_left_to_pytorch_with_the_reason(options, says):
    model = make(**options).double()  # batch norms with drawn statistics let rounding grow
    fast, sides = optimize(model), (97, 66) if model.config.dims == 2 else (3, 37, 66)
    assert re.search(rf"^PyTorch \(.*{says}", fast.engine)
    assert worst(fast, model, torch.randn(2, 3, *sides).double()) < 1e-8
    with pytest.raises(MaxViTError, match=rf"the native kernels cannot be used: .*{says}; choose"):
        optimize(model, precision="int8")
    with pytest.warns(UserWarning, match=rf"computed by plain PyTorch: .*{says}"):
        optimize(model, backend="triton")


@functools.cache
def int8(dialect: Dialect, wide: bool) -> MaxViT:
    return optimize(pair("torch", dialect, wide)[1], precision="int8")


@pytest.mark.parametrize("width", [8, 16, 32])
def test_int8_weights_are_rounded_to_127_steps_of_each_column(width):
    weight = torch.randn(32, 24)
    panels, _, scale, total = packing.pack(weight, torch.zeros(32), packing.Packing(width, "int8"))
    levels = panels.reshape(32 // width, 6, width, 4).transpose(1, 2).reshape(32, 24)
    torch.testing.assert_close(scale, weight.abs().amax(1) / 127)
    torch.testing.assert_close(levels.float(), (weight / scale[:, None]).round())
    torch.testing.assert_close(total, scale * levels.sum(1))


@pytest.mark.parametrize("width", [8, 16, 32])
def test_fp16_weights_are_divided_by_a_power_of_two_and_rounded(width):
    weight = torch.randn(32, 24) * torch.logspace(-20, 20, 32)[:, None]
    panels, _, scale, total = packing.pack(weight, torch.zeros(32), packing.Packing(width, "fp16"))
    halves = panels.view(torch.float16).reshape(32 // width, 12, width, 2).transpose(1, 2).reshape(32, 24)
    assert (len(total), (scale.log2() % 1).abs().max()) == (0, 0)
    assert ((halves.abs().amax(1) >= 1) & (halves.abs().amax(1) <= 2)).all()
    torch.testing.assert_close(halves.float() * scale[:, None], weight, rtol=2**-11, atol=0)


@pytest.mark.parametrize("dialect", [OFFICIAL, TORCHVISION, TIMM], ids=["official", "torchvision", "timm"])
@pytest.mark.parametrize("size", [(97, 130), (33, 61)], ids=str)
def test_fp16_is_closer_than_half_the_error_of_pytorchs_bf16(dialect, size, wide):
    skip_unless("fp16")
    stem = {"stem_hidden_channels": 12} if dialect == TIMM else {}
    model = make(dialect=dialect, channels=(32, 32, 64, 96), **stem, **(WIDE if wide else {}))  # sums of 384 products
    images = torch.randn(2, 3, *size)
    with torch.inference_mode():
        exact = copy.deepcopy(model).double().forward_features(images.double())
        given = optimize(model, precision="fp16").forward_features(images)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = model.forward_features(images)
    error, allowed = ((maps - exact).norm() / exact.norm() for maps in (given, coarse))
    assert 1e-5 < error < allowed / 2  # below, it would not be fp16


def test_fp16_has_the_range_of_fp32():
    skip_unless("fp16")
    model = make()
    model.stem.conv2.weight.data *= 1e7  # what block attention adds is small beside it
    fast = optimize(model, precision="fp16")
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        first = model.stages[0][0](model.stem(images))
        assert first.abs().max() > 1e6
        torch.testing.assert_close(
            fast.stages[0][0](fast.stem(images)), first, rtol=0, atol=5e-3 * float(first.abs().max())
        )


def test_fp16_is_refused_where_the_processor_does_not_multiply_it(monkeypatch):
    monkeypatch.setattr("maxvit.kernels.optimize.lacking", lambda packing: "this processor has none")
    with pytest.raises(MaxViTError, match="cannot be used: this processor has none; choose backend='torch' or 'auto'"):
        optimize(make(), precision="fp16")


def test_other_numbers_than_floats_are_refused():
    images = torch.randn(1, 3, 64, 64)
    for dtype in (torch.bfloat16, torch.float64):
        with pytest.raises(MaxViTError, match="native kernels compute in float32"):
            optimize(make(), backend="native").to(dtype)(images.to(dtype))
    with torch.autocast("cpu"):
        fast = optimize(make(), backend="native")
        with pytest.raises(MaxViTError, match="under autocast use backend='torch'"):
            fast(images.bfloat16())


def test_each_part_of_the_original_keeps_its_mode(backend):
    model = make().train()
    model.stem.eval()
    modes = [m.training for m in model.modules()]
    optimize(model, backend=backend)
    assert [m.training for m in model.modules()] == modes


def test_what_is_optimised_is_not_optimised_again(backend, tmp_path):
    fast = optimize(make(), backend=backend)
    for use in (optimize, lambda network: export_model(network, tmp_path / "fast.onnx")):
        with pytest.raises(MaxViTError, match=r"is optimised already: (optimise or )?export the original"):
            use(fast)
    with pytest.warns(UserWarning, match="it is optimised, and can only compute"):
        assert accelerate(fast) is fast
    if backend == "native":
        with pytest.raises(MaxViTError, match="cannot be seen in an optimised network"):
            attention_maps(fast, torch.randn(3, 64, 64))


def test_a_cache_that_cannot_be_written_leaves_it_to_pytorch(monkeypatch, tmp_path):
    (tmp_path / "maxvit").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.load.cache_clear()
    try:
        assert "cannot be kept or loaded" in optimize(make()).engine
    finally:
        build.load.cache_clear()


def test_the_precision_of_products_is_left_as_it_was():
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # once it is set, reading PyTorch's older setting raises
        read, change, chosen = (
            lambda: matmul.fp32_precision,
            functools.partial(setattr, matmul, "fp32_precision"),
            "tf32",
        )
    else:  # PyTorch 2.8
        read, change, chosen = torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    before = read()
    change(chosen)
    try:
        optimize(make(), backend="torch")
        assert read() == chosen
    finally:
        change(before)


def test_what_it_refuses(tmp_path):
    fast = optimize(make())
    for change in (
        lambda: fast.train(),
        lambda: fast.set_image_size(64),
        lambda: fast.set_in_channels(1),
        lambda: fast.save(tmp_path / "fast.safetensors"),
    ):
        with pytest.raises(MaxViTError, match="only computes: train, change or save the original"):
            change()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MaxViTError, match="backend is 'cuda'; choose auto, native, triton, torch"):
        optimize(make(), backend="cuda")
    with pytest.raises(MaxViTError, match="precision is 'int4'; choose fp32, fp16, int8"):
        optimize(make(), precision="int4")
    with pytest.raises(MaxViTError, match="int8 is computed by the native kernels alone"):
        optimize(make(), backend="torch", precision="int8")
    with pytest.raises(MaxViTError, match="smallest side is 32"):
        fast(torch.randn(1, 3, 31, 64))


@pytest.mark.full
def test_int8_answers_as_fp32_does_once_trained(tmp_path):
    recipe = load_recipe("digits", ["optimization.epochs=8"])
    train(recipe, tmp_path / "run")
    model = load_model(tmp_path / "run" / "best.safetensors")
    images = torch.stack([preprocess(model.preprocessing, image) for image in load_digits().test.sources])
    with torch.inference_mode():
        expected, given = (network(images).argmax(1) for network in (model, optimize(model, precision="int8")))
    assert (given == expected).float().mean() >= 0.99


@pytest.mark.full
def test_compiled_answers_are_the_same(backend):
    model = make(depths=(1, 1, 1, 1))
    assert worst(optimize(model, backend=backend, compile=True), model, torch.randn(2, 3, 64, 64)) < 2e-5


def test_native_compiles_without_a_graph_break():
    fast = optimize(make(), backend="native")
    images = torch.randn(2, 3, 64, 64)
    program = torch.export.export(fast, (images,))
    assert difference(program.module()(images), fast(images)) < 1e-6


def test_network_of_a_task_is_named_with_what_to_optimise() -> None:
    network = make_task({"name": "regression"}).make_network(make(num_classes=0), ["age"], new_head=True)
    with pytest.raises(
        MaxViTError, match=r"TaskNetwork .* network.with_backbone\(maxvit.optimize\(network.backbone\)\)"
    ):
        optimize(network)
    network.with_backbone(optimize(network.backbone))
