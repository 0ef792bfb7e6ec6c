"""The list of cases: each is a function that plays a fault on a plant.

```
@case("kill/inference", seeds=True)
def kill_inference(plant: Plant) -> None:
    with plant.source.flowing():
        plant.until_predicted(more=200)
        plant["inference"].kill()
        plant.fault()
        plant.until_predicted(more=200)
```

A case ends when its faults have happened and windows flow again; the runner then waits
until all is quiet, gathers the topics, and asks the oracle. What the oracle cannot know, a
case says itself: `Plant.expect`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.faults.harness.plant import Plant

Play = Callable[["Plant"], None]


@dataclass(frozen=True)
class Case:
    """A fault, and what it is played on.

    Attributes:
        name: ``<kind>/<what>``, as the command line and the report name it.
        play: Plays it.
        own_servers: Whether it breaks the servers: it gets a pair of its own, as
            ``plant.servers``.
        own_plant: Whether it gets a namespace and processes of its own. Without, it goes on
            with the running system that the case before has left, as long as that passed.
        serving: Whether the stream processor, inference and two versions are up when it
            begins; without, it starts what it needs.
        seeds: Whether ``--seeds`` repeats it.
        long: Whether it lasts minutes, most of them spent waiting: such a case is begun first,
            so that a lane plays it while others play the rest.
        compares_state: Whether the state must equal an undisturbed run's.
        recovers_within: Longest recovery that passes, seconds.
        allowed_refusals: Reasons for which a good window may be a dead letter.
        catches: What the oracle must find, because the build is broken on purpose: the name
            of a count of `Violations`, or ``state``. Empty for a build that is whole.
    """

    name: str
    play: Play
    own_servers: bool = False
    own_plant: bool = False
    serving: bool = True
    seeds: bool = False
    long: bool = False
    compares_state: bool = True
    recovers_within: float = 60.0
    allowed_refusals: frozenset[str] = frozenset()
    catches: str = ""

    @property
    def broken(self) -> bool:
        """Whether the build is broken on purpose."""
        return bool(self.catches)


CASES: Final[dict[str, Case]] = {}


def case(
    name: str,
    *,
    own_servers: bool = False,
    own_plant: bool = False,
    serving: bool = True,
    seeds: bool = False,
    long: bool = False,
    compares_state: bool = True,
    recovers_within: float = 60.0,
    allowed_refusals: frozenset[str] = frozenset(),
    catches: str = "",
) -> Callable[[Play], Play]:
    """Add a function to the list; see `Case` for the arguments."""

    def add(play: Play) -> Play:
        if name in CASES:
            raise ValueError(f"there are two cases {name}")
        CASES[name] = Case(
            name,
            play,
            own_servers,
            own_plant or own_servers or bool(catches),
            serving,
            seeds,
            long,
            compares_state,
            recovers_within,
            allowed_refusals,
            catches,
        )
        return play

    return add
