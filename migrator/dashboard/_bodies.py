"""What callers send: the bodies of the changes they ask for. What is not known is refused, with the nearest name."""

from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from migrator.keeping import LONGEST_DAYS

DEEPEST = 20
"""How deep the values of parameters may be nested."""

NO_NUL = r"^[^\x00]*$"
"""PostgreSQL cannot keep a NUL."""


def _clean(value: Any, deep: int = 0) -> Any:
    """Return the value of a parameter. ValueError where a database could not keep it."""
    if deep > DEEPEST:
        raise ValueError(f"is nested more than {DEEPEST} deep")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for name, each in value.items():
            _check_text(name)
            _clean(each, deep + 1)
    elif isinstance(value, list):
        for each in value:
            _clean(each, deep + 1)
    return value


def _check_text(text: str) -> None:
    if any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("holds a NUL or half a character")


Word = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]
Reason = Annotated[str, Field(max_length=1000, pattern=NO_NUL)]
Why = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
Target = Annotated[
    str,
    Field(
        max_length=200,
        pattern=r"^([A-Za-z][A-Za-z0-9_-]*:)?(\w+@)?(\w+([+-][0-9]{1,9})?|[+-][0-9]{1,9})$",
        examples=["head", "+2", "-1", "3f2a", "3f2a+1", "label@head", "events:3f2a"],
    ),
]
Words = Annotated[list[Word], Field(max_length=100)]
Targets = Annotated[list[Target], Field(max_length=100)]
Confirm = Annotated[
    str, Field(max_length=200, pattern=NO_NUL, description="The name of the environment, where it is protected.")
]
Value = Annotated[Any, AfterValidator(_clean)]


WHOLE = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
"""Takes a whole number also where it is written as 2.0, which is the same in JSON."""


class Body(BaseModel):
    """What a caller sends: types as they are, and no names but these."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_by_alias=True, validate_by_name=False)

    @model_validator(mode="before")
    @classmethod
    def _know(cls, value: Any) -> Any:
        """Refuse a name that is not known, and say which one may have been meant."""
        known = [each.alias or name for name, each in cls.model_fields.items()]
        for name in value if isinstance(value, dict) else ():
            if name not in known:
                near = get_close_matches(name, known, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                told = {"name": ascii(name[:100]), "hint": hint}
                raise PydanticCustomError("unknown_name", "there is no {name} here; {hint}", told)
        return value


class PlanBody(Body):
    """Which steps would be taken."""

    direction: Literal["upgrade", "downgrade"]
    targets: Targets = []
    databases: Words = []


Agreed = Annotated[
    str,
    Field(max_length=64, pattern=r"^[0-9a-f]*$", description="The `mark` of the plan; any other is refused (409)."),
]


class UpgradeBody(Body):
    """Up to where: by default to the head of every database."""

    targets: Targets = []
    databases: Words = []
    agreed: Agreed = ""


class DowngradeBody(Body):
    """Down to where."""

    targets: Annotated[Targets, Field(min_length=1)]
    databases: Words = []
    agreed: Agreed = ""
    confirm: Confirm = ""


class VerifyBody(Body):
    """Whose verify is asked: by default that of all that is applied."""

    targets: Targets = []
    databases: Words = []
    tags: Words = []


class RunBody(Body):
    """Which scripts run, by name or tag, with which parameters. `force` runs one that left something behind."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["names"], "properties": {"names": {"minItems": 1}}},
                {"required": ["tags"], "properties": {"tags": {"minItems": 1}}},
            ]
        }
    )

    names: Words = []
    tags: Words = []
    params: Annotated[dict[Word, Value], Field(max_length=100)] = {}
    databases: Words = []
    force: bool = False
    confirm: Confirm = ""

    @model_validator(mode="after")
    def _need_one(self) -> "RunBody":
        if not self.names and not self.tags:
            raise PydanticCustomError("nothing", "which script? Give names or tags")
        return self


class CleanupBody(Body):
    """What goes: `days` is in place of keep_days of [retention]. With `dryRun` nothing does, and it is only told."""

    days: Annotated[int, Field(ge=0, le=LONGEST_DAYS), WHOLE] | None = None
    dry_run: Annotated[bool, Field(alias="dryRun")] = False
    confirm: Confirm = ""


class ReasonBody(Body):
    """Why, if somebody wants to know."""

    reason: Reason = ""


class CancelBody(Body):
    """Why, which is kept."""

    reason: Why


class Settings(Body):
    """Settings of a long change; those that are left out stay as they are."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    target: Annotated[
        float, Field(ge=0.01, le=3600, default_factory=float, description="Seconds that one batch is to take.")
    ]
    max_rows: Annotated[int, Field(ge=1, le=1_000_000_000, default_factory=int), WHOLE]
    max_bytes: Annotated[int, Field(ge=1, le=1 << 40, default_factory=int), WHOLE]
    max_rows_per_second: Annotated[float, Field(ge=0, le=1e12, default_factory=float, description="0 for no limit.")]

    @model_validator(mode="after")
    def _need_one(self) -> "Settings":
        if not self.model_fields_set:
            raise PydanticCustomError("nothing", "which setting? Give at least one")
        return self

    def words(self) -> list[str]:
        """Return them as the command line has them, `name=value`."""
        return [f"{name}={value}" for name, value in self.model_dump(exclude_unset=True).items()]


class TuneBody(Body):
    """What changes while it runs."""

    settings: Settings


class ResolveBody(Body):
    """What a person decided about a run that left something behind, and why."""

    decision: Literal["retry", "mark-success", "mark-rolled-back"]
    reason: Why
    confirm: Confirm = ""


class UnlockBody(Body):
    """Why the holder of the lock is ended, which is kept."""

    reason: Why
    confirm: Confirm = ""


class DeleteBody(Body):
    """What was typed to confirm."""

    confirm: Confirm = ""


class TokenBody(Body):
    """Whose token it is, what it may, where ([] is everywhere), and for how many days (0 is for ever)."""

    name: Annotated[str, Field(max_length=100, pattern=r"^[\w.@-]([\w.@ -]*[\w.@-])?$")]
    role: Literal["viewer", "operator", "admin"]
    databases: Words = []
    days: Annotated[float, Field(ge=0, le=LONGEST_DAYS)] = 0
