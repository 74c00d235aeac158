"""`python -m engines`: the workshop's command line; its commands are in `engines.commands`.

An error that was foreseen is one line on stderr: exit 2 for wrong use, 1 for a failed run, 130 when interrupted;
`--traceback` before the command shows the rest. Only training, exporting and checkpoints need torch; it is
imported by the commands that do.
"""

import errno
import os
import sys

import click

from configs import ConfigError
from engines.commands.bench import bench
from engines.commands.build import build
from engines.commands.certify import certify
from engines.commands.compare import compare
from engines.commands.data import check_data
from engines.commands.evaluate import evaluate
from engines.commands.export import export
from engines.commands.look import inspect, predict
from engines.commands.models import models
from engines.commands.shapes import shapes_clip
from engines.commands.train import train
from engines.commands.tune import tune_batch
from engines.commands.tune_crf import tune_crf
from engines.errors import EngineError, EngineNotFound, InputSizeError

COMMANDS = (
    train,
    tune_batch,
    evaluate,
    compare,
    export,
    certify,
    build,
    tune_crf,
    predict,
    inspect,
    check_data,
    bench,
    models,
    shapes_clip,
)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write says without naming its file."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
def cli(traceback: bool) -> None:
    """Train networks, score them, and turn them into engines."""


for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the command line; expected errors become one line and an exit code."""
    wants_traceback = "--traceback" in sys.argv
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        # A path from the command line, or a disk that is full; anything else would be a mistake of ours.
        if wants_traceback or (error.filename is None and error.errno not in DISK_FULL):
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror}; check the path, its rights and the disk's space", file=sys.stderr)
        sys.exit(1)
    except (ConfigError, EngineError) as error:
        if wants_traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, (ConfigError, EngineNotFound, InputSizeError)) else 1)


if __name__ == "__main__":
    main()
