"""A title."""

revision = "aa01"
down_revision = None
upgrade = lambda ctx: None
