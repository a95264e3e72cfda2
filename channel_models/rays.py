"""Sionna's sum of rays, TR 38.901 eq. (7.5-22), in fewer operations.

Sionna multiplies every ray by its Doppler rotation at every time step and then adds up the rays
of a cluster. That is a matrix product, of the rays' gains with their rotations; and a complex
exponential of an imaginary number costs several times what sine and cosine do. The random draws
are Sionna's, and so are the numbers, to single precision.
"""

from __future__ import annotations

import torch
from sionna.phy import PI
from sionna.phy.channel.tr38901 import Rays, Topology
from sionna.phy.channel.tr38901.channel_coefficients import ChannelCoefficientsGenerator
from torch import Tensor


class RaySum(ChannelCoefficientsGenerator):  # type: ignore[misc]
    """Channel coefficients of clusters without sub-clusters or blockage: those of a CDL.

    Shapes: ``B`` links, ``C`` clusters, ``R`` rays, ``M`` receive and ``N`` transmit antennas,
    ``T`` time steps; the dots are Sionna's axes of transmitters and receivers.
    """

    def _step_11_nlos(self, phi: Tensor, topology: Topology, rays: Rays, t: Tensor) -> Tensor:
        """Clusters, their rays added up already: ``[B, ., ., C, 1, M, N, T]``."""
        angles = (rays.aoa, rays.aod, rays.zoa, rays.zod)
        field = self._step_11_field_matrix(topology, *angles, self._step_11_phase_matrix(phi, rays))
        power = (rays.powers / rays.aoa.shape[-1])[..., None, None, None]
        gains = field * self._step_11_array_offsets(topology, *angles) * power.sqrt()
        rotations = self._step_11_doppler_matrix(topology, *angles, t)
        sums: Tensor = gains.flatten(-2).mT @ rotations
        return sums.reshape(*sums.shape[:-2], 1, *gains.shape[-2:], len(t))

    def _step_11_los(self, topology: Topology, t: Tensor) -> Tensor:
        """Nothing, at once, where nobody is in sight."""
        if bool(topology.los.any()):
            sight: Tensor = super()._step_11_los(topology, t)
            return sight
        return torch.zeros(1, 1, 1, 1, 1, 1, 1, dtype=self.cdtype, device=self.device)

    def _step_11_phase_matrix(self, phi: Tensor, rays: Rays) -> Tensor:
        """``[B, ., ., C, R, 2, 2]``"""
        amplitudes = torch.ones_like(phi)
        amplitudes[..., 1:3] = rays.xpr.rsqrt()[..., None]
        return torch.polar(amplitudes, phi).reshape(*phi.shape[:-1], 2, 2)

    def _step_11_doppler_matrix(
        self, topology: Topology, aoa: Tensor, aod: Tensor, zoa: Tensor, zod: Tensor, t: Tensor
    ) -> Tensor:
        """``[B, ., ., C, R, T]``"""
        at_receiver = topology.moving_end == "rx"
        velocities = topology.velocities.unsqueeze(1 if at_receiver else 2)[..., None, None, :]
        directions = self._directions(zoa, aoa) if at_receiver else self._directions(zod, aod)
        return self._rotations((directions * velocities).sum(-1)[..., None] * t)

    def _step_11_array_offsets(
        self, topology: Topology, aoa: Tensor, aod: Tensor, zoa: Tensor, zod: Tensor
    ) -> Tensor:
        """``[B, ., ., C, R, M, N]``"""
        receive = self._step_11_get_rx_antenna_positions(topology)[:, None, :, None].mT
        transmit = self._step_11_get_tx_antenna_positions(topology)[:, :, None, None].mT
        from_receiver = (self._directions(zoa, aoa) @ receive)[..., :, None]
        from_transmitter = (self._directions(zod, aod) @ transmit)[..., None, :]
        return self._rotations(from_receiver + from_transmitter)

    def _directions(self, zenith: Tensor, azimuth: Tensor) -> Tensor:
        """Unit vectors ``[..., 3]``."""
        vectors: Tensor = self._unit_sphere_vector(zenith, azimuth).squeeze(-1)
        return vectors

    def _rotations(self, paths_m: Tensor) -> Tensor:
        """What such differences of path length do to the carrier."""
        phase = 2 * PI / self._lambda_0 * paths_m
        return torch.polar(torch.ones_like(phase), phase)
