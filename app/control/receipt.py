"""The receipt of a rollback as the control loop writes it and the store keeps it; how it reads is for the pages."""

from __future__ import annotations

from dashboards.markdown import to_markdown
from dashboards.views import ReceiptView as Receipt

__all__ = ["Receipt", "to_markdown"]
