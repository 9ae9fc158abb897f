"""A small network, and clients of it without a socket."""

import pytest
from served import network, task_network
from starlette.testclient import TestClient

from maxvit.inference.answering import TaskPredictor
from maxvit.inference.predictor import Predictor
from maxvit.serve.app import create_app
from maxvit.serve.limits import Limits


@pytest.fixture(scope="session")
def predictor():
    return Predictor(network())


@pytest.fixture(scope="session")
def scores():
    """Of aesthetics."""
    return TaskPredictor(task_network("aesthetics", [str(i) for i in range(1, 11)], "squash"))


@pytest.fixture(scope="session")
def brightest():
    """Of a task of the tests, which has boxes and pictures."""

    return TaskPredictor(task_network("brightest", ["star"]))


@pytest.fixture(scope="session")
def shared(predictor):
    """For requests alone: a mistake of ours is raised."""
    with TestClient(create_app({"small": predictor}, limits=Limits(max_pixels=1_000_000))) as client:
        yield client


@pytest.fixture
def client(predictor):
    """For a test that changes it or counts."""
    with TestClient(create_app({"small": predictor})) as client:
        yield client
