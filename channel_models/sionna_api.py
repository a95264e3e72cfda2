"""Everything that this package uses of Sionna, in one place.

Importing Sionna takes seconds and seeds torch's generator with a number of Sionna's choice. So this
module is imported only when Sionna is needed, never at the top of a module that can do without it,
and it restores torch's generator.
"""

from __future__ import annotations

from .generators import kept_generators

with kept_generators():
    from sionna.phy import config
    from sionna.phy.channel import gen_single_sector_topology
    from sionna.phy.channel.tr38901 import (
        CDL,
        TDL,
        InH,
        PanelArray,
        Rays,
        RMa,
        Topology,
        UMa,
        UMi,
    )
    from sionna.phy.channel.tr38901.channel_coefficients import ChannelCoefficientsGenerator
    from sionna.phy.channel.tr38901.system_level_channel import SystemLevelChannel
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
    from sionna.phy.mapping import Demapper, Mapper
    from sionna.phy.nr import TBDecoder, TBEncoder
    from sionna.phy.nr.utils import calculate_tb_size, decode_mcs_index
    from sionna.phy.ofdm import (
        BaseChannelEstimator,
        LMMSEChannelEstimator,
        LSChannelEstimator,
        ResourceGrid,
    )
    from sionna.phy.utils import dbm_to_watt
    from sionna.sys import (
        EESM,
        PFSchedulerSUMIMO,
        PHYAbstraction,
        open_loop_uplink_power_control,
    )

__all__ = [
    "CDL",
    "EESM",
    "TDL",
    "BaseChannelEstimator",
    "ChannelCoefficientsGenerator",
    "Demapper",
    "InH",
    "LDPC5GDecoder",
    "LDPC5GEncoder",
    "LMMSEChannelEstimator",
    "LSChannelEstimator",
    "Mapper",
    "PFSchedulerSUMIMO",
    "PHYAbstraction",
    "PanelArray",
    "RMa",
    "Rays",
    "ResourceGrid",
    "SystemLevelChannel",
    "TBDecoder",
    "TBEncoder",
    "Topology",
    "UMa",
    "UMi",
    "calculate_tb_size",
    "config",
    "dbm_to_watt",
    "decode_mcs_index",
    "gen_single_sector_topology",
    "open_loop_uplink_power_control",
]
