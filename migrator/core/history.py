"""The checked graph of all revisions: one history for each database, tied together by cross links."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import Any

from migrator.core.errors import (
    AmbiguousTarget,
    CycleFound,
    DuplicateRevision,
    HistoryError,
    ParentMissing,
    SelfParent,
    TargetNotFound,
    UnlabelledRoots,
)
from migrator.core.revision import Key, Revision


class History:
    """Revisions by key, checked once: whoever holds a History holds a graph without holes or circles.

    Raises DuplicateRevision, SelfParent, ParentMissing, CycleFound, UnlabelledRoots or HistoryError; each names the
    files to blame.
    """

    def __init__(self, revisions: Iterable[Revision]) -> None:
        self._by_key = _unique(revisions)
        self._parents = {key: (*one.down, *one.depends_on) for key, one in self._by_key.items()}
        _check_parents(self._by_key, self._parents)
        self._children = _children(self._parents)
        self._backfills = self._find_backfills()
        self._parents = {key: (*names, *self.backfills(key)) for key, names in self._parents.items()}
        self._children = _children(self._parents)
        self.order: tuple[Key, ...] = self._sorted()
        self._labels = self._spread_labels()
        self._check_roots()

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Revision]:
        return (self._by_key[key] for key in self.order)

    def __contains__(self, key: Key) -> bool:
        return key in self._by_key

    def __getitem__(self, key: Key) -> Revision:
        return self._by_key[key]

    def parents(self, key: Key) -> tuple[Key, ...]:
        """Return what must be applied before a revision: its parents and its cross links."""
        return self._parents[key]

    def backfills(self, key: Key) -> tuple[Key, ...]:
        """Return the revisions whose long changes must be done before a revision."""
        return self._backfills.get(key, ())

    def children(self, key: Key) -> tuple[Key, ...]:
        """Return what names this revision as a parent or a cross link, in any database."""
        return self._children[key]

    def line_children(self, key: Key) -> tuple[Key, ...]:
        """Return the revisions of the same database that have this one as their parent."""
        return tuple(child for child in self._children[key] if key in self._by_key[child].down)

    def of(self, database: str) -> tuple[Key, ...]:
        """Return the history of one database, parents first."""
        return tuple(key for key in self.order if key.database == database)

    def heads(self, database: str, label: str = "") -> tuple[Key, ...]:
        """Return the newest revisions of one database, or of one of its branches."""
        members = self.of(database) if not label else self.branch(database, label)
        return tuple(key for key in members if not self.line_children(key))

    def labels(self, key: Key) -> frozenset[str]:
        """Return the labels of a revision: its own and those of its ancestors in the same database."""
        return self._labels[key]

    def branch(self, database: str, label: str) -> tuple[Key, ...]:
        """Return the revisions under a label, parents first. TargetNotFound where nothing has it."""
        members = tuple(key for key in self.of(database) if label in self._labels[key])
        if not members:
            known = sorted({each for key in self.of(database) for each in self._labels[key]})
            raise TargetNotFound(
                f"no revision of {database} has the label {label!r}",
                state="Nothing was changed.",
                hint=_did_you_mean(label, known) or "Labels are the branch_labels in a revision file.",
            )
        return members

    def line(self, database: str, label: str = "") -> tuple[Key, ...]:
        """Return the history of one database, or one of its branches with what is below it; () for no such label."""
        if not label:
            return self.of(database)
        marked = [key for key in self.of(database) if label in self._labels[key]]
        whole = _reach(marked, lambda key: self._by_key[key].down)
        return tuple(key for key in self.of(database) if key in whole)

    def ancestors(self, keys: Iterable[Key]) -> set[Key]:
        """Return the keys and all that must be applied before them, in every database."""
        return _reach(keys, self._parents.__getitem__)

    def as_dict(self) -> dict[str, Any]:
        """Return the revisions for `--json`, parents first."""
        return {"revisions": [self._told(each) for each in self]}

    def _told(self, revision: Revision) -> dict[str, Any]:
        return {
            "database": revision.database,
            "revision": revision.id,
            "title": revision.title,
            "parents": [str(key) for key in self.parents(revision.key)],
            "labels": sorted(self.labels(revision.key)),
            "path": revision.path,
            "reversible": revision.reversible,
            "verifiable": revision.verifiable,
        }

    def descendants(self, keys: Iterable[Key]) -> set[Key]:
        """Return the keys and all that stands on them in the same database."""
        return _reach(keys, self.line_children)

    def dependents(self, keys: Iterable[Key]) -> set[Key]:
        """Return the keys and all that depends on them, by parent or cross link, in any database."""
        return _reach(keys, self.children)

    def find(self, prefix: str, databases: Iterable[str]) -> Key:
        """Return the one revision whose id begins with the prefix (a whole id always wins).

        Raises TargetNotFound with the nearest ids, or AmbiguousTarget with the candidates.
        """
        scope = set(databases)
        candidates = [key for key in self.order if key.database in scope and key.id.startswith(prefix)]
        exact = [key for key in candidates if key.id == prefix]
        found = exact or candidates
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(str(key) for key in found)
            raise AmbiguousTarget(
                f"{prefix!r} may mean {listed}",
                state="Nothing was changed.",
                hint="Write more of the id, or name the database: " + " or ".join(str(key) for key in found[:2]),
            )
        known = [*(key.id for key in self.order if key.database in scope), "head", "heads", "base"]
        raise TargetNotFound(
            f"no revision of {' or '.join(sorted(scope))} has an id that begins with {prefix!r}",
            state="Nothing was changed.",
            hint=_did_you_mean(prefix, known) or "`migrator history` lists the ids.",
        )

    def sort(self, keys: Iterable[Key], rank: Callable[[Key], object] | None = None) -> tuple[Key, ...]:
        """Return the keys so that parents come before children; among equals, by rank, else by file order."""
        chosen = set(keys)
        if rank is None:
            return tuple(key for key in self.order if key in chosen)
        return _topological(chosen, self._parents, rank)

    def _find_backfills(self) -> dict[Key, tuple[Key, ...]]:
        """Return what `requires_backfill` names, as links to revisions that do not come after."""
        if not any(one.header.requires_backfill for one in self._by_key.values()):
            return {}
        from migrator.core.loops import linked

        return linked(self._by_key, lambda key: _reach([key], self._children.__getitem__))

    def _sorted(self) -> tuple[Key, ...]:
        place = {key: index for index, key in enumerate(self._by_key)}
        try:
            TopologicalSorter(self._parents).prepare()
        except CycleError as error:
            circle = list(dict.fromkeys(error.args[1]))
            raise CycleFound(
                "these revisions wait for one another: " + " -> ".join(str(key) for key in error.args[1]),
                paths=(self._by_key[key].path for key in circle),
                hint="Change the down_revision or depends_on of one of: " + _paths(self._by_key[key] for key in circle),
            ) from None
        return _topological(set(self._by_key), self._parents, place.__getitem__)

    def _spread_labels(self) -> dict[Key, frozenset[str]]:
        labels: dict[Key, frozenset[str]] = {}
        owner: dict[tuple[str, str], Revision] = {}
        for key in self.order:
            revision = self._by_key[key]
            for label in revision.header.branch_labels:
                twin = owner.setdefault((key.database, label), revision)
                if twin is not revision:
                    raise HistoryError(
                        f"the label {label!r} is given twice in {key.database}: {_paths((twin, revision))}",
                        paths=(twin.path, revision.path),
                        hint="A branch label names one branch: remove it from one of the two files.",
                    )
            inherited = (labels[parent] for parent in revision.down)
            labels[key] = frozenset(revision.header.branch_labels).union(*inherited)
        return labels

    def _check_roots(self) -> None:
        roots: dict[str, list[Revision]] = {}
        for revision in self:
            if not revision.down:
                roots.setdefault(revision.database, []).append(revision)
        for database, found in roots.items():
            bare = [root for root in found if not root.header.branch_labels]
            if len(found) > 1 and bare:
                raise UnlabelledRoots(
                    f"{database} has {len(found)} revisions without a parent: {_paths(found)}",
                    paths=(root.path for root in found),
                    hint="Give all but the first a down_revision, or each of them its own branch_labels.",
                )


def _unique(revisions: Iterable[Revision]) -> dict[Key, Revision]:
    by_key: dict[Key, Revision] = {}
    for revision in revisions:
        twin = by_key.setdefault(revision.key, revision)
        if twin is not revision:
            raise DuplicateRevision(
                f"two files have the id {revision.id}: {_paths((twin, revision))}",
                paths=(twin.path, revision.path),
                hint="Give the newer one another id (`migrator new` makes one), and its children that id as parent.",
            )
    return by_key


def _check_parents(by_key: Mapping[Key, Revision], parents: Mapping[Key, tuple[Key, ...]]) -> None:
    for key, names in parents.items():
        path = by_key[key].path
        for parent in names:
            if parent == key:
                raise SelfParent(f"{path}: {key} is its own parent", paths=[path], hint=f"Correct it in {path}.")
            if parent not in by_key:
                known = [other.id for other in by_key if other.database == parent.database and other != key]
                raise ParentMissing(
                    f"{path}: {key} needs {parent}, and no file has that id",
                    paths=[path],
                    hint=_did_you_mean(parent.id, known) or f"Restore the file of {parent}, or correct {path}.",
                )


def _children(parents: Mapping[Key, tuple[Key, ...]]) -> dict[Key, tuple[Key, ...]]:
    children: dict[Key, list[Key]] = {key: [] for key in parents}
    for key, names in parents.items():
        for parent in dict.fromkeys(names):
            children[parent].append(key)
    return {key: tuple(names) for key, names in children.items()}


def _reach(keys: Iterable[Key], step: Callable[[Key], Iterable[Key]]) -> set[Key]:
    seen: set[Key] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in seen:
            seen.add(key)
            waiting.extend(step(key))
    return seen


def _topological(
    chosen: set[Key], parents: Mapping[Key, tuple[Key, ...]], rank: Callable[[Key], object]
) -> tuple[Key, ...]:
    """Kahn's algorithm (1962) with a heap, so that the order among equals is fixed by the rank."""
    missing = {key: len({parent for parent in parents[key] if parent in chosen}) for key in chosen}
    waits_for: dict[Key, list[Key]] = {key: [] for key in chosen}
    for key in chosen:
        for parent in {parent for parent in parents[key] if parent in chosen}:
            waits_for[parent].append(key)
    ready: list[tuple[object, Key]] = []
    for key, count in missing.items():
        if count == 0:
            heappush(ready, (rank(key), key))
    order: list[Key] = []
    while ready:
        _, key = heappop(ready)
        order.append(key)
        for child in waits_for[key]:
            missing[child] -= 1
            if missing[child] == 0:
                heappush(ready, (rank(child), child))
    return tuple(order)


def _paths(revisions: Iterable[Revision]) -> str:
    return ", ".join(revision.path for revision in revisions)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else ""
