"""What is in the file. A step that was released is never changed: append another."""

from collections.abc import Sequence
from typing import Final, TypeAlias

Step: TypeAlias = tuple[str, ...]
"""The statements that lead from one version of the schema to the next."""

APPLICATION: Final = 0x4F57_494E
"""`PRAGMA application_id` of the invoker's files: "OWIN"."""

_FIRST: Final[Step] = (
    # A deleted function leaves its number, so that no revision comes twice.
    """
    CREATE TABLE functions (
        document_id TEXT NOT NULL PRIMARY KEY,
        namespace TEXT NOT NULL,
        number INTEGER NOT NULL,
        revision TEXT,
        head BLOB,
        code TEXT
    )
    """,
    "CREATE INDEX functions_by_namespace ON functions (namespace, document_id)",
    # `seq` rises with each record that is stored. The blobs come last, logs behind all else: SQLite reads a row from
    # its front, so that a listing never touches the pages that long logs spill into.
    """
    CREATE TABLE activations (
        seq INTEGER PRIMARY KEY,
        activation_id NOT NULL,
        namespace TEXT NOT NULL,
        start INTEGER NOT NULL,
        path TEXT NOT NULL,
        status INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        size INTEGER NOT NULL,
        record BLOB NOT NULL,
        logs BLOB
    )
    """,
    "CREATE UNIQUE INDEX activations_by_id ON activations (activation_id, namespace)",
    "CREATE INDEX activations_by_start ON activations (namespace, start, seq, path)",
    # The sum of all `size`, kept up to date, since adding them up reads the whole table.
    "CREATE TABLE kept (bytes INTEGER NOT NULL, counted INTEGER NOT NULL)",
    "INSERT INTO kept VALUES (0, 0)",
)

STEPS: Final[Sequence[Step]] = (_FIRST,)
