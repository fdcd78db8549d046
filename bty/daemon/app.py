"""The composition root: builds what a daemon consists of, in order, and takes it down again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from aiohttp import web

from bty.daemon import keys, scripts
from bty.daemon.codec import DEFAULT_MAX_BODY
from bty.daemon.errors import errors
from bty.daemon.handlers import grub
from bty.daemon.protocol import HEADERS
from bty.daemon.routes import add_routes
from bty.daemon.rows import job_row
from bty.daemon.scripts import ARTIFACTS
from bty.daemon.spa import load_application
from bty.daemon.stream import Stream
from bty.daemon.tftp import Tftp
from bty.errors import StoreFailed
from bty.model.event import Actor, Kind, Subject
from bty.services import health
from bty.services.account import Account
from bty.services.auth import Auth
from bty.services.backups import Backups
from bty.services.boot_files import BootFiles
from bty.services.boot_list import BootList
from bty.services.cache import Cache, ExternalCache, NoCache
from bty.services.catalog import Catalog
from bty.services.catalog_import import CatalogImports, complete, seed
from bty.services.changes import Changes, Topic
from bty.services.config import Config
from bty.services.config_file import ConfigFile
from bty.services.embedded_cache import EmbeddedCache
from bty.services.events import Events
from bty.services.fleet import Fleet, Rules
from bty.services.health import Health
from bty.services.insight import Insights
from bty.services.jobs import JobKind, Jobs
from bty.services.machines import Machines
from bty.services.metrics import Metrics
from bty.services.releases import SUFFIXES, Releases
from bty.services.settings import Settings
from bty.services.tokens import Tokens
from bty.services.webhooks import Webhooks
from bty.store.db import Store

log = logging.getLogger(__name__)

PRUNE_EVERY_S = 3600.0


def create_app(config: Config) -> web.Application:
    """Return the daemon as *config* wants it; its services start with it and end with it."""
    app = web.Application(middlewares=[errors], client_max_size=DEFAULT_MAX_BODY)
    app[keys.CONFIG] = config
    app.on_response_prepare.append(_finish)
    app.cleanup_ctx.append(_run_services)
    app.on_shutdown.append(_end_streams)
    add_routes(app)
    return app


async def _run_services(app: web.Application) -> AsyncIterator[None]:
    config = app[keys.CONFIG]
    async with AsyncExitStack() as stack:
        store = app[keys.STORE] = await Store.open(config.paths.state_dir / "state.db")
        stack.push_async_callback(store.close)
        events = app[keys.EVENTS] = Events(store)
        auth = app[keys.AUTH] = await Auth.load(store, events, config)
        app[keys.TOKENS] = Tokens(store, events)
        app[keys.SETTINGS] = await Settings.load(store, events)
        file = app[keys.CONFIG_FILE] = ConfigFile(config)
        app[keys.ACCOUNT] = Account(auth, file)
        files = app[keys.BOOT_FILES] = BootFiles(config.paths.boot_dir, events, max_bytes=config.tuning.max_upload_bytes)
        await files.prepare()
        boot_list = app[keys.BOOT_LIST] = BootList(config.paths.boot_dir, [f"{ARTIFACTS}.{suffix}" for suffix in SUFFIXES], events)
        if source := os.environ.get("BTY_BOOT_SEED_DIR"):
            log.info("boot.seeded files=%s", await boot_list.seed(Path(source)))
        cache = _choose_cache(config, events)
        stack.push_async_callback(cache.stop)
        await cache.start()
        catalog = app[keys.CATALOG] = Catalog(store, events, cache)
        stack.push_async_callback(catalog.close)
        await catalog.load()
        await seed(catalog, config.paths.catalog_file)
        fleet = app[keys.FLEET] = await Fleet.load(store, events, entry=catalog.get, locate=catalog.locate, rules=_rules(config))
        app[keys.MACHINES] = Machines(store, fleet)
        metrics = app[keys.METRICS] = Metrics()
        hooks = app[keys.WEBHOOKS] = Webhooks(config.webhooks, events, store)
        await hooks.prepare()
        for listener in (metrics.hear, hooks.hear):
            stack.callback(events.listen(listener))
        file.apply = partial(_apply, fleet, file)
        loaders = health.Patient("tftp", health.tftp(health.tftp_host(config)))
        stack.push_async_callback(loaders.close)
        app[keys.HEALTH] = Health([*_probes(config, boot_list, catalog, events, auth), loaders, hooks.check])
        app[keys.INSIGHTS] = Insights(fleet, events)
        jobs, backups = await _prepare_jobs(app)
        stack.push_async_callback(jobs.close)
        changes = Changes()
        jobs.on_change = lambda job: changes.put(Topic.JOB, job.id, job_row(job))
        stack.callback(events.listen(changes.hear))
        fleet.on_change = changes.machines
        stream = app[keys.STREAM] = Stream(
            changes,
            app[keys.MACHINES],
            catalog,
            clients_max=config.tuning.stream_clients_max,
            per_address=config.tuning.stream_clients_per_address,
        )
        fleet.live.on_log = stream.tell_log
        chores = [asyncio.create_task(complete(catalog)), asyncio.create_task(_keep_pruning(events, file))]
        chores += [asyncio.create_task(stream.run()), asyncio.create_task(hooks.run())]
        chores += [asyncio.create_task(backups.keep_schedule()), asyncio.create_task(_prepare_answers())]
        stack.push_async_callback(_end, chores)
        if config.netboot.tftp_port:
            tftp = Tftp(grub.finder(app))
            stack.push_async_callback(tftp.stop)
            await tftp.start(config.server.host, config.netboot.tftp_port)
        yield


async def _prepare_jobs(app: web.Application) -> tuple[Jobs, Backups]:
    """Build what works for long: jobs, backups, releases."""
    config, store, events, settings = app[keys.CONFIG], app[keys.STORE], app[keys.EVENTS], app[keys.SETTINGS]
    jobs = app[keys.JOBS] = Jobs(store, events)
    await jobs.load()
    jobs.limit(JobKind.BACKUP, config.tuning.backup_max_parallel)
    backups = app[keys.BACKUPS] = Backups(
        config.paths.backup_dir,
        store=store,
        fleet=app[keys.FLEET],
        catalog=app[keys.CATALOG],
        events=events,
        jobs=jobs,
        settings=settings,
        config=app[keys.CONFIG_FILE],
    )
    await backups.prepare()
    app[keys.RELEASES] = Releases(config.paths.boot_dir, ARTIFACTS, events, jobs, settings)
    app[keys.IMPORTS] = CatalogImports(events, jobs)
    return jobs, backups


def _rules(config: Config) -> Rules:
    return Rules(
        max_attempts=config.flash.max_attempts,
        verify=config.flash.verify,
        require_cycle_token=config.security.require_cycle_token,
    )


def _apply(fleet: Fleet, file: ConfigFile) -> None:
    """Take over what the configuration says now, as far as a running daemon can."""
    stored = file.stored
    fleet.rules = _rules(stored)
    file.running = replace(file.running, flash=stored.flash, security=stored.security, events=stored.events)


def _probes(config: Config, boot_list: BootList, catalog: Catalog, events: Events, auth: Auth) -> list[health.Probe]:
    state = config.paths.state_dir
    return [
        health.artifacts(boot_list.missing),
        health.catalog(lambda: len(catalog.entries())),
        health.failures(events.count_open_failures),
        health.password(lambda: auth.has_default_password),
        health.disk(state),
        health.own_mount(state),
    ]


def _choose_cache(config: Config, events: Events) -> Cache:
    """Return the cache that is configured; one elsewhere makes our own superfluous."""
    if config.withcache.url:
        return ExternalCache(config.withcache.url)
    if not config.withcache.embedded:
        return NoCache()

    async def note(src: str, reason: str) -> None:
        summary = f"caching {src[:300]} failed: {reason}"[:1000]
        details = {"src": src, "error": reason}
        await events.record(Kind.CACHE_FAILED, summary, subject=(Subject.CATALOG, src[:1000]), actor=Actor.SYSTEM, details=details)

    return EmbeddedCache(config.paths.state_dir / "cache", on_failure=note)


async def _keep_pruning(events: Events, file: ConfigFile) -> None:
    while True:
        try:
            limits = file.running.events
            if gone := await events.prune(retention_days=limits.retention_days, max_rows=limits.max_rows):
                log.info("events.pruned count=%d", gone)
        except StoreFailed as error:
            log.error("events.prune.failed %s", error)
        await asyncio.sleep(PRUNE_EVERY_S)


async def _prepare_answers() -> None:
    """Make beside the first requests what all later ones share: it is not waited for, who needs it earlier makes it."""
    for prepare in (scripts.prepare, load_application):
        try:
            await asyncio.to_thread(prepare)
        except Exception:  # whatever is wrong with it: who asks for it is told again, and the rest works
            log.exception("answers.unusable")


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task, ended in zip(tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
        if isinstance(ended, Exception):
            log.error("chore.failed %s", task.get_coro(), exc_info=ended)


async def _end_streams(app: web.Application) -> None:
    if stream := app.get(keys.STREAM):
        stream.close()


async def _finish(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
