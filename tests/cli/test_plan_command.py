"""maxvit plan: what it prints, and what it refuses."""

import json
import subprocess
import sys

import pytest

MICRO = ["plan", "--recipe", "digits", "--images", "1437", "--devices"]


def recipe(folder, name, text="model: {name: maxvit_micro}"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_program_reads_json(run):
    code, out, _ = run(*MICRO, "8xH100", "--set", "optimization.epochs=3", "--json")
    answer = json.loads(out)
    assert code == 0
    assert (answer["model"], answer["devices"], answer["precision"]) == ("maxvit_micro", "8xH100", "bf16")
    assert (answer["steps"], answer["warmup_steps"], answer["image_size"]) == (69, 115, [32, 32])  # 23 an epoch
    assert [way["gradient_checkpointing"] for way in answer["ways"]] == [False, True]
    assert all(way["fits"] and way["images"] == 8 for way in answer["ways"])


def test_the_recipe_says_how_many_images_a_device_takes_at_once(run):
    _, out, _ = run(*MICRO, "H100", "--set", "data.device_batch_size=8", "--json")
    assert [(way["images"], way["accumulation"]) for way in json.loads(out)["ways"]] == [(8, 8)] * 2


def test_people_read_a_table_and_what_it_rests_on(run):
    code, out, err = run(*MICRO, "2xA100-40", "--precision", "fp32", "--images-per-core", "10")
    assert (code, err) == (0, "")
    assert out.startswith("maxvit_micro by digits, on 2xA100-40, fp32\n")
    rows = {line[:26].strip(): line for line in out.splitlines()}
    assert rows["images at once, a device"].split()[-2:] == ["32"] * 2
    assert rows["fits"].split()[-2:] == ["yes"] * 2
    assert "1,437 images, given; trained at 32 x 32" in out
    assert "time: not measured on this hardware; assumes that " in out
    assert "10 images/s a core" in out.splitlines()[-1]


def test_model_and_settings_override_the_recipe(run):
    said = run(*MICRO, "H100", "--model", "maxvit_tiny", "--set", "data.image_size=64", "--json")[1]
    assert (json.loads(said)["model"], json.loads(said)["image_size"]) == ("maxvit_tiny", [64, 64])


def test_what_does_not_fit_says_what_to_change(run):
    large = ["--model", "maxvit_xlarge", "--set", "data.image_size=1024", "--set", "data.batch_size=8"]
    large += ["--set", "model.scale_windows=true", "--set", "engine.strategy=fsdp2"]
    code, out, _ = run(*MICRO, "8xL4", *large)
    assert code == 0
    assert "without it does not fit: one image needs 4" in out
    assert " of 21.6 GB: --set model.gradient_checkpointing=true\n" in out


def test_images_are_counted_in_the_data(run, images, tmp_path):
    config = recipe(tmp_path, "mine.yaml", f"data: {{path: {images}, batch_size: 8, image_size: 32}}")
    answer = json.loads(run("plan", "--recipe", config, "--devices", "L4", "--json")[1])
    assert answer["schedule"]["images"] == 19
    assert answer["data"] == f"counted in {images}, without what is held out"
    sizes = [path.stat().st_size for path in images.rglob("*.png")]
    assert answer["schedule"]["image_bytes"] == pytest.approx(sum(sizes) / 24, rel=0.05)


@pytest.mark.parametrize(
    ("name", "images", "head"), [("imagenet1k_mine", 1_281_167, 1000), ("imagenet21k", 14_197_122, 21_843)]
)
def test_imagenet_is_known_by_the_name_of_its_recipe(run, tmp_path, name, images, head):
    config = recipe(tmp_path, f"{name}.yaml")
    answer, given = (
        json.loads(run("plan", "--recipe", config, "--devices", "L4", *more, "--json")[1])
        for more in ([], ["--images", "640"])
    )
    assert answer["schedule"]["images"] == images
    assert given["schedule"]["images"] == 640
    assert given["checkpoint_bytes"] == answer["checkpoint_bytes"] > 4 * 129 * head  # of 128 channels and a bias


def test_a_cpu_has_the_peak_that_is_given_or_measured(run):
    given = json.loads(run(*MICRO, "cpu", "--peak", "200", "--json")[1])
    assert (given["peak_flops"], given["precision"], given["devices"]) == (2e11, "fp32", "1xcpu")
    measured = json.loads(run(*MICRO, "cpu", "--json")[1])
    assert measured["peak_flops"] > 1e8


def test_v100_trains_in_fp16_by_itself(run):
    assert json.loads(run(*MICRO, "V100", "--json")[1])["precision"] == "fp16"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*MICRO, "8xH101"], "unknown device 'H101': known are B200, H200, H100, "),
        ([*MICRO, "3xH100"], "a batch of 64 cannot be shared evenly by 3 devices: use --set data.batch_size=66"),
        ([*MICRO, "V100", "--precision", "bf16"], "V100 has no bf16 matrix products: use --precision fp16"),
        ([*MICRO, "H100", "--precision", "int8"], "unknown precision 'int8': known are bf16, fp16, fp32"),
        ([*MICRO, "H100", "--peak", "5"], "--peak is that of cpu, and H100 was given: leave it out"),
        ([*MICRO, "cpu", "--peak", "0"], "the peak is 0 operations a second"),
        ([*MICRO, "H100", "--images-per-core", "0"], "images per core: 0 were given"),
        ([*MICRO, "H100", "--model", "maxvit_huge"], "model.name is 'maxvit_huge'"),
        (["plan", "--recipe", "imagenet", "--devices", "H100"], "unknown recipe 'imagenet'"),
        (["plan", "--recipe", "folder", "--devices", "H100"], "how many images does folder train on?"),
        (["plan", "--recipe", "digits"], "Missing option '--devices'"),
        ([*MICRO[:3], "--images", "0", "--devices", "H100"], "Invalid value for '--images'"),
        ([*MICRO, "H100", "--set", "model.teacher=large"], "model.teacher is large, whose answers no plan"),
    ],
)
def test_a_mistake_is_one_sentence(run, arguments, said):
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {said}")


def test_help_states_the_cost_model_and_needs_no_torch():
    code = "import sys; from maxvit.cli import main; main(['plan', '--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert "3 forwards" in said
    assert "4 with gradient checkpointing" in said


@pytest.mark.parametrize(
    ("name", "task", "images", "not_counted"),
    [
        ("ade20k", "segmentation", 20_210, False),
        ("coco-retinanet", "detection", 118_287, True),
        ("coco-stuff", "segmentation", 118_287, False),
        ("ava", "aesthetics", 204_424, False),
    ],
)
def test_every_task_has_a_plan_that_says_what_it_leaves_out(run, name, task, images, not_counted):
    code, out, err = run("plan", "--recipe", name, "--devices", "8xH100", "--json")
    answer = json.loads(out)
    assert (code, err, answer["task"], answer["schedule"]["images"]) == (0, "", task, images)
    assert answer["assumptions"][0].startswith("not counted: matching") == not_counted


def test_the_head_of_a_task_is_part_of_its_plan(run):
    heads = {}
    for decoder in ("fpn", "upernet"):
        options = ["--images", "100", "--devices", "H100", "--set", f"task.decoder={decoder}", "--json"]
        heads[decoder] = json.loads(run("plan", "--recipe", "segmentation", *options)[1])["ways"][0]
    assert heads["upernet"]["step_flops"] > 1.2 * heads["fpn"]["step_flops"]
    assert heads["upernet"]["memory"]["weights"] > heads["fpn"]["memory"]["weights"]
