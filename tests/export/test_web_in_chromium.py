"""The page in a real browser: its answers are Python's. Skipped where there is no Chromium or no npm."""

import functools
import http.server
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

import chromium
import healthy
import maxvit
from every_task import network_of
from maxvit import MaxViT, Predictor, export_web
from maxvit.layers.novelty import Novelty

skimage = pytest.importorskip("skimage", reason="needs scikit-image")
pytest.importorskip("onnxruntime")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(chromium.BROWSER is None, reason="needs Chromium"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm"),
]
PICTURES = ("photo.png", "odd.jpg", "turned.jpg", "grey.png", "clear.png", "unfilled.png", "palette.png", "small.webp")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Photographs in the forms that files have."""
    folder, face = tmp_path_factory.mktemp("pictures"), skimage.data.astronaut()
    alpha = np.random.default_rng(0).integers(0, 256, (512, 512, 1), np.uint8)
    turned = Image.Exif()
    turned[0x112] = 6
    Image.fromarray(face).save(folder / "photo.png")
    Image.fromarray(face[:333, :501]).save(folder / "odd.jpg", quality=90)
    Image.fromarray(skimage.data.chelsea()[:, :377]).save(folder / "turned.jpg", exif=turned)
    Image.fromarray(skimage.data.camera()[:401]).save(folder / "grey.png")
    Image.fromarray(np.concatenate([face, alpha], 2)[:301]).save(folder / "clear.png")
    Image.fromarray(np.concatenate([face, 0 * alpha], 2)[:, :299]).save(folder / "unfilled.png")
    Image.fromarray(skimage.data.coffee()).convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    Image.fromarray(face).resize((43, 37)).save(folder / "small.webp", lossless=True)
    (folder / "words.txt").write_text("no picture")
    (folder / "damaged.jpg").write_bytes((folder / "odd.jpg").read_bytes()[:90])
    return folder


@pytest.fixture(scope="module")
def model() -> MaxViT:
    return healthy.digits()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "micro"
    export_web(model, folder)
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Isolated(Quiet):
    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


@pytest.fixture
def served(folder, request):
    """The address of the folder, and no other."""
    handler = functools.partial(getattr(request, "param", Quiet), directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


STATUS = "document.getElementById('status')"


def ask(page, file):
    before = page.run("document.getElementById('answer').dataset.number ?? null")
    page.choose("#file", file)
    answered(page, before)


def answered(page, before):
    number = "(document.getElementById('answer').dataset.number ?? null)"
    page.wait(f"{STATUS}.classList.contains('bad') || {number} !== {'null' if before is None else repr(before)}")
    assert page.run(f"{STATUS}.textContent") == ""


def lines(page):
    return page.run(
        "[...document.querySelectorAll('#answer li')].map((li) => [li.firstChild.textContent, +li.dataset.value])"
    )


def said(page):
    return page.run("document.querySelector('.said').textContent")


def open_page(page, address, **settings):
    page.open(address, **settings)
    page.wait(f"document.documentElement.dataset.ready || {STATUS}.classList.contains('bad')")


def check_classes(page, model, file):
    ask(page, file)
    best = Predictor(model)([str(file)])[0].value.topk(5)
    names, values = zip(*lines(page), strict=True)
    assert list(names) == [model.class_names[i] for i in best.indices]
    assert values == pytest.approx(best.values.tolist(), abs=1e-4)


def test_probabilities_are_those_of_python_and_no_other_host_is_asked(served, model, pictures):
    with chromium.browse() as page:
        open_page(page, served)
        for name in PICTURES:
            check_classes(page, model, pictures / name)
        assert page.errors == []
        assert {url.removeprefix("blob:").startswith(served) for url in page.requests} == {True}


def test_it_also_runs_where_it_is_opened_as_a_file(folder, model, pictures):
    with chromium.browse() as page:
        open_page(page, (folder / "index.html").as_uri())
        check_classes(page, model, pictures / "odd.jpg")
        assert page.errors == []


@pytest.mark.parametrize("served", [Isolated], indirect=True)
def test_where_the_page_is_isolated_it_computes_with_several_threads(served, model, pictures):
    with chromium.browse() as page:
        open_page(page, served)
        check_classes(page, model, pictures / "turned.jpg")
        threads = page.run("Math.min(navigator.hardwareConcurrency, 4)")
        assert f"with {threads} thread" in page.run("document.getElementById('times').textContent")


@pytest.mark.parametrize("name", ["segmentation", "detection", "aesthetics", "regression"])
@pytest.mark.filterwarnings("ignore:::torch.export", "ignore:::copyreg", "ignore:::onnxscript")
def test_answers_of_other_tasks_are_those_of_python(name, pictures, tmp_path):
    network, file = network_of(name, fit="squash"), pictures / "turned.jpg"
    export_web(network, tmp_path / "page")
    wanted = Predictor(network)([str(file)])[0]
    value = wanted.to_json()
    expected = {
        "segmentation": lambda: list(value["shares"].items()),
        "detection": lambda: [(one["class"], one["score"]) for one in value["objects"]],
        "aesthetics": lambda: list(value["shares"].items()),
        "regression": lambda: list(value["values"].items()),
    }[name]()
    with chromium.browse() as page:
        open_page(page, (tmp_path / "page" / "index.html").as_uri())
        ask(page, file)
        found = lines(page)
        assert wanted.summary.startswith(said(page).removesuffix(" of 10"))
        assert [one for one, _ in found] == [one for one, _ in expected]
        assert [number for _, number in found] == pytest.approx([number for _, number in expected], abs=1e-4)
        assert page.errors == []


def test_a_picture_unlike_those_of_training_is_none_of_the_classes(model, pictures, tmp_path):
    twin = maxvit.MaxViT(model.config, class_names=model.class_names)
    twin.load_state_dict(model.state_dict())
    channels = sum(twin.config.channels)
    twin.set_novelty(Novelty(channels, 1))
    export_web(twin, tmp_path / "page")
    (wanted,) = Predictor(twin)([str(pictures / "odd.jpg")])
    assert wanted.summary.startswith("none of these")
    with chromium.browse() as page:
        open_page(page, (tmp_path / "page" / "index.html").as_uri())
        check_classes(page, twin, pictures / "odd.jpg")
        assert said(page) == "None of these"
        assert f"novelty {wanted.value.novelty:.2f}" in page.run("document.getElementById('answer').textContent")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("words.txt", "words.txt is not a picture."),
        ("damaged.jpg", "damaged.jpg is not a picture that this browser can read."),
    ],
)
def test_what_is_not_a_picture_is_said(name, sentence, folder, pictures):
    with chromium.browse() as page:
        open_page(page, (folder / "index.html").as_uri())
        page.choose("#file", pictures / name)
        page.wait(f"{STATUS}.classList.contains('bad')")
        assert page.run(f"{STATUS}.textContent") == sentence


def test_a_browser_without_webassembly_is_told(folder):
    with chromium.browse() as page:
        page.prepend("delete self.WebAssembly")
        open_page(page, (folder / "index.html").as_uri())
        assert page.run(f"{STATUS}.textContent").startswith("This browser lacks WebAssembly")


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_sticks_out_and_the_camera_is_reached_by_keyboard(dark, folder, model):
    with chromium.browse() as page:
        open_page(page, (folder / "index.html").as_uri(), width=390, height=844, dark=dark)
        for _ in range(2):
            page.press("Tab")
        assert page.run("document.activeElement.id") == "camera"
        page.press("Enter")
        page.wait("document.activeElement.id === 'shoot' && document.getElementById('video').videoWidth")
        page.press("Enter")
        answered(page, None)
        assert len(lines(page)) == 5
        assert page.run("document.documentElement.scrollWidth") <= 390
        assert page.run("document.getElementById('picture').ariaLabel").startswith("The picture: digit ")
        assert page.run("document.getElementById('video').hidden")
        colour = page.run("getComputedStyle(document.body).backgroundColor")
        assert colour == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
        assert page.errors == []
