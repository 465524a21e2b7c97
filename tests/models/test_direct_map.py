"""The direct prediction of a long time step: accurate, calibrated, and without the structure of an action."""

import torch

import bayescg as bcg
from bayescg.models import DirectMap
from bayescg.systems import HenonHeiles


def test_a_step_is_accurate_and_not_symplectic():
    system = HenonHeiles()
    fit = bcg.fit(DirectMap(), bcg.sampling.short_trajectories(system, system.shell(100, seed=3), lag=1.0))
    fresh = bcg.sampling.short_trajectories(system, system.shell(100, (0.005, 0.12), seed=9), lag=1.0)
    q, p, *later = DirectMap.states(fresh)
    off = torch.cat(later, 1) - torch.cat(fit.map().step(q, p)[:2], 1)
    assert float(off.square().mean().sqrt()) < 1e-3
    sd = torch.cat(fit.map(draws=40).step(q.repeat(40, 1), p.repeat(40, 1))[:2], 1).unflatten(0, (40, -1)).std(0)
    assert 0.82 < float((off.abs() < 1.645 * sd).double().mean()) < 0.97
    step, (q, p) = fit.map(), (q[:5], p[:5])
    there = step.step(q, p)
    assert there.iterations == 1
    back = step.step(there.q, -there.p)
    assert float((back.q - q).abs().max()) > 1e-6  # an action's would be 1e-10
