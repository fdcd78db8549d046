"""The one table of routes. What the daemon answers, to whom, and how large a body may be, is read here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from aiohttp import web

from bty.daemon import keys
from bty.daemon.codec import DEFAULT_MAX_BODY
from bty.daemon.guards import Guard, Handler, expect, guarded
from bty.daemon.handlers import (
    auth,
    blobs,
    boot,
    catalog,
    events,
    images,
    insight,
    jobs,
    machines,
    meta,
    netboot,
    overview,
    pxe,
    settings,
    stream,
    tokens,
    ui,
    watch,
)
from bty.daemon.openapi import describe
from bty.services.config import Config

Cap = int | Callable[[Config], int]
"""How large a body may be: a number of bytes, or what the configuration says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One line of the table. `method` is `GET`, or several with bars between: `GET|HEAD`."""

    method: str
    path: str
    handler: Handler
    guard: Guard
    summary: str
    max_body: Cap = DEFAULT_MAX_BODY


def _upload_cap(config: Config) -> int:
    return config.tuning.max_upload_bytes


def _route(method: str, path: str, handler: Handler, guard: Guard, summary: str, *, max_body: Cap = DEFAULT_MAX_BODY) -> Route:
    return Route(method=method, path=path, handler=handler, guard=guard, summary=summary, max_body=max_body)


OPEN, MACHINE, OPERATOR, SESSION, PAGE = Guard.OPEN, Guard.MACHINE, Guard.OPERATOR, Guard.SESSION, Guard.PAGE

# First match wins: a fixed path stands above a pattern that would take it.
ROUTES: tuple[Route, ...] = (
    # --- meta
    _route("GET|HEAD", "/", meta.root, OPEN, "Go to the web application"),
    _route("GET|HEAD", "/healthz", meta.healthz, OPEN, "Tell that the daemon runs"),
    _route("GET", "/openapi.json", meta.openapi, OPEN, "This table, for programs: OpenAPI 3.1"),
    _route("GET|HEAD", "/version", meta.version, OPEN, "Tell the version"),
    # --- logging in
    _route("GET", "/ui/login", auth.login_page, OPEN, "The page to log in"),
    _route("POST", "/ui/login", auth.login_form, OPEN, "Log in from the page"),
    _route("POST", "/ui/logout", auth.logout_form, OPEN, "Log out from a page"),
    _route("POST", "/auth/login", auth.login, OPEN, "Log in"),
    _route("POST", "/auth/logout", auth.logout, OPEN, "Log out"),
    # --- the operator
    _route("GET", "/account", tokens.get_account, SESSION, "The operator's account"),
    _route("POST", "/account/password", tokens.change_password, SESSION, "Change the password"),
    _route("GET", "/tokens", tokens.list_tokens, SESSION, "List the API tokens"),
    _route("POST", "/tokens", tokens.create_token, SESSION, "Make an API token"),
    _route("DELETE", "/tokens/{id}", tokens.revoke_token, SESSION, "Revoke an API token"),
    # --- adjusting, and what is wrong
    _route("GET", "/settings", settings.get_settings, OPERATOR, "The settings"),
    _route("PATCH", "/settings", settings.change_settings, OPERATOR, "Change settings"),
    _route("GET", "/config", settings.get_config, OPERATOR, "The configuration, with where each value is from"),
    _route("PUT", "/config/{key}", settings.change_config, SESSION, "Change a key of the configuration"),
    _route("GET", "/health", settings.get_health, OPERATOR, "What machines need, and whether it is there"),
    _route("GET", "/metrics", watch.metrics, OPERATOR, "Numbers for Prometheus"),
    _route("GET", "/webhooks", watch.webhooks, OPERATOR, "The webhooks, and what they did not take"),
    _route("POST", "/webhooks/dead/retry", watch.retry_letters, OPERATOR, "Send once more what no webhook took"),
    _route("DELETE", "/webhooks/dead", watch.drop_letters, OPERATOR, "Forget what no webhook took"),
    # --- pages
    _route("GET", "/ui", ui.root, PAGE, "Go to the first page"),
    _route("GET", "/ui/machines/{mac}", ui.machine, PAGE, "The page of a machine"),
    _route("GET", "/ui/assets/{build}/{name}", ui.asset, OPEN, "What the pages load"),
    _route("GET", "/ui/{page}", ui.page, PAGE, "A page of the web application"),
    # --- machines that boot
    _route("GET", "/pxe-bootstrap.ipxe", pxe.bootstrap, MACHINE, "The script that sends any machine to its own"),
    _route("GET", "/pxe/{mac}", pxe.script, MACHINE, "The script that a machine boots now"),
    _route("GET", "/pxe/{mac}/grub.cfg", pxe.grub_script, MACHINE, "The script that a machine boots now, for GRUB"),
    _route("GET", "/pxe/{mac}/plan", pxe.plan, MACHINE, "What a machine's live environment is to do"),
    _route("POST", "/pxe/{mac}/done", pxe.done, MACHINE, "Take the receipt of a flash"),
    _route("POST", "/pxe/{mac}/status", pxe.status, MACHINE, "Take the receipt of a flash, as later predecessors send it"),
    _route("POST", "/pxe/{mac}/inventory", pxe.inventory, MACHINE, "Take a machine's hardware", max_body=pxe.INVENTORY_MAX_BYTES),
    _route("POST", "/pxe/{mac}/progress", pxe.progress, MACHINE, "Take word of how far a flash has come"),
    _route("POST", "/pxe/{mac}/log", pxe.log, MACHINE, "Take lines of the live environment's log", max_body=pxe.LOG_MAX_BYTES),
    _route("GET", "/pxe/{mac}/ssh", pxe.ssh, MACHINE, "Who may log in to a machine's live environment"),
    _route("GET", "/boot", netboot.list_files, OPERATOR, "List the files that machines boot from"),
    _route("GET", "/boot/releases", netboot.list_releases, OPERATOR, "List the fetches of releases"),
    _route("POST", "/boot/releases", netboot.fetch_release, OPERATOR, "Fetch a release of the live environment"),
    _route("DELETE", "/boot/releases/{tag}", netboot.cancel_release, OPERATOR, "Cancel the fetch of a release"),
    _route("DELETE", "/boot/{name}", netboot.delete_file, OPERATOR, "Delete a file that machines boot from"),
    _route("GET|HEAD", "/boot/{name}", boot.get_file, MACHINE, "A file that machines boot from"),
    _route("PUT", "/boot/{name}", boot.put_file, OPERATOR, "Store a file that machines boot from", max_body=_upload_cap),
    # --- machines as the operator sees them
    _route("GET", "/machines", machines.list_machines, OPERATOR, "List the machines"),
    _route("GET", "/overview", overview.get_overview, OPERATOR, "The fleet at a glance"),
    _route(
        "POST",
        "/machines/bulk",
        machines.change_machines,
        OPERATOR,
        "Change, reset or forget many machines",
        max_body=machines.BULK_MAX_BYTES,
    ),
    _route("GET", "/machines/{mac}", machines.get_machine, OPERATOR, "One machine"),
    _route("PUT", "/machines/{mac}", machines.put_machine, OPERATOR, "Make a machine, or replace what the operator says about it"),
    _route("PATCH", "/machines/{mac}", machines.patch_machine, OPERATOR, "Change what is named of a machine"),
    _route("POST", "/machines/{mac}/reset", machines.reset_machine, OPERATOR, "Start a machine's work over, a failed or a finished one"),
    _route("DELETE", "/machines/{mac}", machines.delete_machine, OPERATOR, "Forget a machine"),
    _route("GET", "/machines/{mac}/lshw.json", machines.get_lshw, OPERATOR, "The lshw report of a machine"),
    _route("GET", "/machines/{mac}/disks.json", machines.get_disks, OPERATOR, "The disks that a machine reported"),
    _route("GET", "/machines/{mac}/log", machines.get_log, OPERATOR, "The last lines of a machine's live environment"),
    _route("GET", "/machines/{mac}/explain", insight.explain, OPERATOR, "What a machine would boot now, why, and what comes after it"),
    _route("GET", "/machines/{mac}/timeline", insight.timeline, OPERATOR, "How far a machine's boot cycle has come, and where it stopped"),
    # --- the audit log
    _route("GET", "/events", events.list_events, OPERATOR, "List the events"),
    _route("GET", "/events/stream", stream.get_stream, OPERATOR, "Everything that changes, as it changes"),
    _route("GET", "/events/machines", stream.get_machines, OPERATOR, "What changes about machines"),
    _route("GET", "/events/workers", stream.get_workers, OPERATOR, "What changes about jobs"),
    _route("POST", "/events/{id}/ack", events.acknowledge, OPERATOR, "Mark an event as seen"),
    _route(
        "POST",
        "/events/acknowledge",
        events.acknowledge_many,
        OPERATOR,
        "Mark many events as seen, or as new again",
        max_body=events.MANY_MAX_BYTES,
    ),
    # --- long work and backups
    _route("GET", "/jobs", jobs.list_jobs, OPERATOR, "List long work"),
    _route("GET", "/jobs/{id}", jobs.get_job, OPERATOR, "One job"),
    _route("DELETE", "/jobs/{id}", jobs.cancel_job, OPERATOR, "Cancel a job"),
    _route("GET", "/workers/backups", jobs.list_backup_jobs, OPERATOR, "List the newest backups that were made"),
    _route("POST", "/workers/backups", jobs.start_backup, OPERATOR, "Begin a backup"),
    _route("DELETE", "/workers/backups/{id}", jobs.cancel_backup, OPERATOR, "Cancel a backup"),
    _route("GET", "/backups", jobs.list_backups, OPERATOR, "List the backups on the disk"),
    _route("POST", "/backups/import", jobs.import_backup, OPERATOR, "Import a backup", max_body=jobs.IMPORT_MAX_BYTES),
    _route("GET|HEAD", "/backups/{id}", jobs.download_backup, OPERATOR, "A backup"),
    _route("DELETE", "/backups/{id}", jobs.delete_backup, OPERATOR, "Delete a backup"),
    _route("GET", "/ui/backups/{id}/download", jobs.download_backup, OPERATOR, "A backup, where the predecessor has it"),
    _route("DELETE", "/ui/backups/{id}", jobs.delete_backup, OPERATOR, "Delete a backup, where the predecessor has it"),
    # --- images
    _route("GET", "/images", images.list_images, OPEN, "List the images"),
    _route("GET", "/catalog.toml", images.get_manifest, OPEN, "The catalog as it travels"),
    _route("GET|HEAD", "/b/{token}/{name}", blobs.get_blob, MACHINE, "An image from the embedded cache"),
    _route("GET", "/catalog/entries", catalog.list_entries, OPERATOR, "List the catalog's entries"),
    _route("POST", "/catalog/entries", catalog.add_entry, OPERATOR, "Add an image"),
    _route("DELETE", "/catalog/entries", catalog.delete_entry, OPERATOR, "Delete an image"),
    _route("POST", "/catalog/entries/check", catalog.check_entry, OPERATOR, "Ask an image's origin, and the cache"),
    _route("POST", "/catalog/upload", catalog.upload, OPERATOR, "Import a catalog that is sent", max_body=catalog.UPLOAD_MAX_BYTES),
    _route("POST", "/catalog/fetch", catalog.fetch, OPERATOR, "Import the catalog that is set"),
    _route("POST", "/catalog/import", catalog.import_entries, OPERATOR, "Import a catalog"),
    _route("GET", "/cache", blobs.describe_cache, OPERATOR, "Tell what is cached"),
    _route("DELETE", "/cache/{key}", blobs.forget_blob, OPERATOR, "Drop a cached image"),
)


@functools.cache
def _openapi() -> bytes:
    """Return the description of the table, made when it is first asked for: it takes a tenth of a start, and few ask."""
    return msgspec.json.encode(describe(ROUTES))


def add_routes(app: web.Application) -> None:
    """Put the table into *app*."""
    app[keys.OPENAPI] = functools.partial(_openapi)
    for route in ROUTES:
        cap = route.max_body(app[keys.CONFIG]) if callable(route.max_body) else route.max_body
        handler = guarded(route.handler, route.guard, cap)
        resource = app.router.add_resource(route.path)
        for method in route.method.split("|"):
            resource.add_route(method, handler, expect_handler=expect)
