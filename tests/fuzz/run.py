"""How the machine is run: for a number of examples, the same for the same seed."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.house import House
from tests.fuzz.machine import Sessions


def play(house: House, number: int, examples: int, *, shrink: bool = False) -> None:
    """Play `examples` games; raises what went wrong, with the steps that led there in a note.

    To `shrink` them to few steps takes minutes.
    """
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    options = settings(
        max_examples=examples,
        stateful_step_count=20,
        deadline=None,
        database=None,
        phases=phases,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
    )
    machine = type("Here", (Sessions,), {"house": house})
    run_state_machine_as_test(seed(number)(machine), settings=options)
