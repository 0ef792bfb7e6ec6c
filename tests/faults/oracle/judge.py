"""The oracle: evidence goes in, violations come out. Pure; it asks no process what happened.

* **missing**: an input that is nowhere in `sensor.windows`, or that ended in neither a
  prediction nor a dead letter; a good window that was refused, unless the case allows it;
* **duplicated**: whatever a ``read_committed`` reader finds a second time of one input: a
  prediction, a dead letter, or both. A good window is one input however often it was sent; a
  bad record is one for each time;
* **repeated**: a stamped window that is in `sensor.windows.normalized` twice;
* **out of order**: in `predictions` and `sensor.windows.normalized`, a record whose source is
  not after that of the one before it, within an asset;
* **mixed**: a stamp that is not the ledger's, inputs in units that are not their version's, a
  prediction by another version or artefact than it says, or a ledger that contradicts itself
  (`verification.checker`, which knows nothing of how any of it was made);
* **rewound**: a committed offset that went back.

Whether detectors and join are those of an undisturbed run is `tests.faults.oracle.reference`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.headers import CONTENT_TYPE, header
from millrace.contracts.source import Source
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.verification.checker import Mixing, find_mixing
from tests.faults.harness.offsets import Committed
from tests.faults.harness.source import Input
from tests.faults.oracle.evidence import Evidence

Place = tuple[int, int]

#: Violations of a kind that are told in words.
_EXAMPLES = 3


@dataclass(frozen=True)
class Violations:
    """What is wrong; all zero if nothing is. See the module for the counts.

    Attributes:
        words: Some of it in words.
    """

    missing: int = 0
    duplicated: int = 0
    repeated: int = 0
    out_of_order: int = 0
    mixed: int = 0
    rewound: int = 0
    words: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All of them."""
        return (
            self.missing
            + self.duplicated
            + self.repeated
            + self.out_of_order
            + self.mixed
            + self.rewound
        )


def judge(
    evidence: Evidence, model: str, allowed_refusals: frozenset[str] = frozenset()
) -> Violations:
    """Find everything that is wrong.

    Args:
        evidence: What the source sent and the topics hold.
        model: The model that reads the windows.
        allowed_refusals: Reasons for which a good window may be a dead letter in this case.
    """
    missing, duplicated, words = _fates(evidence, allowed_refusals)
    mixing: Mixing = find_mixing(evidence.topics, evidence.registry, model)
    torn = contradictions(evidence.topics.ledger)
    topics = evidence.topics
    normalised = [(w.asset, w.source) for w in topics.normalized]
    predicted = [(p.asset, p.source) for p in topics.predictions]
    stamped = Counter(_place(source) for _, source in normalised)
    repeated = [f"{place} is stamped {n} times" for place, n in stamped.items() if n > 1]
    disordered = out_of_order(normalised) + out_of_order(predicted)
    back = rewound(evidence.commits)
    words += mixing.examples[:_EXAMPLES] + tuple(torn[:_EXAMPLES])
    words += tuple(f"{b} after {a.offset}" for a, b in back[:_EXAMPLES])
    words += (*repeated[:_EXAMPLES], *disordered[:_EXAMPLES])
    return Violations(
        missing,
        duplicated,
        sum(stamped.values()) - len(stamped),
        len(disordered),
        mixing.total + len(torn),
        len(back),
        words,
    )


def _fates(evidence: Evidence, allowed: frozenset[str]) -> tuple[int, int, tuple[str, ...]]:
    """Count inputs without an end, and ends beyond the first."""
    good = {_content(i): i.window.id for i in evidence.inputs if i.window is not None}
    owed = Counter(_content(i) for i in evidence.inputs if i.window is None)
    predictions: Counter[Place] = Counter(
        _place(p.source)
        for p in evidence.topics.predictions
        if p.source.topic == SENSOR_WINDOWS.name
    )
    letters: Counter[Place] = Counter()
    wrongly: set[Place] = set()
    for letter in evidence.topics.refusals:
        if letter.topic != SENSOR_WINDOWS.name:
            continue  # it tells of no record of the source; whose window it was has no end
        place = letter.partition, letter.offset
        letters[place] += 1
        if letter.reason not in allowed:
            wrongly.add(place)

    ends: Counter[str] = Counter(dict.fromkeys(good.values(), 0))
    missing: list[str] = []
    duplicated: list[str] = []
    for record in evidence.raw:
        place = record.partition, record.offset
        content = record.key or b"", record.value, record.content_type
        name = good.get(content)
        if name is not None:
            ends[name] += predictions[place] + letters[place]
            if letters[place] and place in wrongly:
                missing.append(f"{place}: a good window was refused")
            continue
        owed[content] -= 1
        if not letters[place]:
            missing.append(f"{place}: a bad record has no dead letter")
        found = letters[place] + predictions[place]
        duplicated += [f"{place}: a bad record has {found} ends"] * (found - 1)
    lost = sum(count for count in owed.values() if count > 0)
    missing += ["a bad record was never sent"] * lost
    for name, found in ends.items():
        if not found:
            missing.append(f"window {name} has no end")
        duplicated += [f"window {name} has {found} ends"] * (found - 1)
    words = (*missing[:_EXAMPLES], *duplicated[:_EXAMPLES])
    return len(missing), len(duplicated), words


def _content(sent: Input) -> tuple[bytes, bytes, str | None]:
    """What a record of the input is recognised by."""
    return sent.key or b"", sent.value, header(sent.headers, CONTENT_TYPE)


def out_of_order(records: Iterable[tuple[str, Source]]) -> list[str]:
    """Find records whose source lies before that of an earlier record of their asset.

    A repetition is no disorder; it is counted elsewhere.

    Args:
        records: Assets and sources, those of a partition in the order of the topic.
    """
    furthest: dict[tuple[str, int], int] = {}
    found = []
    for asset, source in records:
        key = asset, source.partition
        before = furthest.get(key, -1)
        if source.offset < before:
            found.append(f"{asset}: {source.partition}/{source.offset} comes after {before}")
        furthest[key] = max(source.offset, before)
    return found


def contradictions(ledger: Sequence[LedgerEntry]) -> list[str]:
    """Find fences that are told twice in different ways, or that lie before an older one."""
    known: dict[tuple[str, int, int], LedgerEntry] = {}
    latest: dict[tuple[str, int], LedgerEntry] = {}
    found = []
    for entry in ledger:
        key = entry.model, entry.partition, entry.epoch
        first = known.setdefault(key, entry)
        if (first.version, first.first_offset) != (entry.version, entry.first_offset):
            found.append(f"epoch {entry.epoch} of partition {entry.partition} has two fences")
            continue
        before = latest.setdefault(key[:2], entry)
        if entry.epoch > before.epoch:
            if entry.first_offset < before.first_offset:
                found.append(f"epoch {entry.epoch} begins before epoch {before.epoch}")
            latest[key[:2]] = entry
    return found


def rewound(commits: Iterable[Committed]) -> list[tuple[Committed, Committed]]:
    """Find committed offsets that went back: the one before, and the one that did."""
    latest: dict[tuple[str, str, int], Committed] = {}
    found = []
    for commit in commits:
        key = commit.group, commit.topic, commit.partition
        before = latest.get(key)
        if before is not None and commit.offset < before.offset:
            found.append((before, commit))
        latest[key] = commit
    return found


def _place(source: Source) -> Place:
    return source.partition, source.offset
