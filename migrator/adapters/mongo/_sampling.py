"""One batch of a long change, tried and rolled back: what it costs, and how the server finds its documents."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pymongo
from bson import encode
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from migrator.adapters.mongo._context import Context
from migrator.adapters.mongo._errors import translated
from migrator.adapters.mongo._work import SHORT, Work, limited, unheard
from migrator.core.batch import Ledger
from migrator.core.errors import UsageError
from migrator.core.forecast import Sample
from migrator.core.protocols import Databases
from migrator.core.run import Run
