"""How good what is stored is."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from trisignal_pipeline.api.parameters import require_each_once

router = APIRouter(tags=["quality"], dependencies=[Depends(require_each_once)])
