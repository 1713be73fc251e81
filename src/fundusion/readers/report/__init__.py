"""Written reports, English and Chinese -> structured findings with spans in the original text."""

from .labels import LabelTable, label_report, label_rows
from .measurements import ReportMeasurement
from .reading import MAX_CHARACTERS, read_report
from .statements import ReportFinding, ReportFlag, ReportReading

__all__ = [
    "MAX_CHARACTERS",
    "LabelTable",
    "ReportFinding",
    "ReportFlag",
    "ReportMeasurement",
    "ReportReading",
    "label_report",
    "label_rows",
    "read_report",
]
