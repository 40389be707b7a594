"""A title."""

revision = "aa01"
down_revision = None


class X(Script):
    def upgrade(self, ctx): ...
