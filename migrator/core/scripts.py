"""Scripts beside the ordered history. They run on demand or on a schedule, and a repeatable one when it changed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from migrator.core.environ import lookalike
from migrator.core.errors import (
    CycleFound,
    DependencyMissing,
    DuplicateRevision,
    ParentMissing,
    ResolveNeeded,
    RevisionFileError,
    TargetNotFound,
)
from migrator.core.history import History
from migrator.core.refusals import UNCHANGED, refuse_cancelled
from migrator.core.revision import Key, Revision
from migrator.core.run import State


class Scripts:
    """The scripts by key, checked once, in the order of their `depends_on`.

    Raises DuplicateRevision, ParentMissing or CycleFound, each naming the files to blame.
    """

    def __init__(self, revisions: Iterable[Revision], history: History) -> None:
        found: dict[Key, Revision] = {}
        for each in revisions:
            twin = history[each.key] if each.key in history else found.get(each.key)
            if twin is not None:
                raise DuplicateRevision(
                    f"two files have the id {each.key}: {twin.path} and {each.path}", paths=(twin.path, each.path)
                )
            found[each.key] = each
        for each in found.values():
            for link in each.depends_on:
                if link not in found and link not in history:
                    raise ParentMissing(
                        f"{each.key} depends on {link}, which is in no file: {each.path}",
                        paths=(each.path,),
                        hint="Correct `depends_on`; it names scripts or revisions, of another database as name:id.",
                    )
        self._by_key = _sorted(found)

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Revision]:
        return iter(self._by_key.values())

    def __contains__(self, key: Key) -> bool:
        return key in self._by_key

    def __getitem__(self, key: Key) -> Revision:
        return self._by_key[key]

    def choose(self, names: Sequence[str], tags: Sequence[str], databases: Sequence[str]) -> tuple[Revision, ...]:
        """Return the scripts of these names or tags, in order. TargetNotFound, with did-you-mean, for one not there."""
        within = [each for each in self if each.database in databases]
        wanted = {self._named(name, within).key for name in names}
        for tag in tags:
            tagged = {each.key for each in within if tag in each.header.tags}
            if not tagged:
                known = sorted({each for one in within for each in one.header.tags})
                raise TargetNotFound(
                    f"no script has the tag {tag!r}", state=UNCHANGED, hint=_near(tag, known) or _listed("Tags", known)
                )
            wanted |= tagged
        return tuple(each for each in within if each.key in wanted)

    def named(self, names: Sequence[str], databases: Sequence[str]) -> tuple[Revision, ...]:
        """Return the scripts that these are the full names of; () unless all of them are."""
        found = [each for each in self if each.database in databases and {each.id, str(each.key)} & set(names)]
        return tuple(found) if names and len(found) == len(set(names)) else ()

    def _named(self, name: str, within: Sequence[Revision]) -> Revision:
        found = [each for each in within if name in (each.id, str(each.key))]
        found = found or [each for each in within if each.id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(str(each.key) for each in found)
            raise TargetNotFound(f"{name!r} may mean {listed}", state=UNCHANGED, hint="Write more of it.")
        known = [each.id for each in within]
        raise TargetNotFound(
            f"there is no script {name!r}",
            state=UNCHANGED,
            hint=_near(name, known)
            or _listed("Scripts", known)
            or "A script is a revision with `repeatable = True` or `once = True`.",
        )


def changed(scripts: Scripts, state: State, databases: Sequence[str]) -> tuple[Revision, ...]:
    """Return the repeatable scripts whose text is not what last succeeded, in order."""
    return tuple(
        each
        for each in scripts
        if each.database in databases
        and each.header.repeatable
        and (each.key not in state.scripts or state.is_changed(state.scripts[each.key], each.checksum))
    )


def already_done(script: Revision, state: State) -> str:
    """Return when and by whom a script that runs once was done, "" if it is to run."""
    done = state.scripts.get(script.key) if script.header.once else None
    if done is None:
        return ""
    edited = ", with another text" if state.is_changed(done, script.checksum) else ""
    return f"already done at {done.finished_at} by {done.user}@{done.host} (run {done.run_id}){edited}"


def refuse_unready(chosen: Sequence[Revision], state: State, *, force: bool) -> None:
    """Raise what keeps these scripts from running: what they depend on, or what an earlier run left behind.

    Raises DependencyMissing with all of the former at once; ResolveNeeded unless `force`, and where it was cancelled.
    """
    refuse_cancelled(state, [each.key for each in chosen])
    keys = {each.key for each in chosen}
    done = {*state.applied, *state.scripts}
    missing = [(each, link) for each in chosen for link in each.depends_on if link not in done and link not in keys]
    if missing:
        raise DependencyMissing(
            "; ".join(f"{each.key} depends on {link}, which is not applied" for each, link in missing),
            state=UNCHANGED,
            hint="`migrator upgrade head` applies revisions, `migrator run NAME` runs scripts.",
        )
    for each in chosen:
        last = state.blocked.get(each.key)
        if last is not None and not force and not each.header.rerunnable and last.cursor is None:
            raise ResolveNeeded(
                f"{each.key} ({each.title}): its last run {last.run_id} failed, "
                f"its effect is {last.effect}: {last.error}",
                state=f"{each.database} may hold a part of it. Nothing was changed now.",
                hint=f"Look at it; then `migrator run {each.id} --force` runs it again, "
                f"or `migrator resolve {last.run_id}` settles it.",
            )


def here(revision: Revision, environment: str) -> bool:
    """Say whether a revision belongs into this environment."""
    return not revision.header.environments or environment in revision.header.environments


def refuse_lookalikes(revisions: Iterable[Revision], environment: str) -> None:
    """Raise RevisionFileError if a revision is for an environment that is this one but for case or punctuation.

    It would be left out without a word.
    """
    for each in revisions:
        named = each.header.environments
        if named and environment not in named and (twin := lookalike(environment, named)):
            raise RevisionFileError(
                f"environments has {twin!r}, and this environment is {environment!r}",
                path=each.path,
                hint=f"Write {environment!r} in the file, or ENVIRONMENT={twin}.",
            )


def _sorted(found: Mapping[Key, Revision]) -> dict[Key, Revision]:
    graph = {key: [link for link in each.depends_on if link in found] for key, each in found.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = error.args[1]
        raise CycleFound(
            "scripts wait for one another: " + " -> ".join(str(key) for key in circle),
            paths=tuple(found[key].path for key in circle[:-1]),
            hint="Remove one of the `depends_on`.",
        ) from None
    return {key: found[key] for key in order}


def _near(word: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""


def _listed(noun: str, known: Sequence[str]) -> str:
    return f"{noun}: {', '.join(known)}" if known else ""
