"""Networks to and from the Hugging Face Hub; no test has a network."""

import copy
import json
import pickle
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import ModelHubMixin, errors

import maxvit
from fake_hub import REVISION, put
from maxvit import MaxViT, MaxViTConfig, MaxViTError, TaskNetwork, storage
from maxvit.hub.download import download, plain_errors
from maxvit.tasks import make_task

SMALL = MaxViTConfig(
    stem_channels=4,
    channels=(8, 8, 12, 12),
    depths=(1, 1, 1, 1),
    head_dim=4,
    num_classes=3,
    image_size=(64, 96),
    window_size=(2, 3),
    grid_size=(2, 3),
)


@pytest.fixture(autouse=True)
def a_hub(no_hub, monkeypatch):
    """What tests put in place of the hub is asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def model():
    network = MaxViT(SMALL, class_names=["ash", "b|ch", "<oak>"]).eval()
    network.provenance = {"data": "trees", "val_accuracy": 0.5}
    return network


def assert_same(a: MaxViT | TaskNetwork, b: MaxViT | TaskNetwork) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert json.dumps(a.metadata()) == json.dumps(b.metadata())


def test_folder_comes_back_as_it_was(model, tmp_path):
    model.save_pretrained(tmp_path / "trees")
    back = MaxViT.from_pretrained(tmp_path / "trees")
    assert_same(back, model)
    assert isinstance(back, ModelHubMixin)
    assert not back.training
    assert_same(MaxViT.from_pretrained(tmp_path / "trees" / "model.safetensors"), model)


@pytest.fixture(params=["classification", "segmentation", "detection", "aesthetics", "masked"])
def network(request, model):
    """A network of each task."""
    task = make_task({"name": request.param})
    made = task.make_network(model, ["ash", "b|ch", "<oak>"], new_head=True).eval()
    made.provenance = {"data": "trees"}
    return made


def test_networks_of_every_task_come_back_with_their_card(network, tmp_path):
    network.save_pretrained(tmp_path)
    assert_same(type(network).from_pretrained(tmp_path), network)
    assert_same(maxvit.load(tmp_path), network)
    _, header, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    tag = {"segmentation": "image-segmentation", "detection": "object-detection", "aesthetics": None, "masked": None}
    name = network.metadata().get("task", {}).get("name")
    assert yaml.safe_load(header).get("pipeline_tag") == (tag[name] if name else "image-classification")
    kind = "MaxViT" if name is None else "TaskNetwork"
    assert f'maxvit.{kind}.from_pretrained("owner/name")' in text
    assert r"3: ash, b\|ch, \<oak\>" in text
    assert ("## Task" in text, f"| name | {name} |" in text) == (name is not None, name is not None)


def test_network_of_another_kind_is_sent_to_what_reads_it(model, tmp_path):
    model.save_pretrained(tmp_path / "a")
    with pytest.raises(MaxViTError, match=r"holds a MaxViT with its own head: read it with maxvit\.load"):
        TaskNetwork.from_pretrained(tmp_path / "a")
    make_task({"name": "aesthetics"}).make_network(model, ["1", "2"], new_head=True).save_pretrained(tmp_path / "b")
    with pytest.raises(MaxViTError, match=r"a network for aesthetics \(see maxvit\.load\): a classifier is wanted"):
        MaxViT.from_pretrained(tmp_path / "b")


def test_configuration_file_is_a_copy_that_nobody_reads(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == storage.load_metadata(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"config": {"depths": 7}, ')
    assert_same(MaxViT.from_pretrained(tmp_path), model)


def test_changes_after_construction_are_saved(model, tmp_path):
    model.reset_classifier(2, class_names=["elm", "fir"])
    model.set_image_size(128)
    model.save_pretrained(tmp_path)
    assert_same(MaxViT.from_pretrained(tmp_path), model)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["window_size"] == [4, 4]


def test_model_card_says_what_the_metadata_says(model, tmp_path):
    model.save_pretrained(tmp_path)
    _, header, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "apache-2.0"
    assert r"3: ash, b\|ch, \<oak\>" in text
    assert "| image size | 64, 96 |" in text
    assert "| mean | 0.5, 0.5, 0.5 |" in text
    assert "- data: trees" in text


def test_model_card_that_somebody_wrote_is_kept(model, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_repository_in_the_cache_is_found_without_a_network(model, tmp_path, hub_cache):
    model.save(tmp_path / "model.safetensors")
    put(hub_cache, "owner/trees", tmp_path / "model.safetensors")
    assert_same(MaxViT.from_pretrained("owner/trees"), model)
    assert_same(MaxViT.from_pretrained("owner/trees", revision=REVISION, local_files_only=True), model)


def test_another_cache_can_be_named(model, tmp_path, hub_cache):
    model.save(tmp_path / "model.safetensors")
    put(tmp_path / "other", "owner/trees", tmp_path / "model.safetensors")
    assert_same(MaxViT.from_pretrained("owner/trees", cache_dir=tmp_path / "other"), model)
    with pytest.raises(MaxViTError, match="is not in its cache"):
        MaxViT.from_pretrained("owner/trees")


def test_revision_that_is_not_cached_is_not_another(model, tmp_path, hub_cache):
    model.save(tmp_path / "model.safetensors")
    put(hub_cache, "owner/trees", tmp_path / "model.safetensors")
    with pytest.raises(MaxViTError, match=r"resolve/v2/model\.safetensors"):
        MaxViT.from_pretrained("owner/trees", revision="v2")


def test_file_of_another_program_is_sent_to_its_reader(tmp_path):
    storage.save(tmp_path / "model.safetensors", {"conv.weight": torch.zeros(1)}, {})
    with pytest.raises(MaxViTError, match=r"was not written by maxvit; maxvit\.load_model reads"):
        MaxViT.from_pretrained(tmp_path)


def test_missing_files_are_named(tmp_path, hub_cache):
    with pytest.raises(MaxViTError, match=r"is a folder without best\.safetensors or model\.safetensors"):
        MaxViT.from_pretrained(tmp_path)
    with pytest.raises(MaxViTError, match=r"nothing\.safetensors does not exist"):
        MaxViT.from_pretrained("runs/nothing.safetensors")
    with pytest.raises(MaxViTError, match="'a/b/c' is not a name on the hub"):
        MaxViT.from_pretrained("a/b/c")


def test_one_changed_bit_is_noticed(model, tmp_path, hub_cache):
    model.save(tmp_path / "model.safetensors")
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    put(hub_cache, "owner/trees", tmp_path / "model.safetensors", bytes(content))
    with pytest.raises(MaxViTError, match=r"is damaged .*: delete .*blobs"):
        MaxViT.from_pretrained("owner/trees")


class FakeApi:
    """What huggingface_hub's mixin calls to push."""

    calls: dict

    def __init__(self, token=None):
        FakeApi.calls = {"token": token}

    def create_repo(self, repo_id, private, exist_ok):
        self.calls.update(private=private)
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, folder_path, **asked):
        self.calls.update(asked, files={path.name: path.read_bytes() for path in folder_path.iterdir()})
        return "https://huggingface.co/owner/trees/commit/1"


def test_pushing_writes_weights_configuration_and_card(model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", FakeApi)
    answer = model.push_to_hub(
        "owner/trees", private=True, token="t", branch="v2", create_pr=True, commit_message="Trees"
    )
    assert answer == "https://huggingface.co/owner/trees/commit/1"
    said = FakeApi.calls
    assert (said["repo_id"], said["private"], said["token"]) == ("owner/trees", True, "t")
    assert (said["revision"], said["create_pr"], said["commit_message"]) == ("v2", True, "Trees")
    assert sorted(said["files"]) == ["README.md", "config.json", "model.safetensors"]
    assert b'from_pretrained("owner/trees")' in said["files"]["README.md"]
    (tmp_path / "back.safetensors").write_bytes(said["files"]["model.safetensors"])
    assert_same(MaxViT.load(tmp_path / "back.safetensors"), model)


def test_saving_can_push_as_well(model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", FakeApi)
    answer = model.save_pretrained(
        tmp_path, push_to_hub=True, repo_id="owner/trees", private=True, token="t", branch="v2", commit_message="Trees"
    )
    assert answer == "https://huggingface.co/owner/trees/commit/1"
    said = FakeApi.calls
    assert (said["repo_id"], said["private"], said["token"]) == ("owner/trees", True, "t")
    assert (said["revision"], said["create_pr"], said["commit_message"]) == ("v2", False, "Trees")
    assert sorted(said["files"]) == sorted(path.name for path in tmp_path.iterdir())
    assert b'from_pretrained("owner/trees")' in said["files"]["README.md"]
    assert said["files"]["README.md"] == (tmp_path / "README.md").read_bytes()


def test_saving_pushes_to_the_name_of_the_folder_where_no_other_is_given(model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", FakeApi)
    model.save_pretrained(tmp_path / "trees", push_to_hub=True)
    assert FakeApi.calls["repo_id"] == "trees"


def test_saving_pushes_nothing_unless_it_is_told_to(model, tmp_path, hub_cache):
    assert model.save_pretrained(tmp_path, repo_id="owner/trees") is None


def test_configuration_of_ones_own_is_refused(model, tmp_path):
    with pytest.raises(MaxViTError, match=r"config\.json is a copy of what the weights file says .*: leave config out"):
        model.save_pretrained(tmp_path, config={"depths": 7})


def test_networks_of_tasks_are_pushed_unless_they_could_not_be_read_back(model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", FakeApi)
    network = make_task({"name": "aesthetics"}).make_network(model, ["1", "2"], new_head=True)
    network.push_to_hub("owner/photos")
    assert sorted(FakeApi.calls["files"]) == ["README.md", "config.json", "model.safetensors"]
    network.head.scores = torch.nn.Identity()
    with pytest.raises(MaxViTError, match="the network has other layers than its configuration describes"):
        network.push_to_hub("owner/photos")


def test_pushing_without_a_network_is_one_sentence(model, hub_cache):
    with pytest.raises(MaxViTError, match=r"HF_HUB_OFFLINE is set\), and owner/trees is as it was") as raised:
        model.push_to_hub("owner/trees", token="t")
    assert "\n" not in str(raised.value)


def of(kind: type[Exception], status: int = 500) -> Exception:
    """An exception of the hub's library, whose constructors differ between its versions."""
    error = kind.__new__(kind)
    error.response = SimpleNamespace(status_code=status)
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (of(errors.RepositoryNotFoundError), "no repository 'owner/trees', or it is private: check the name, or run"),
        (of(errors.GatedRepoError), r"terms to accept first: visit https://huggingface\.co/owner/trees"),
        (of(errors.RevisionNotFoundError), "has no such revision"),
        (of(errors.EntryNotFoundError), r"owner/trees holds no file model\.safetensors"),
        (of(errors.LocalEntryNotFoundError), r"cannot be reached \(local_files_only was asked for\), and so on"),
        (of(errors.LocalTokenNotFoundError), "who you are for owner/trees: run: hf auth login"),
        (of(errors.HfHubHTTPError, 401), "answered 401 for owner/trees: run: hf auth login"),
        (of(errors.HfHubHTTPError, 503), "answered 503 for owner/trees: try again later"),
        (TimeoutError(), r"cannot be reached \(TimeoutError\), and so on"),
        (of(errors.HTTPError), r"cannot be reached \(HTTPError\), and so on"),
        (OSError(28, "No space left on device"), r"cannot write model\.safetensors of owner/trees to disk"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_of_the_hub_become_one_sentence(error, says):
    with pytest.raises(MaxViTError, match=says) as raised, plain_errors("owner/trees", "model.safetensors", "so on"):
        raise error
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is error


def test_first_request_that_fails_is_not_repeated(monkeypatch, tmp_path):
    requests = []

    def refuse(url, token, timeout):
        requests.append((url, token, timeout))
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    with pytest.raises(MaxViTError, match=r"cannot be reached \(ConnectionError\)"):
        download("owner/trees", "model.safetensors", token="t", cache_dir=tmp_path)
    ((url, token, timeout),) = requests
    assert url == "https://huggingface.co/owner/trees/resolve/main/model.safetensors"
    assert token == "t"
    assert timeout <= 10


def test_mixin_leaves_nothing_on_the_network(model):
    assert not [name for name in vars(model) if "hub" in name]
    assert_same(copy.deepcopy(model), model)
    assert_same(pickle.loads(pickle.dumps(model)), model)


def test_network_still_compiles(model):
    images = torch.randn(2, 3, 64, 96)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), model(images))
