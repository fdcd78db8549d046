"""Where the composition root leaves what handlers need."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from bty.daemon.stream import Stream
from bty.services.account import Account
from bty.services.auth import Auth
from bty.services.backups import Backups
from bty.services.boot_files import BootFiles
from bty.services.boot_list import BootList
from bty.services.catalog import Catalog
from bty.services.catalog_import import CatalogImports
from bty.services.config import Config
from bty.services.config_file import ConfigFile
from bty.services.events import Events
from bty.services.fleet import Fleet
from bty.services.health import Health
from bty.services.insight import Insights
from bty.services.jobs import Jobs
from bty.services.machines import Machines
from bty.services.metrics import Metrics
from bty.services.releases import Releases
from bty.services.settings import Settings
from bty.services.tokens import Tokens
from bty.services.webhooks import Webhooks
from bty.store.db import Store

CONFIG = web.AppKey("config", Config)
STORE = web.AppKey("store", Store)
EVENTS = web.AppKey("events", Events)
ACCOUNT = web.AppKey("account", Account)
AUTH = web.AppKey("auth", Auth)
BOOT_FILES = web.AppKey("boot_files", BootFiles)
CATALOG = web.AppKey("catalog", Catalog)
FLEET = web.AppKey("fleet", Fleet)
INSIGHTS = web.AppKey("insights", Insights)
MACHINES = web.AppKey("machines", Machines)
OPENAPI = web.AppKey("openapi", partial[bytes])  # makes the document, when it is first called
HEALTH = web.AppKey("health", Health)
SETTINGS = web.AppKey("settings", Settings)
TOKENS = web.AppKey("tokens", Tokens)
CONFIG_FILE = web.AppKey("config_file", ConfigFile)
METRICS = web.AppKey("metrics", Metrics)
WEBHOOKS = web.AppKey("webhooks", Webhooks)
JOBS = web.AppKey("jobs", Jobs)
IMPORTS = web.AppKey("imports", CatalogImports)
BACKUPS = web.AppKey("backups", Backups)
RELEASES = web.AppKey("releases", Releases)
BOOT_LIST = web.AppKey("boot_list", BootList)
STREAM = web.AppKey("stream", Stream)
