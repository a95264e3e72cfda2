"""Sionna's sum of rays, TR 38.901 eq. (7.5-22), in fewer operations.

Sionna multiplies every ray by its Doppler rotation at every time step and then adds up the rays of
a cluster. That is a matrix product of the rays' gains with their rotations, and is computed as one
here. Sionna also transforms every ray's field from the antennas' coordinates to the world's and
back. Between upright, vertically polarised, omnidirectional antennas, only the first of the ray's
initial phases remains of that. The random draws are Sionna's, and so are the numbers, to single
precision.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..sionna_api import ChannelCoefficientsGenerator, Rays, Topology


class RaySum(ChannelCoefficientsGenerator):  # type: ignore[misc]
    """Channel coefficients of a CDL between the antennas of :func:`~.profiles.linear_array`.

    There are neither sub-clusters nor blockage, and no antenna is tilted or has a pattern.

    Shapes: ``B`` links, ``C`` clusters, ``R`` rays, ``M`` receive and ``N`` transmit antennas,
    ``T`` time steps; the two dots are Sionna's axes of transmitters and receivers.
    """

    def _step_11_nlos(self, phi: Tensor, topology: Topology, rays: Rays, t: Tensor) -> Tensor:
        """Coefficients of clusters whose rays are added up: ``[B, ., ., C, 1, M, N, T]``."""
        arriving = self._directions(rays.zoa, rays.aoa)
        departing = self._directions(rays.zod, rays.aod)
        phase = self._radians(self._array_offsets_m(topology, arriving, departing))
        phase += phi[..., 0, None, None]
        amplitude = (rays.powers / rays.aoa.shape[-1]).sqrt()[..., None, None, None]
        gains = torch.polar(amplitude.expand_as(phase), phase)
        at_receiver = topology.moving_end == "rx"
        velocities = topology.velocities.unsqueeze(1 if at_receiver else 2)[..., None, None, :]
        speed_mps = ((arriving if at_receiver else departing) * velocities).sum(-1)
        turned = self._radians(speed_mps[..., None] * t)
        rotations = torch.polar(torch.ones_like(turned), turned)
        sums: Tensor = gains.flatten(-2).mT @ rotations
        return sums.reshape(*sums.shape[:-2], 1, *gains.shape[-2:], len(t))

    def _step_11_los(self, topology: Topology, t: Tensor) -> Tensor:
        """A zero, without any computation, if no link has a line of sight."""
        if bool(topology.los.any()):
            sight: Tensor = super()._step_11_los(topology, t)
            return sight
        return torch.zeros(1, 1, 1, 1, 1, 1, 1, dtype=self.cdtype, device=self.device)

    def _array_offsets_m(self, topology: Topology, arriving: Tensor, departing: Tensor) -> Tensor:
        """How much each pair of antennas adds to a ray's length: ``[B, ., ., C, R, M, N]``."""
        receive = self._step_11_get_rx_antenna_positions(topology)[:, None, :, None].mT
        transmit = self._step_11_get_tx_antenna_positions(topology)[:, :, None, None].mT
        ways: Tensor = (arriving @ receive)[..., :, None] + (departing @ transmit)[..., None, :]
        return ways

    def _directions(self, zenith: Tensor, azimuth: Tensor) -> Tensor:
        """Unit vectors ``[..., 3]``."""
        vectors: Tensor = self._unit_sphere_vector(zenith, azimuth).squeeze(-1)
        return vectors

    def _radians(self, way_m: Tensor) -> Tensor:
        """Phase by which a difference in path length turns the carrier."""
        radians: Tensor = 2 * math.pi / self._lambda_0 * way_m
        return radians
