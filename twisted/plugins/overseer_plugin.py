"""Makes ``twistd overseer`` known to Twisted."""

from twisted.application.service import ServiceMaker

overseer = ServiceMaker(
    "overseer",
    "overseer.tap",
    "Start processes for WebSocket clients and stream what they print.",
    "overseer",
)
