"""The process of one run, ``python -m millrace.trainer.runs.fit_process FOLDER``: makes a job.

It has a lower priority than serving (nice), uses one thread so that results are reproducible, and
frees all its memory by ending. Its standard input is a pipe that the trainer holds open: when the
pipe closes, however the trainer ended, this process ends, so two of them never fit the same run.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from millrace.contracts.errors import DataError, MillraceError, ServerError
from millrace.infra.files import replace_file
from millrace.infra.object_store import ObjectStore
from millrace.infra.process.error_line import say_error
from millrace.infra.process.logs import configure_logs
from millrace.infra.process.parent import end_with_parent
from millrace.infra.settings import Settings
from millrace.model_families.known import family_named
from millrace.trainer.runs.job import (
    BROKEN_MACHINERY,
    CANNOT,
    DIGEST,
    DONE,
    FAILURE,
    JOB,
    PINNED,
    Job,
)
from millrace.trainer.runs.run import make, prepare


def main(folder: Path) -> int:
    """Execute the job in a folder.

    Returns:
        The exit code: `DONE`, `CANNOT` (the reason is in the folder) or `BROKEN_MACHINERY`.
    """
    try:
        settings = Settings.read()
        configure_logs(settings)
        job = msgspec.json.decode((folder / JOB).read_bytes(), type=Job)
        os.nice(job.nice)
        store = ObjectStore(settings)
        # TensorFlow takes seconds to load: the data is read meanwhile.
        with ThreadPoolExecutor(1) as loader:
            loading = loader.submit(family_named(job.spec.recipe).prepare_fit)
            run, data = prepare(job, store)
            replace_file(folder / PINNED, msgspec.json.encode(run))
            loading.result()
        replace_file(folder / DIGEST, make(job, run, data, store).encode())
    except ServerError as error:
        say_error("fit", error)
        return BROKEN_MACHINERY
    except (MillraceError, msgspec.DecodeError) as error:
        replace_file(folder / FAILURE, str(DataError(str(error))).encode())
        return CANNOT
    return DONE


if __name__ == "__main__":
    end_with_parent(BROKEN_MACHINERY)
    # No clean-up at exit: TensorFlow's takes long, and everything is already stored.
    code = main(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(code)
