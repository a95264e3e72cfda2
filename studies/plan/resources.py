"""Resources of a trial, and the engine that takes them."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from actors import Engine, EngineName, InlineEngine, PlacementStrategy, RayEngine, Role, Share
from tokcom_core.config import Config


class Resources(Config):
    """Resources of one trial, or of one device pool of an emulation.

    As many trials run at once as there is room for. With ``engine: inline``, ``gpu`` is that of the
    whole trial. With ``engine: ray`` it is that of the base station, and every process of devices
    takes ``device_gpu`` as well. ``placement`` is how Ray places the processes of an emulation.
    """

    cpu: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    gpu: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    device_gpu: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    placement: PlacementStrategy = "PACK"

    @property
    def threads(self) -> int:
        """Torch threads of each process; results can depend on their number in the last bit."""
        return max(1, int(self.cpu))

    def gpus(self, engine: EngineName) -> dict[str, float]:
        """GPUs of each kind of process that an engine has, by the key that sets them."""
        own = {"gpu": self.gpu}
        return own if engine == "inline" else {**own, "device_gpu": self.device_gpu}

    def engine(
        self,
        name: EngineName,
        emulates: bool = False,
        prepare: Callable[[], None] | None = None,
    ) -> Engine:
        """The engine of a network; device pools of an emulation have CPUs of their own."""
        if name == "inline":
            return InlineEngine()
        shares: dict[Role, Share] = {
            "station": Share(gpu=self.gpu),
            "devices": Share(cpu=self.cpu if emulates else 0.0, gpu=self.device_gpu),
        }
        placement = self.placement if emulates else None
        return RayEngine(threads=self.threads, shares=shares, placement=placement, prepare=prepare)
