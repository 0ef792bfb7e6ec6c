"""The S3 object store: immutable objects, found by key, checked by digest."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from urllib3 import BaseHTTPResponse

from millrace.contracts.errors import DataError, ServerError
from millrace.infra.kafka.refusals import store_trouble
from millrace.infra.settings import Settings

#: Size of the connection pool: as many as threads of ours that use it at the same time.
_CONNECTIONS: Final = 8
_TROUBLE = (MinioException, urllib3.exceptions.HTTPError, OSError)
#: An object up to this size is uploaded in one request: the store has it completely or not at
#: all, and a crash leaves no parts of an interrupted upload.
_ONE_REQUEST: Final = 1 << 30
#: Name of the metadata that hold an object's SHA-256.
_DIGEST: Final = "sha256"


class MissingObjectError(DataError):
    """An object is not in the store."""


class AlteredObjectError(DataError):
    """An object is not what it was when it was stored."""


class StoredObject(NamedTuple):
    """An object as a listing shows it: its key, and its size in bytes."""

    key: str
    bytes: int


class ObjectStore:
    """One bucket of an S3 server.

    Every method raises `ServerError` when the store does not answer or refuses.
    """

    def __init__(
        self, settings: Settings, bucket: str | None = None, *, seconds: float | None = None
    ) -> None:
        """Prepare a client; no request is made yet.

        Args:
            settings: Where the store is.
            bucket: Another bucket than the settings', as for a recording to read.
            seconds: Timeout of each request, which is then not retried; None uses a longer
                timeout and retries.
        """
        endpoint = urlsplit(settings.s3_endpoint)
        self._where = settings.s3_endpoint
        self._settings = settings
        self.bucket = bucket or settings.bucket
        self._client = Minio(
            endpoint.netloc,
            access_key=settings.s3_access_key or None,
            secret_key=settings.s3_secret_key.get_secret_value() or None,
            secure=endpoint.scheme == "https",
            region=settings.s3_region,
            http_client=urllib3.PoolManager(
                maxsize=_CONNECTIONS,
                timeout=urllib3.Timeout(connect=3, read=30)
                if seconds is None
                else urllib3.Timeout(connect=seconds, read=seconds),
                retries=urllib3.Retry(
                    total=3 if seconds is None else 0,
                    backoff_factor=0.2,
                    status_forcelist=(500, 502, 503, 504),
                ),
            ),
        )

    def create_bucket(self) -> None:
        """Create the bucket unless it exists."""
        try:
            if not self._client.bucket_exists(self.bucket):
                self._client.make_bucket(self.bucket)
        except S3Error as error:
            if error.code != "BucketAlreadyOwnedByYou":
                raise self._trouble("create bucket", error) from error
        except _TROUBLE as error:
            raise self._trouble("create bucket", error) from error

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> str:
        """Store an object, with its SHA-256 in its metadata.

        Returns:
            SHA-256 of the data, hexadecimal.
        """
        digest = sha256(data).hexdigest()
        try:
            self._client.put_object(
                self.bucket,
                key,
                io.BytesIO(data),
                len(data),
                content_type=content_type,
                metadata={_DIGEST: digest},
                part_size=_ONE_REQUEST,
            )
        except _TROUBLE as error:
            raise self._trouble(f"put {key}", error) from error
        return digest

    def get(self, key: str, *, digest: str | None = None, limit: int = 1 << 30) -> bytes:
        """Fetch an object; one that was stored by `put` must have the digest that it had then.

        Args:
            key: Its key.
            digest: SHA-256 that it must have.
            limit: Bytes that it may have.

        Raises:
            MissingObjectError: It does not exist.
            AlteredObjectError: Its digest differs.
            DataError: It is too large, or no object can have this key.
            ServerError: The store does not answer, refuses, or has no such bucket; or this
                machine has no memory for the object.
        """
        with self._got(key) as response:
            data: bytes = response.read(limit + 1)
            stored = response.headers.get(f"x-amz-meta-{_DIGEST}")
        if len(data) > limit:
            raise DataError(f"object {key} is larger than {limit} bytes")
        wanted = {given for given in (digest, stored) if given is not None}
        if wanted:
            found = sha256(data).hexdigest()
            if other := wanted - {found}:
                raise AlteredObjectError(
                    f"object {key} has SHA-256 {found}, not {min(other)}: it was altered"
                )
        return data

    def end_of(self, stored: StoredObject, most: int) -> bytes:
        """Fetch the last bytes of an object; its digest is not checked.

        Args:
            stored: The object, as a listing shows it.
            most: Number of bytes; all of a smaller object.

        Raises:
            MissingObjectError: It does not exist.
            ServerError: The store does not answer, or refuses.
        """
        length = min(most, stored.bytes)
        with self._got(stored.key, stored.bytes - length, length) as response:
            data: bytes = response.read()
        return data

    @contextmanager
    def _got(self, key: str, first: int = 0, length: int = 0) -> Iterator[BaseHTTPResponse]:
        """Open an object's content, from a byte on; all the rest for a length of 0."""
        try:
            with self._client.get_object(self.bucket, key, first, length) as response:
                yield response
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise MissingObjectError(f"object {self.bucket}/{key} is not there") from error
            raise self._trouble(f"get {key}", error) from error
        except ValueError as error:  # raised by the client for a key that no object can have
            raise DataError(f"object {self.bucket}/{key!a}: {error}") from error
        except MemoryError as error:
            raise ServerError(f"no memory on this machine to get {self.bucket}/{key}") from error
        except _TROUBLE as error:
            raise self._trouble(f"get {key}", error) from error

    def objects(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        """List the objects under a prefix, in order of their keys.

        Args:
            prefix: Common prefix of the keys.
            after: Leave out keys up to and including this one.
        """
        return self._list(prefix, after, recursive=True)

    def children(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        """List what is directly under a prefix: objects, then folders.

        Args:
            prefix: A folder; ends with a slash.
            after: Leave out keys up to and including this one.

        Yields:
            Objects, and folders as keys that end with a slash, each in order of their keys.
        """
        folders = []
        for one in self._list(prefix, after, recursive=False):
            if one.key.endswith("/"):
                folders.append(one)
            else:
                yield one
        yield from folders

    def _list(self, prefix: str, after: str | None, *, recursive: bool) -> Iterator[StoredObject]:
        try:
            for item in self._client.list_objects(
                self.bucket, prefix, recursive=recursive, start_after=after
            ):
                if item.object_name is not None:
                    yield StoredObject(item.object_name, item.size or 0)
        except _TROUBLE as error:
            raise self._trouble(f"list {prefix}", error) from error

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; missing ones are ignored."""
        try:
            for problem in self._client.remove_objects(
                self.bucket, [DeleteObject(key) for key in keys]
            ):
                raise ServerError(
                    f"object store {self._where}: cannot remove {self.bucket}/{problem.name}:"
                    f" {problem.message}"
                )
        except _TROUBLE as error:
            raise self._trouble("remove objects", error) from error

    def buckets(self) -> list[str]:
        """List the names of all buckets that the key pair may see."""
        try:
            return [bucket.name for bucket in self._client.list_buckets()]
        except _TROUBLE as error:
            raise self._trouble("list buckets", error) from error

    def drop_bucket(self, bucket: str) -> None:
        """Remove a bucket, by its full name, with all its objects."""
        try:
            names = [
                DeleteObject(item.object_name)
                for item in self._client.list_objects(bucket, recursive=True)
                if item.object_name is not None
            ]
            for problem in self._client.remove_objects(bucket, names):
                raise ServerError(
                    f"object store {self._where}: cannot remove {bucket}/{problem.name}:"
                    f" {problem.message}"
                )
            self._client.remove_bucket(bucket)
        except _TROUBLE as error:
            raise self._trouble(f"remove bucket {bucket}", error) from error

    def _trouble(self, what: str, error: Exception) -> ServerError:
        code = error.code if isinstance(error, S3Error) else ""
        return ServerError(store_trouble(what, code or "", str(error), self._settings, self.bucket))
