"""timm's own MaxViTs (`_rw_`, `_rmlp_`, `_pm_`): read exactly, computed equally, written so that timm takes them."""

import dataclasses

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from fake_hub import put
from healthy import fill
from maxvit import MaxViT, MaxViTError, create_model, load_model
from maxvit.checkpoints.published import PUBLISHED, UNPUBLISHED
from maxvit.checkpoints.timm import infer_config, save_for_timm, timm_call, to_timm
from maxvit.config import DIALECTS, TIMM_RW, VARIANTS, Dialect
from maxvit.export.options import ExportOptions
from maxvit.export.torch_export import trace
from maxvit.tasks import make_task
from maxvit.tasks.aesthetics.data import SCORES
from maxvit.tasks.network import parts_below_head
from official import difference, images
from timm_micro import OWN, ours_of, own

NAMES = [name for name in timm.list_models("maxvit*") if "_tf_" not in name]
LIMIT = 2e-5
ROWS = {row.their_name.partition(".")[0]: row for row in (*UNPUBLISHED, *reversed(PUBLISHED))}
NORMAL = {"maxvit_rmlp_pico_rw_256"}  # the smallest; the others are of the same layers
FIELDS = [field.name for field in dataclasses.fields(Dialect)]


def agrees(ours, theirs, x):
    with torch.inference_mode():
        return difference(ours(x), theirs(x))


@pytest.mark.parametrize("name", [n if n in NORMAL else pytest.param(n, marks=pytest.mark.full) for n in NAMES])
def test_logits_are_those_of_timm_and_the_way_back_is_exact(name):
    theirs = fill(timm.create_model(name))
    ours = ours_of(theirs, theirs.img_size[0])
    assert agrees(ours, theirs, images(1, theirs.img_size[0])) < LIMIT
    back = to_timm(ours.state_dict(), ours.config)
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[n], t) for n, t in theirs.state_dict().items())
    theirs.load_state_dict(back, strict=True)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.full if "rw_384" in n else ()) for n in NAMES])
def test_configuration_follows_from_names_and_shapes_and_has_as_many_parameters(name):
    with torch.device("meta"):
        theirs, ours = timm.create_model(name), create_model(name)
    shapes = {n: tuple(t.shape) for n, t in theirs.state_dict().items()}
    assert infer_config(shapes, theirs.img_size) == ROWS[name].config == ours.config
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert timm_call(ROWS[name].config) == f"timm.create_model({name!r}, num_classes=1000)"


@pytest.mark.parametrize("dialect", OWN)
@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_small_networks_agree_too(dialect, size):
    theirs = own(dialect, size)
    ours = ours_of(theirs, size)
    assert ours.config.dialect == DIALECTS[dialect]
    assert (ours.config.image_size, ours.config.se_ratio, ours.config.expansion) == (size, 0.25, 4)
    x = torch.randn(3, 3, *size)
    assert agrees(ours, theirs, x) < LIMIT
    with torch.inference_mode():
        features = ours.forward_head(ours.forward_features(x), pre_logits=True)
        assert difference(features, theirs.forward_head(theirs.forward_features(x), pre_logits=True)) < LIMIT
    back = to_timm(ours.state_dict(), ours.config)
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[n], t) for n, t in theirs.state_dict().items())


OTHER = {  # of each value of a dialect one that is wrong
    "gelu": "tanh",
    "conv_activation": "gelu",
    "conv_bias": True,
    "padding": "same",
    "batch_norm_eps": 1e-3,
    "batch_norm_momentum": 0.01,
    "widths_from": "output",
    "shortcut_pool": "3x3",
    "shortcut_projection": "stride",
    "layer_norm_eps": 1e-5,
    "norm": "rms",
    "attention": "parallel",
    "position_bias": "table",
    "qk_norm": True,
    "feed_forward": "gated",
    "layer_scale": 0.0,
    "head": "dense",
}


@pytest.mark.parametrize("field", FIELDS)
def test_each_value_that_is_wrong_is_seen(field):
    """By other tensors; or where these are the same, by other answers; or by the constants of training."""
    theirs = own("timm_rmlp_small")
    if field == "layer_norm_eps":  # is seen where tokens are small, as at the start of training
        with torch.no_grad():
            theirs.stem.conv2.weight.mul_(1e-3)
            [block.conv.conv3_1x1.weight.mul_(1e-3) for stage in theirs.stages for block in stage.blocks]
    right = ours_of(theirs, (64, 96))
    x = torch.randn(3, 3, 64, 96)
    assert agrees(right, theirs, x) < LIMIT
    assert getattr(right.config.dialect, field) != OTHER[field]
    dialect = dataclasses.replace(right.config.dialect, **{field: OTHER[field]})
    wrong = MaxViT(dataclasses.replace(right.config, dialect=dialect)).eval()
    if wrong.state_dict().keys() != right.state_dict().keys() or any(
        t.shape != right.state_dict()[name].shape for name, t in wrong.state_dict().items()
    ):
        with pytest.raises(RuntimeError, match=r"Missing key|Unexpected key|size mismatch"):
            wrong.load_state_dict(right.state_dict())
    elif field == "batch_norm_momentum":
        wrong.load_state_dict(right.state_dict())
        for network in (wrong, right, theirs):
            network.train()(x)
        theirs_mean = theirs.stem.norm1.running_mean
        assert difference(right.stem.norm.running_mean, theirs_mean) < LIMIT
        assert difference(wrong.stem.norm.running_mean, theirs_mean) > 5 * LIMIT
    else:
        wrong.load_state_dict(right.state_dict())
        assert agrees(wrong, theirs, x) > 5 * LIMIT


@pytest.mark.parametrize("dialect", OWN)
def test_a_training_step_gives_timms_gradients(dialect):
    theirs = own(dialect).train()
    ours = ours_of(theirs, (64, 96)).train()
    ours.load_state_dict({n: t.clone() for n, t in ours.state_dict().items()}, assign=True)
    for module in (*theirs.modules(), *ours.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # of the position bias; drawn at random
    x, weights = torch.randn(3, 3, 64, 96), torch.randn(3, 10)
    for network in (ours, theirs):
        network.requires_grad_(True)
        (network(x) * weights).sum().backward()
    wanted = {n: p.grad for n, p in theirs.named_parameters()}
    found = to_timm({**ours.state_dict(), **{n: p.grad for n, p in ours.named_parameters()}}, ours.config)
    largest = max(float(g.norm()) for g in wanted.values())
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() < 1e-4 * gradient.norm() + 1e-6 * largest, name


def test_position_biases_and_scales_are_not_decayed():
    theirs = own("timm_rmlp_small")
    ours = ours_of(theirs, (64, 96))
    spared = ours.no_weight_decay()
    assert {n for n in spared if ".bias." in n} == {n for n, _ in ours.named_parameters() if ".bias." in n} != set()
    names = dict(zip(ours.state_dict(), to_timm(ours.state_dict(), ours.config), strict=True))
    by_rank = {n for n, p in theirs.named_parameters() if p.ndim < 2}  # timm's optimizers spare these by themselves
    assert {names[n] for n in spared} == theirs.no_weight_decay() | by_rank


def test_the_dropout_of_timms_position_bias_is_there_in_training():
    theirs = own("timm_rmlp")
    ours = ours_of(theirs, (64, 96)).stages[0][0].block_attention.attention.bias
    assert ours.dropout.p == theirs.stages[0].blocks[0].attn_block.attn.rel_pos.mlp.drop1.p == 0.125
    assert torch.equal(ours(), ours())
    ours.train()
    assert not torch.equal(ours(), ours())


@pytest.mark.parametrize("dialect", ["timm_rw", "timm_rmlp"])
def test_another_image_size_is_timms(dialect):
    """An MLP gives the biases of timm's network of that size; a table is resized, as the official one is."""
    theirs, larger = own(dialect, (64, 64)), own(dialect, (96, 64))
    ours = ours_of(theirs, (64, 64))
    ours.set_image_size((96, 64))
    larger.load_state_dict(to_timm(ours.state_dict(), ours.config), strict=True)
    assert agrees(ours, larger, torch.randn(2, 3, 96, 64)) < LIMIT


def test_a_file_without_a_size_has_timms_own_and_says_so(tmp_path):
    theirs = fill(timm.create_model("maxvit_rmlp_pico_rw_256", num_classes=5))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours = load_model(tmp_path / "model.safetensors")
    assert ours.config.image_size == ours.preprocessing.image_size == (256, 256)
    assert ours.config.window_size == (8, 8)
    assert ours.provenance["assumed"].startswith("made for 256 pixels, which files of timm's networks do not say")
    given = load_model(tmp_path / "model.safetensors", image_size=320)
    assert given.config.window_size == (10, 10)
    assert "assumed" not in given.provenance


def test_a_file_whose_window_no_square_has_needs_its_size(tmp_path):
    theirs = own("timm_rw", (64, 96))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(
        MaxViTError, match=r"model\.safetensors: a bias table has 15 offsets, those of no square window"
    ):
        load_model(tmp_path / "model.safetensors")
    assert agrees(load_model(tmp_path / "model.safetensors", (64, 96)), theirs, torch.randn(1, 3, 64, 96)) < LIMIT


@pytest.mark.parametrize("dialect", OWN)
def test_our_own_tensors_say_their_dialect(dialect, tmp_path):
    ours = ours_of(own(dialect, (64, 64)), (64, 64))
    torch.save(ours.state_dict(), tmp_path / "plain.pth")
    again = load_model(tmp_path / "plain.pth", image_size=64)
    assert again.config.dialect == DIALECTS[dialect]
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(again(x), ours(x))


def test_saved_for_timm_is_loaded_by_the_call_that_is_told(tmp_path):
    model = fill(MaxViT(dataclasses.replace(VARIANTS["maxvit_pico"], num_classes=5)))
    model.set_image_size((64, 96))
    call = save_for_timm(model, tmp_path / "model.safetensors")
    assert call == "timm.create_model('maxvit_rmlp_pico_rw_256', num_classes=5, img_size=(64, 96))"
    theirs = eval(call).eval()
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert agrees(model, theirs, torch.randn(2, 3, 64, 96)) < LIMIT


def test_a_dialect_that_timm_has_not_is_not_written(tmp_path):
    dialect = dataclasses.replace(TIMM_RW, gelu="tanh", shortcut_pool="3x3")
    with pytest.raises(MaxViTError, match=r"this one differs in gelu, shortcut_pool$"):
        to_timm({}, dataclasses.replace(VARIANTS["maxvit_pico"], dialect=dialect))


PUBLISHED_OWN = [row for row in PUBLISHED if row.dialect.startswith("timm_")]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row.their_name, marks=() if row.variant == "maxvit_pico" else pytest.mark.full)
        for row in PUBLISHED_OWN
    ],
)
def test_published_weights_are_loaded_by_timms_name_and_by_ours(row, tmp_path, hub_cache):
    theirs = fill(timm.create_model(row.their_name, pretrained=False))
    save_file(theirs.state_dict(), tmp_path / row.filename)
    put(hub_cache, row.place, tmp_path / row.filename)
    x = images(1, row.resolution)
    for ours in (create_model(row.their_name, pretrained=True), create_model(row.variant, pretrained=row.tag)):
        assert (ours.config, ours.preprocessing) == (row.config, row.preprocessing)
        assert ours.provenance["pretrained"] == f"https://huggingface.co/{row.place}"
        assert "assumed" not in ours.provenance
    assert agrees(ours, theirs, x) < LIMIT


def test_a_network_that_timm_does_not_publish_has_no_weights():
    with pytest.raises(MaxViTError, match=r"no weights 'pm-256' of maxvit_tiny are known: choose a tag \(in1k-224"):
        create_model("maxvit_tiny_pm_256", pretrained=True)


@pytest.mark.parametrize("dialect", OWN)
def test_any_image_size_is_one_graph_or_another(dialect):
    """Padded and masked maps, by shape and by index; and blocks that are computed again in backward."""
    ours = ours_of(own(dialect), (64, 96))
    x = torch.randn(2, 3, 33, 75)
    with torch.inference_mode():
        expected = ours(x)
        ours.set_any_size()
        assert difference(ours(x), expected) < LIMIT
    ours.set_any_size(False)
    ours.requires_grad_(True).train()
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0
    torch.manual_seed(0)
    wanted = torch.autograd.grad(ours(x).sum(), list(ours.parameters()))
    ours.set_gradient_checkpointing()
    torch.manual_seed(0)  # of the dropout of position biases
    found = torch.autograd.grad(ours(x).sum(), list(ours.parameters()))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dialect", OWN)
def test_a_file_of_ours_and_changes_of_the_head_keep_the_dialect(dialect, tmp_path):
    ours = ours_of(own(dialect), (64, 96))
    ours.reset_classifier(4, "max")
    ours.set_in_channels(1)
    ours.save(tmp_path / "ours.safetensors")
    again, x = load_model(tmp_path / "ours.safetensors"), torch.randn(2, 1, 64, 96)
    assert again.config == ours.config
    assert torch.equal(again(x), ours(x))
    ours.reset_classifier(0, "")
    assert ours(x).shape == (2, 96, 2, 3)
    assert torch.equal(torch.fx.symbolic_trace(ours)(x), ours(x))


@pytest.mark.full
@pytest.mark.parametrize("dialect", ["timm_rmlp_small", "timm_pm"])
def test_one_program_takes_images_of_any_size(dialect):
    ours = ours_of(own(dialect), (64, 96))
    program = trace(ours, ExportOptions(any_size=True)).module()
    for shape in ((2, 3, 64, 96), (1, 3, 37, 101)):
        x = torch.randn(shape)
        with torch.inference_mode():
            assert difference(program(x), ours(x)) < LIMIT


@pytest.mark.parametrize("dialect", ["timm_rw", "timm_rmlp_base"])
def test_a_probe_and_a_head_for_scores_train_what_they_should(dialect):
    ours = ours_of(own(dialect), (64, 96))
    below = {id(p) for part in parts_below_head(ours) for p in part.parameters()}
    assert {n for n, p in ours.named_parameters() if id(p) not in below} == {
        "head.classifier.weight",
        "head.classifier.bias",
    }
    network = make_task({"name": "aesthetics"}).make_network(ours, SCORES).eval()
    assert not any(n.startswith("backbone.head") for n in network.state_dict())
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        pooled = network.head.features(network.backbone.forward_features(x), pre_logits=True)
        assert torch.equal(network(x), network.head.scores(pooled))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("stages.0.blocks.0.attn_grid.ls1.gamma"), r"attn_grid\.ls1\.gamma is missing$"),
        (lambda s: s.pop("norm.weight"), r"norm\.weight is missing$"),
        (lambda s: s.update({"stem.conv1.bias": torch.zeros(24)}), r"are in none of timm's MaxViTs"),
        (lambda s: s.update({"stages.0.blocks.0.conv.down.weight": torch.zeros(1)}), r"down\.weight are in none of"),
        (lambda s: s.update({"stages.0.blocks.0.attn_block.attn.qkv.bias": torch.zeros(95)}), r"has shape \(95,\)"),
        (
            lambda s: [s.pop(n) for n in list(s) if ".mlp.fc2.weight" in n and "rel_pos" in n],
            r"mlp\.fc2\.weight is missing",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, says, tmp_path):
    state = dict(own("timm_rmlp_small", (64, 64)).state_dict())
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(MaxViTError, match=says):
        load_model(tmp_path / "model.safetensors", image_size=64)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"gelu": "exact"}, "gelu is 'exact'; choose 'tanh' or 'erf'"),
        ({"conv_bias": 1}, "conv_bias is 1; choose True or False"),
        ({"attention": None}, "attention is None; choose 'in turn' or 'parallel'"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps is '1e-5'; it takes a number from 0 to 1"),
        ({"layer_scale": -1.0}, r"layer_scale is -1\.0; it takes a number from 0 to 1"),
    ],
)
def test_a_value_that_no_dialect_has_is_refused(values, says):
    with pytest.raises(MaxViTError, match=says):
        Dialect(**values)


def test_weights_of_another_variant_are_refused_by_name(tmp_path):
    save_file(own("timm_rw", (64, 64)).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(
        MaxViTError, match=r"holds weights of no published variant .*, not of maxvit_pico: read them with"
    ):
        create_model("maxvit_pico", pretrained=tmp_path / "model.safetensors")
