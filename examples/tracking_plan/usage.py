"""The planned events of usage-plan.yaml, made by `fslog plan types`: do not edit."""

from datetime import datetime
from typing import Literal, TypedDict
from uuid import UUID

__all__ = [
    "PageEdited",
    "ReportExported",
    "TimeInReports",
]


class _RequiredReportExported(TypedDict):
    action: Literal["feature"]
    module: Literal["reports"]
    feature: Literal["export"]
    rows: int


class ReportExported(_RequiredReportExported, total=False):
    """A user downloaded a report as a file."""

    accountId: str | int | UUID
    userId: str | int | UUID
    createdAt: float | datetime
    sessionId: str


class _RequiredTimeInReports(TypedDict):
    action: Literal["moduleEnd"]
    module: Literal["reports"]
    timeSpent: int


class TimeInReports(_RequiredTimeInReports, total=False):
    """A user left the reports."""

    accountId: str | int | UUID
    userId: str | int | UUID
    createdAt: float | datetime
    sessionId: str


class _RequiredPageEdited(TypedDict):
    action: Literal["feature"]
    module: Literal["wiki"]
    feature: Literal["edit"]


class PageEdited(_RequiredPageEdited, total=False):
    """A user changed a page of the wiki."""

    accountId: str | int | UUID
    userId: str | int | UUID
    createdAt: float | datetime
    sessionId: str
