"""An air that is a TensorFlow function of one's own."""

from __future__ import annotations

from typing import Literal

from ..air import Air
from ..config import AirBase
from ..numerology import Link
from ..power import noise_power
from ..reception.tensorflow import TensorflowAir, load_channel, require_tensorflow
from ..reception.varying import at_snr
from ..snr import SnrRange
from ..sources.sionna_1 import ServiceFactory
from ..sources.source import Source
from ..users.population import PopulationSize

_RECEIVES = "its function does the receiving too"


class TensorflowConfig(AirBase):
    """A channel of one's own in TensorFlow, ``function: package.module:function``."""

    name: Literal["tensorflow"] = "tensorflow"
    function: str

    def without_effect(self) -> dict[str, str]:
        return dict.fromkeys(sorted(AirBase.model_fields.keys() - {"name"}), _RECEIVES)

    def check(self, link: Link) -> None:
        self.check_effects()
        if link.antennas > 1 or link.access == "sdma":
            raise ValueError(
                f"air tensorflow takes no several antennas or access sdma: {_RECEIVES}"
            )

    def require(self, link: Link) -> None:
        require_tensorflow()

    def source(self, link: Link, device: str) -> Source | None:
        return None

    def build(
        self,
        link: Link,
        snr_db: float | SnrRange,
        device: str = "cpu",
        make_service: ServiceFactory | None = None,
        population: PopulationSize | None = None,
    ) -> Air:
        """See :meth:`AirBase.build`; the function takes any torch device, and users as they are."""
        self.check(link)
        channel = load_channel(self.function)
        return at_snr(lambda mean_db: TensorflowAir(link, noise_power(mean_db), channel), snr_db)
