"""From exceptions to exit codes: a user's mistake becomes one sentence, ours keeps its traceback."""

import errno
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from maxvit.errors import MaxViTError, is_out_of_memory, say_missing

OK, OUR_MISTAKE, USER_MISTAKE, INTERRUPTED = 0, 1, 2, 130
REQUEUE = 75  # the system's "temporary failure": start the same command again
# what the machine refuses, whatever we do
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ROOM = (
    "memory may be full; use fewer workers (data.workers, --workers), or give a container more shared memory, such as "
    "docker run --shm-size=8g"
)
_UsageError: type = typer.BadParameter.__mro__[1]  # typer may carry its own click, and names this class nowhere


def complain(sentence: str) -> None:
    """One line on standard error."""
    print(sentence, file=sys.stderr)


def exit_code(command: Callable[[], object]) -> int:
    """Run a command and say how it ended."""
    try:
        code = command()
        return code if isinstance(code, int) else OK
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    except MaxViTError as error:
        complain(f"error: {error}")
        return USER_MISTAKE
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("maxvit"):
            raise
        complain(f"error: this command needs {say_missing(str(error.name))}")
        return USER_MISTAKE
    except KeyboardInterrupt:
        _kill_workers()
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, _UsageError):
            return _explain_usage(error)
        if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid"):
            _kill_workers()
            complain(f"error: a process that reads images ended before its time ({str(error).split('. ')[0]}): {_ROOM}")
            return USER_MISTAKE
        if isinstance(error, OSError) and error.errno in _REFUSED:
            place = f"{error.filename}: " if error.filename else ""
            complain(f"error: {place}{error.strerror}; check permissions and free space")
            return USER_MISTAKE
        if is_out_of_memory(error):
            complain(f"error: {_without_memory(error)}")
            return USER_MISTAKE
        traceback.print_exc()
        complain("error: this is a bug in maxvit; please report it with the lines above")
        return OUR_MISTAKE


def _without_memory(error: Exception) -> str:
    said = (str(error).splitlines() or ["the machine has no more"])[0]
    return f"out of memory: take smaller images or batches, a smaller network, or another --device ({said})"


def _explain_usage(error: Any) -> int:
    """Say what typer found wrong with an option or argument; without any at all it gives the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message())
    elif sentence := error.format_message():
        help_of = f"; see {error.ctx.command_path} --help" if error.ctx else ""
        complain(f"error: {sentence.rstrip('.')}{help_of}")
    return USER_MISTAKE


def _kill_workers() -> None:
    """Those of PyTorch ignore the signal by which they would be ended at exit, which would wait for them."""
    from maxvit.data.workers import kill_workers

    kill_workers()
