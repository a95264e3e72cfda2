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
from ..sources.source import Source
from ..sources.tensorflow import ServiceFactory
from ..users.population import PopulationSize


class TensorflowConfig(AirBase):
    """A channel of one's own in TensorFlow, ``function: package.module:function``."""

    name: Literal["tensorflow"] = "tensorflow"
    function: str

    def check(self, link: Link) -> None:
        alone = link.antennas == 1 and link.access != "sdma"
        asked = self.model_dump(include=set(AirBase.model_fields), exclude_defaults=True)
        ignored = sorted(asked.keys() - {"name"})
        if ignored or not alone:
            what = ", ".join(ignored) or "several antennas or access sdma"
            raise ValueError(f"air tensorflow takes no {what}: its function does the receiving too")

    def require(self, link: Link) -> None:
        require_tensorflow()

    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        return None

    def build(
        self,
        link: Link,
        snr_db: float | SnrRange,
        device: str = "cpu",
        tensorflow: ServiceFactory | None = None,
        population: PopulationSize | None = None,
    ) -> Air:
        self.check(link)
        channel = load_channel(self.function)
        return at_snr(lambda own_db: TensorflowAir(link, noise_power(own_db), channel), snr_db)
