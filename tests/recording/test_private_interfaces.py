"""What `bayescg.recording` uses of torch's own inside, and what runs instead where a torch has it no more."""

import builtins
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from openmm import app

import bayescg as bcg
from bayescg.models import PredictiveCV
from bayescg.recording.functional import forward_mode
from bayescg.recording.lowering import can_compile
from bayescg.recording.optimiser import Adam
from bayescg.recording.stepping import prepare
from bayescg.sampling import langevin
from bayescg.systems import DoubleWell
from bayescg.systems.forcefield.field import ForceField

COMPILES, RECORDS, DESCRIBES, SUMS, NEEDED = (
    "steps run recorded",
    "steps run plainly",
    "recordings take longer",
    "the plain formula",
    "nothing: it is needed",
)

INTERFACES = {
    "torch._inductor.compile": COMPILES,
    "torch._inductor.cpp_builder.get_cpp_compiler": COMPILES,
    "torch._inductor.exc.InvalidCxxCompiler": COMPILES,
    "torch._subclasses.FakeTensorMode": COMPILES,
    "torch.fx.experimental.symbolic_shapes.ShapeEnv": COMPILES,
    "torch.utils._triton.has_triton": COMPILES,
    "torch.ops.mkldnn._linear_pointwise": "inductor's own matrix products",
    "torch.fx.experimental.proxy_tensor.make_fx": RECORDS,
    "torch.fx.experimental.proxy_tensor.get_proxy_mode": RECORDS,
    "torch.fx.experimental.proxy_tensor.disable_proxy_modes_tracing": RECORDS,
    "torch._guards.TracingContext": DESCRIBES,
    "torch._guards.tracing": DESCRIBES,
    "torch._fused_adam_": SUMS,
    "torch.overrides.TorchFunctionMode": NEEDED,
    "torch.utils._python_dispatch.TorchDispatchMode": NEEDED,
    "torch.utils._pytree.tree_flatten": NEEDED,
    "torch.utils._pytree.tree_unflatten": NEEDED,
    "torch.utils._pytree.tree_leaves": NEEDED,
    "torch.utils._pytree.tree_map": NEEDED,
    "torch.Tensor._version": NEEDED,
    "torch.default_generator": NEEDED,
    "sys.settrace": NEEDED,
}


@pytest.mark.parametrize("name", INTERFACES)
def test_this_torch_has_it(name):
    module, _, rest = name.rpartition(".")
    try:
        holder = importlib.import_module(module)
    except ImportError:  # of an object, not of a module
        first, *path = module.split(".")
        holder = importlib.import_module(first)
        for part in path:
            holder = getattr(holder, part)
    assert hasattr(holder, rest)


@pytest.fixture
def gone(monkeypatch):
    """Takes a module of torch away: importing from it fails in bayescg, while torch itself goes on to use it."""

    def take(module: str) -> None:
        plain = builtins.__import__

        def without(name: str, variables: Any = None, *arguments: Any) -> Any:
            if name == module and variables and variables["__name__"].startswith("bayescg."):
                raise ImportError(f"this torch has no {name}")
            return plain(name, variables, *arguments)

        monkeypatch.setattr(builtins, "__import__", without)

    return take


def trained(mode: str) -> bcg.Fit:
    model, frames, _ = PredictiveCV.example()
    settings: dict[str, Any] = {"steps": 12, "uncertainty": "none", "validation": 0.0, "batch_size": 8}
    return bcg.fit(model, frames, compile=mode, **settings)


@pytest.mark.parametrize(
    "module",
    [
        "torch._inductor",
        "torch._subclasses",
        pytest.param("torch.fx.experimental.symbolic_shapes", marks=pytest.mark.slow),
    ],
)
def test_without_inductor_a_fit_runs_recorded(gone, module):
    plain = trained("off")
    gone(module)
    with pytest.warns(UserWarning, match=f"the recording runs as it is: .*no {module}"):
        fit = trained("inductor")
    assert fit.diagnostics["compiled"] == "trace"
    assert fit.log == plain.log


def test_without_inductor_a_sampler_runs_recorded(gone):
    x = torch.ones(3)
    gone("torch._inductor")
    with pytest.warns(UserWarning, match="the recording runs as it is: torch has no inductor"):
        double = prepare(lambda v: (2 * v,), [x], calls=1, mode="inductor")
    assert isinstance(double, torch.fx.GraphModule)
    assert double(x)[0].tolist() == [2.0, 2.0, 2.0]


def test_without_tracing_contexts_a_fit_is_recorded(gone):
    plain = trained("trace")
    gone("torch._guards")
    fit = trained("trace")
    assert fit.diagnostics["compiled"] == "trace"
    assert fit.log == plain.log


def test_without_a_word_on_triton_a_gpu_runs_recordings(gone):
    gone("torch.utils._triton")
    assert "Triton" in can_compile(torch.device("cuda")) or "C++" in can_compile(torch.device("cuda"))


@pytest.mark.parametrize("run", [trained, lambda mode: langevin(DoubleWell(), 20, dt=0.01, chains=3, compile=mode)])
def test_without_make_fx_steps_run_plainly(gone, run: Callable[[str], Any]):
    plain = run("off")
    gone("torch.fx.experimental.proxy_tensor")
    assert_same(run("off"), plain)  # and need it for nothing
    with pytest.warns(UserWarning, match="runs plainly, because it cannot be recorded: .*proxy_tensor"):
        fallen = run("trace")
    assert_same(fallen, plain)


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, bcg.Fit):
        assert a.log == b.log
        assert a.diagnostics["compiled"] == "off"
    else:
        assert np.array_equal(a.positions, b.positions)


def test_without_modes_of_recording_a_force_field_is_made(gone):
    topology, positions = bcg.systems.peptide("ACE-ALA-NME")
    openmm_system = app.ForceField("amber96.xml", "implicit/obc1.xml").createSystem(topology)
    x = torch.as_tensor(positions._value)[None]
    expected = ForceField(openmm_system).plain(x)(x)
    gone("torch.fx.experimental.proxy_tensor")
    assert torch.equal(ForceField(openmm_system).plain(x)(x), expected)


@pytest.mark.parametrize("bad", [None, 0.0, 1.0])
def test_without_the_fused_kernel_adam_is_its_formula(monkeypatch, bad):
    """In both precisions, and where a step is not to count."""
    gradients = [{"a": torch.tensor([3.0, -1e-3]), "b": torch.tensor(2.0, dtype=torch.float64)} for _ in range(3)]

    def steps() -> Adam:
        adam = Adam({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(-1.0, dtype=torch.float64)})
        for number, gradient in enumerate(gradients):
            last = bad if number == 2 else None if bad is None else 0.0
            adam.step(gradient, 0.1, None if last is None else torch.tensor(last))
        return adam

    fused = steps()
    monkeypatch.delattr(torch, "_fused_adam_")
    plain = steps()
    for ours, theirs in ((plain.params, fused.params), (plain.state(), fused.state())):
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name])


@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning])
def test_advice_on_torch_jit_is_kept_from_users_and_nothing_else(category):
    """It is of the first kind in torch 2.13, and of the second in later ones."""
    with forward_mode():
        warnings.warn("`torch.jit.script` is deprecated. Please switch to `torch.compile`.", category, stacklevel=1)
        with pytest.raises(category, match="a user's own"):
            warnings.warn("a user's own", category, stacklevel=1)
