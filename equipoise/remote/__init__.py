"""Run folders behind an address, s3://bucket/run say: mirrored here, so that everything else works with plain paths.

Two folders of this machine stand for an address. What it has is fetched into the *mirror*, which is read like any run.
What is new is written among the *drafts*, sent, and only then moved into the mirror: a mirror never says more than its
address, and what could not be sent is still there when the call is repeated.

The name of a shard carries the identity of its content, so one of the same size is never fetched again. The rest of a
run is small and fetched whenever the listing says something else of it. Object stores replace a file whole or not at
all.

Any file system that fsspec knows will do. Credentials are those of the environment (AWS_PROFILE, AWS_ENDPOINT_URL,
GOOGLE_APPLICATION_CREDENTIALS and so on); none is written anywhere.
"""

from equipoise.remote.looking import FilesHere, FilesThere
from equipoise.remote.mirror import Mirror
from equipoise.remote.place import Here, is_address, place, refuse_address

__all__ = ["FilesHere", "FilesThere", "Here", "Mirror", "is_address", "place", "refuse_address"]
