"""The chart page in a headless Chromium, over a generated week with a roll and corrected bars."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from trisignal_pipeline.api.application import build_app
from trisignal_pipeline.api.page import STATIC
from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.api.conftest import copy_database
from trisignal_pipeline_tests.api.running_api import Api, running
from trisignal_pipeline_tests.end_to_end.browser import ARGUMENTS, CHROMIUM
from trisignal_pipeline_tests.query.stored_market import (
    HOLIDAY_WEEK,
    NQ,
    generated,
    store_clean,
    store_signals,
    utc_ns,
    with_roll,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LIBRARY = STATIC / "lightweight-charts" / "lightweight-charts.standalone.production.mjs"
SHA256 = "1bb1ee79f9d4dd17261b53d930f7a8995748276f80e7ba0e24412b5068062f5f"
QUARANTINED = utc_ns("2024-12-03 15:00")
SHOWN = "body[data-candles]:not([data-candles='0'])"
