"""Small networks, and clients of them without a socket."""

import pytest
from served import network
from starlette.testclient import TestClient

from every_task import network_of
from maxvit.inference.predictor import Predictor
from maxvit.serve.app import create_app
from maxvit.serve.limits import Limits


@pytest.fixture(scope="session")
def predictor():
    return Predictor(network())


@pytest.fixture(scope="session")
def brightest():
    """A task of the tests, whose predictions are places."""
    return Predictor(network_of("brightest"))


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
