"""The pure core, tested without servers and without mocks."""
