"""Run artifacts and networks: one `Session` for every runtime, images of any size."""

from edgesr.runtime.session import RUNTIMES, Session, SessionInfo, open_model, open_session
from edgesr.runtime.tiles import Plan, Tiling, make_plan
from edgesr.runtime.torch_session import NetworkSession
from edgesr.runtime.upscale import plan_for, upscale

__all__ = [
    "RUNTIMES",
    "NetworkSession",
    "Plan",
    "Session",
    "SessionInfo",
    "Tiling",
    "make_plan",
    "open_model",
    "open_session",
    "plan_for",
    "upscale",
]
