"""A table with a row per eye and visit -> records: CSV, TSV, XLSX, Parquet, JSON lines, with or without a schema.

`encoding` and `delimited` read text, `sheets` workbooks, `rows` any table; `cells` and `dates` say what a cell is, `schema` and
`convert` what it becomes; `records` makes studies of rows; `evidence` and `propose` look at a table and write its schema.
"""

from .encoding import decode_text
from .paths import safe_path
from .records import Manifest, RecordStream, RejectedRow, read_manifest, stream_manifest
from .rows import SUFFIXES, TableOptions
from .schema import Schema, read_schema

__all__ = [
    "SUFFIXES",
    "Manifest",
    "RecordStream",
    "RejectedRow",
    "Schema",
    "TableOptions",
    "decode_text",
    "read_manifest",
    "read_schema",
    "safe_path",
    "stream_manifest",
]
