"""The release of migrator; a tracker keeps which one wrote it."""

__version__ = "0.1.0"
