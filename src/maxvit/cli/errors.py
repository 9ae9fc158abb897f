"""From exceptions to exit codes: a user's mistake becomes one sentence, ours keeps its traceback."""

import sys
import traceback
from collections.abc import Callable

from maxvit.errors import MaxViTError

OK, OUR_MISTAKE, USER_MISTAKE, INTERRUPTED = 0, 1, 2, 130


def complain(sentence: str) -> None:
    """One line on standard error."""
    print(sentence, file=sys.stderr)


def exit_code(command: Callable[[], object]) -> int:
    """Run a command and say how it ended."""
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    except MaxViTError as error:
        complain(f"error: {error}")
        return USER_MISTAKE
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("maxvit"):
            raise
        complain(f"error: this command needs {error.name}, which is not installed: pip install 'maxvit[train]'")
        return USER_MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        complain("error: this is a mistake in maxvit; please report it with the lines above")
        return OUR_MISTAKE
    return OK
