"""Batches that memory does not take are computed in halves, with the same answers, wherever one predicts."""

import pytest
import torch

from maxvit.cli.errors import exit_code
from maxvit.create import create_model
from maxvit.errors import MaxViTError, is_out_of_memory
from maxvit.inference.engines import TorchEngine, predict, predict_and_embed
from maxvit.inference.portions import Portions
from maxvit.inference.predictor import Predictor
from maxvit.model import MaxViT
from maxvit.tasks import make_task

CPU = torch.device("cpu")
MESSAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 8.00 KB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 4096"),
    OSError(12, "Cannot allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", MESSAGES, ids=lambda e: type(e).__name__)
def test_every_way_to_say_it_is_understood(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(MaxViTError("one image is too much: out of memory"))


class Takes:
    """A computation whose memory ends above so many images, and what it was given."""

    def __init__(self, most):
        self.most, self.seen = most, []

    def __call__(self, images):
        self.seen.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return images.flatten(1).sum(1)


def test_halves_answer_what_the_whole_does_and_are_kept():
    told, compute, images = [], Takes(2), torch.randn(7, 3, 5, 4)
    portions = Portions(CPU, told.append)
    for _ in range(2):
        found = torch.cat(portions(lambda part: compute(images[part]), images))
        torch.testing.assert_close(found, images.flatten(1).sum(1))
    assert compute.seen == [7, 4, 2, 2, 2, 1, 2, 2, 2, 1]
    assert told == [f"out of memory with {n} images at once: going on with {-(-n // 2)}" for n in (7, 4)]


def test_one_image_that_is_too_much_is_said_with_what_would_fit():
    portions, compute = Portions(CPU, lambda _: None), Takes(0)
    with pytest.raises(MaxViTError, match=r"one image of 5 x 4 is too much for the memory of cpu: take smaller images"):
        portions(lambda part: compute(torch.ones(2, 3, 5, 4)[part]), torch.ones(2, 3, 5, 4))


def test_an_empty_batch_has_an_answer():
    assert [len(r) for r in Portions(CPU, print)(lambda p: torch.ones(0, 3)[p], torch.ones(0, 3, 5, 4))] == [0]


@pytest.fixture
def little_memory(monkeypatch):
    whole = MaxViT._maps

    def maps(self, images):
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, images)

    monkeypatch.setattr(MaxViT, "_maps", maps)


def test_a_classifier_answers_with_little_memory(little_memory, capsys):
    model, images = create_model("maxvit_micro", num_classes=3, image_size=32), torch.randn(5, 3, 32, 32)
    engine = TorchEngine(model)
    with torch.inference_mode():
        expected = torch.cat([model.eval()(images[:2]), model(images[2:4]), model(images[4:])]).softmax(1)
    sizes = [(32, 32)] * 5
    torch.testing.assert_close(torch.stack(predict(engine, images, sizes)), expected)
    predictions, embeddings = predict_and_embed(engine, images, sizes)
    torch.testing.assert_close(torch.stack(predictions), expected)
    assert embeddings.shape == (5, model.config.channels[-1])
    assert "going on with 2\n" in capsys.readouterr().err


def test_a_task_answers_with_little_memory(monkeypatch):
    backbone = create_model("maxvit_micro", image_size=32)
    predictor = Predictor(make_task({"name": "aesthetics"}).make_network(backbone, ["score"]))
    images, sizes = torch.randn(3, 3, 32, 32), [(32, 32)] * 3
    expected = predictor.ensemble.predict([images], sizes)
    task, whole = type(predictor.task), type(predictor.task).predict

    def predict(self, network, images, sizes):
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        assert len(images) == len(sizes)
        return whole(self, network, images, sizes)

    monkeypatch.setattr(task, "predict", predict)
    torch.testing.assert_close(predictor.ensemble.predict([images], sizes), expected)


def test_elsewhere_it_is_one_sentence_and_no_mistake_of_ours(capsys):
    def command():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    assert exit_code(command) == 2
    says = "error: out of memory: take smaller images or batches, a smaller network, or another --device (CUDA out of"
    assert capsys.readouterr().err.startswith(says)
