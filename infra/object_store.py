"""The S3 object store: immutable objects, found by key, checked by digest."""

from __future__ import annotations

import io
from collections.abc import Iterator
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error

from contracts.errors import DataError, ServerError
from infra.settings import Settings

#: Connections that are kept: parts of a large object go side by side, three at a time.
_CONNECTIONS: Final = 4
_TROUBLE = (MinioException, urllib3.exceptions.HTTPError, OSError)


class ObjectStore:
    """One bucket of an S3 server.

    Every method raises `ServerError` when the store does not answer or refuses.
    """

    def __init__(
        self, settings: Settings, bucket: str | None = None, *, seconds: float | None = None
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            settings: Where the store is.
            bucket: Another bucket than the settings', as for a recording to read.
            seconds: How long to wait for each answer, which is asked for once then; None waits
                longer, and asks again.
        """
        endpoint = urlsplit(settings.s3_endpoint)
        self._where = settings.s3_endpoint
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
        """Make sure that the bucket is there."""
        try:
            if not self._client.bucket_exists(self.bucket):
                self._client.make_bucket(self.bucket)
        except S3Error as error:
            if error.code != "BucketAlreadyOwnedByYou":
                raise self._trouble("create bucket", error) from error
        except _TROUBLE as error:
            raise self._trouble("create bucket", error) from error

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> str:
        """Store an object.

        Returns:
            SHA-256 of the data, hexadecimal.
        """
        try:
            self._client.put_object(
                self.bucket, key, io.BytesIO(data), len(data), content_type=content_type
            )
        except _TROUBLE as error:
            raise self._trouble(f"put {key}", error) from error
        return sha256(data).hexdigest()

    def get(self, key: str, *, digest: str | None = None, limit: int = 1 << 30) -> bytes:
        """Fetch an object.

        Args:
            key: Its key.
            digest: SHA-256 that it must have.
            limit: Bytes that it may have.

        Raises:
            DataError: It is not there, too large, or not what the digest says.
            ServerError: The store does not answer.
        """
        try:
            with self._client.get_object(self.bucket, key) as response:
                data: bytes = response.read(limit + 1)
        except S3Error as error:
            if error.code in {"NoSuchKey", "NoSuchBucket"}:
                raise DataError(f"object {self.bucket}/{key} is not there") from error
            raise self._trouble(f"get {key}", error) from error
        except _TROUBLE as error:
            raise self._trouble(f"get {key}", error) from error
        if len(data) > limit:
            raise DataError(f"object {key} is larger than {limit} bytes")
        if digest is not None and (found := sha256(data).hexdigest()) != digest:
            raise DataError(f"object {key} has SHA-256 {found}, not {digest}: it was altered")
        return data

    def keys(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """List the keys under a prefix, in order.

        Args:
            prefix: What the keys begin with.
            after: Leave out keys up to and including this one.
        """
        try:
            for item in self._client.list_objects(
                self.bucket, prefix, recursive=True, start_after=after
            ):
                if item.object_name is not None:
                    yield item.object_name
        except _TROUBLE as error:
            raise self._trouble(f"list {prefix}", error) from error

    def buckets(self) -> list[str]:
        """List the names of all buckets that the key pair may see."""
        try:
            return [bucket.name for bucket in self._client.list_buckets()]
        except _TROUBLE as error:
            raise self._trouble("list buckets", error) from error

    def drop_bucket(self, bucket: str) -> None:
        """Remove a bucket, by its full name, with all that is in it."""
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
        return ServerError(
            f"object store {self._where}: cannot {what}: {error};"
            " check MILLRACE_S3_ENDPOINT, the keys and the server"
        )
