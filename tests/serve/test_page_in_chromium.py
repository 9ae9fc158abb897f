"""The page in a real browser, with real clicks; skipped where there is no Chromium or no Playwright."""

import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import healthy
from every_task import network_of
from maxvit import MaxViT, Predictor
from maxvit.explain.token_attention import attention_at
from maxvit.search.build import build_index

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def model() -> MaxViT:
    return healthy.digits()


@pytest.fixture(scope="module")
def address(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    model.save(folder / "micro.safetensors")
    network_of("brightest", fit="squash").save(folder / "stars.safetensors")
    network_of("aesthetics").save(folder / "scores.safetensors")
    paths = [str(folder / f"{name}.safetensors") for name in ("micro", "stars", "scores")]
    photos = folder / "photos"
    photos.mkdir()
    for seed in range(3):
        (photos / f"{seed}.png").write_bytes(picture(seed))
    build_index(photos, folder / "index", paths[0])
    command = [sys.executable, "-m", "maxvit", "serve", *paths, "--task", "brightest", "--page", "--port", "0"]
    command += ["--index", str(folder / "index")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}  # where the task is
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        for line in process.stderr:
            if found := re.search(r"serving on (http://\S+),", line):
                break
        yield found[1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """The page, freshly opened; afterwards it had no error and asked no other host."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page, errors, hosts = context.new_page(), [], set()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: hosts.add(request.url.partition("//")[2].partition("/")[0]))
    page.goto(address)
    settle(page)
    yield page
    context.close()
    assert errors == []
    assert {host for host in hosts if "." in host or ":" in host} == {address.partition("//")[2]}


def settle(page) -> None:
    """Wait until all of an answer is shown."""
    page.wait_for_function("document.querySelector('.layer') && !document.querySelector('#status').textContent")


def picture(seed=0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def upload(page) -> None:
    with page.expect_response("**/explain?**"):
        page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": picture()})
    page.locator("#classes li").first.wait_for()


def test_the_page_opens_with_an_example_that_is_answered_and_explained(page):
    assert page.locator("#example").text_content().startswith("An example, drawn here. The cross marks where")
    assert page.locator("#classes li").count() == 5
    assert page.locator(".layer canvas").count() > 0
    assert page.locator("#pictures li").count() == 3
    page.locator("#model").select_option("stars")
    settle(page)
    assert page.locator("#summary").text_content()
    assert not page.locator("#similar").is_visible()


def test_similar_pictures_are_shown_with_the_most_similar_first(page):
    upload(page)
    page.locator("#pictures b", has_text="1.000").wait_for()
    assert not page.locator("#example").is_visible()
    assert page.locator("#pictures p").first.text_content() == "1.000 0.png"
    assert page.locator("#pictures img").count() == 3


def test_an_upload_and_a_click_show_what_the_functions_find(page, model):
    upload(page)
    assert page.locator("#classes li").count() == 5
    box = page.locator("#picture").bounding_box()
    with page.expect_response("**/explain?**x=**") as response:
        page.locator("#picture").click(position={"x": box["width"] * 20.5 / 32, "y": box["height"] * 9.5 / 32})
    page.locator(".layer").first.wait_for()
    found = json.loads(response.value.body())
    layers = attention_at(model, Predictor(model).prepare(picture()).images[0], (20, 9))
    for given, layer in zip(found["layers"], layers, strict=True):
        assert np.allclose(given["values"], layer.values, atol=1e-5)  # the optimised network prepared the image
    assert page.locator(".layer canvas").count() == len(layers)
    inside, outside = page.evaluate(
        """() => {
            const canvas = document.querySelector('.layer canvas'), context = canvas.getContext('2d');
            const at = (x, y) => [...context.getImageData(x * canvas.width / 32, y * canvas.height / 32, 1, 1).data];
            return [at(18, 10), at(2, 30)];
        }"""
    )
    assert len(set(inside[:3])) > 1  # coloured: the point's window has columns 16 to 31 and rows 0 to 15
    assert len(set(outside[:3])) == 1  # the picture in grey


def test_a_class_can_be_chosen_and_a_point_moved_by_keyboard(page):
    upload(page)
    second = page.locator("#classes button").nth(1)
    name = second.locator("span").first.text_content()
    with page.expect_response("**of=digit**"):
        second.focus()
        page.keyboard.press("Enter")
    page.locator("#map-title", has_text=name).wait_for()
    page.locator("#picture").focus()
    with page.expect_response("**x=17&y=16**"):
        page.keyboard.press("ArrowRight")
    page.locator(".layer").first.wait_for()


def test_drawings_and_other_maps(page):
    for sample in ("3", "8", "shapes"):
        with page.expect_response("**/explain?**"):
            page.get_by_role("button", name=sample, exact=True).click()
    with page.expect_response("**method=gradcam**"):
        page.locator("#method").select_option("gradcam")
    page.locator("#map-title", has_text="Grad-CAM").wait_for()


def test_what_is_no_image_is_said(page):
    page.locator("#file").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"words"})
    page.locator("#status.bad", has_text="not an image").wait_for()


def dark_with_a_star() -> bytes:
    """200 x 100, white at x from 140 to 160 and y from 20 to 30."""
    image, file = np.full((100, 200, 3), 30, np.uint8), io.BytesIO()
    image[20:30, 140:160] = 255
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def ask_of_task(page, name, by=lambda page, name: page.locator("#model").select_option(name)):
    page.locator(f"#model option[value={name}]").wait_for(state="attached")
    by(page, name)
    settle(page)
    with page.expect_response("**/predict?picture=true"):
        page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": dark_with_a_star()})
    page.locator("#summary", has_text=re.compile(".")).wait_for()


def test_a_network_of_a_user_s_task_shows_its_picture_its_summary_and_its_prediction_in_full(page):
    ask_of_task(page, "stars")
    assert re.fullmatch(r"star at 1[456]\d, 2\d", page.locator("#summary").text_content())
    pixel = """([x, y]) => {
        const canvas = document.querySelector('#drawn'), scale = canvas.width / 200;
        return [...canvas.getContext('2d').getImageData(x * scale, y * scale, 1, 1).data].slice(0, 3);
    }"""
    assert page.evaluate("() => { const c = document.querySelector('#drawn'); return c.width / c.height; }") == 2
    assert page.evaluate(pixel, [145, 25]) == [255, 0, 0]
    assert page.evaluate(pixel, [50, 75]) == [30, 30, 30]
    cells = page.locator("#tables td").all_text_contents()
    assert cells[:3] == ["100", "200", "star"]
    assert page.locator("#tables thead th").all_text_contents() == ["class", "at"]
    assert not page.locator("#of-classes").is_visible()
    assert page.locator("#map-title").text_content() == "attention rollout"
    assert page.locator("#method option:disabled").all_text_contents() == ["rollout for the class", "Grad-CAM"]


def test_a_point_shows_what_it_attends_to_in_a_network_without_classes(page):
    ask_of_task(page, "stars")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_response("**/explain?**x=**"):
        page.locator("#picture").click()
    page.locator(".layer").first.wait_for()
    assert page.locator(".layer canvas").count() == 8
    assert not any("/predict" in url for url in asked)  # the prediction is the same
    assert page.locator("#status").text_content() == ""


def test_networks_of_several_tasks_take_turns_by_keyboard(page):
    def choose(page, name):
        page.locator("#model").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.locator("#model").input_value() == name

    ask_of_task(page, "scores", choose)
    assert "of 10" in page.locator("#summary").text_content()
    assert page.locator("#tables h3").all_text_contents() == ["shares"]
    assert page.locator("#tables tbody tr").count() == 12
    with page.expect_response("**/explain?**"):
        page.locator("#model").focus()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")
    page.locator("#classes li").first.wait_for()
    assert not page.locator("#of-task").is_visible()
    assert page.locator("#method option:disabled").count() == 0
    page.locator("#picture").focus()
    with page.expect_response("**x=17&y=16**"):
        page.keyboard.press("ArrowRight")


@pytest.mark.parametrize("name", ["micro", "stars", "scores"])
def test_nothing_sticks_out_on_a_phone(page, name):
    upload(page) if name == "micro" else ask_of_task(page, name)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
