"""The command line as users have it in their scripts: an option is added or removed here too, with thought."""

import typer

from maxvit.cli import app

OPTIONS = {
    "benchmark": (
        "--against --batch --busy --device --json --model --ours --out --precision --profile --rounds --size --threads "
        "--what"
    ),
    "check": "--apply --device --image-column --json --label-column --out --task --workers DATA",
    "convert": "--force --image-size --name --raw --to SOURCE TARGET",
    "evaluate": (
        "--all --batch-size --device --engine --image-column --json --label-column --out --precision --scale-windows "
        "--set --size --task --tta --workers CHECKPOINT DATA"
    ),
    "explain": "--class --device --json --method --out --point --score --set --task CHECKPOINT IMAGE",
    "export": (
        "--any-size --batch --force --images --json --opset --out --pixels --precision --runtime --scale-windows "
        "--set --size --task --to CHECKPOINT"
    ),
    "index": "--batch-size --device --json --model --out --workers PHOTOS",
    "info": "--image-size --json MODEL",
    "list": "--json --pretrained --recipes",
    "plan": "--devices --images --images-per-core --json --model --peak --precision --recipe --set",
    "predict": (
        "--batch-size --coverage --device --devices --embeddings --engine --image-column --json --out --part-size "
        "--pictures --precision --set --task --top-k --tta --workers CHECKPOINT IMAGES"
    ),
    "report": "--device --open RUN",
    "search": "--clusters --device --duplicates --json --k --model --out --workers INDEX QUERIES",
    "serve": (
        "--api-key --decoders --device --drain --engine --host --index --max-batch --max-bytes --max-delay-ms "
        "--max-images --max-pixels --page --port --precision --queue --task --timeout --tta CHECKPOINTS"
    ),
    "shard": "--image-column --json --label-column --seed --shard-size --val-fraction FOLDER OUT",
    "train": (
        "--batch --continue --device --devices --epochs --folds --image-column --json --label-column --lr --metric "
        "--model --out --preset --recipe --resume --scratch --set --show-recipe --size --task --teacher --time --track "
        "--workers DATA"
    ),
}


def test_every_command_has_these_arguments_and_options():
    commands = typer.main.get_command(app).commands
    found = {
        name: sorted(
            word
            for parameter in command.params
            for word in (parameter.opts if parameter.param_type_name == "option" else [parameter.name.upper()])
        )
        for name, command in commands.items()
    }
    assert found == {name: options.split() for name, options in OPTIONS.items()}
