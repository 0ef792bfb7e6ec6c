"""Reads files and objects as tables: CSV, gzipped CSV and Parquet, local or ``s3://``.

Locations are paths or addresses; files are fetched whole (a recording for a demonstration fits in
memory), and only the requested columns are parsed.
"""

import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.contracts.errors import DataError
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings

S3: Final = "s3://"


def resolve(where: str, beside: str) -> str:
    """Resolve the location of a file that a description names.

    >>> resolve("a.csv", "s3://plant/pumps/dataset.toml")
    's3://plant/pumps/a.csv'
    >>> resolve("a.csv", "data/dataset.toml")
    'data/a.csv'
    """
    if where.startswith(S3) or Path(where).is_absolute():
        return where
    if beside.startswith(S3):
        return beside.rpartition("/")[0] + "/" + where
    return str(Path(beside).parent / where)


def fetch(where: str, settings: Settings) -> bytes:
    """Read a file or an object whole.

    Raises:
        DataError: It does not exist or is not readable.
        ServerError: The object store does not answer.
    """
    if where.startswith(S3):
        address = urlsplit(where)
        if not address.netloc or not address.path.strip("/"):
            raise DataError(f"{where}: write it as s3://bucket/key")
        return ObjectStore(settings, bucket=address.netloc).get(address.path.lstrip("/"))
    try:
        return Path(where).read_bytes()
    except OSError as error:
        raise DataError(f"{where}: {error.strerror}; check the path") from error


def read_table(
    data: bytes, where: str, wanted: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Parse a table.

    Args:
        data: The file's bytes.
        where: Its name, whose suffix determines the format.
        wanted: Required columns.
        optional: Columns that are read if they exist.

    Returns:
        The wanted columns, and those of the optional ones that the file has.

    Raises:
        DataError: The file is not of its format, or a wanted column is missing.
    """
    try:
        if where.endswith(".parquet"):
            source = pq.ParquetFile(io.BytesIO(data))
            columns = _choose(source.schema_arrow.names, where, wanted, optional)
            made: pd.DataFrame = source.read(columns=columns).to_pandas()
            return made
        if where.endswith((".csv", ".csv.gz")):
            text = gzip.decompress(data) if where.endswith(".gz") else data
            header = list(pd.read_csv(io.BytesIO(text), nrows=0).columns)
            columns = _choose(header, where, wanted, optional)
            return pd.read_csv(io.BytesIO(text), usecols=columns, low_memory=False)[columns]
    except (pa.ArrowException, ValueError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{where}: cannot be read as its ending says: {error}") from error
    raise DataError(f"{where}: its ending names no known format; give .csv, .csv.gz or .parquet")


def _choose(
    there: Sequence[str], where: str, wanted: Sequence[str], optional: Sequence[str]
) -> list[str]:
    lacking = [name for name in wanted if name not in there]
    if lacking:
        raise DataError(
            f"{where}: has no column {lacking}, only {list(there)}; correct the description"
            " (a sensor that some asset lacks belongs under [absent])"
        )
    return list(dict.fromkeys([*wanted, *(name for name in optional if name in there)]))
