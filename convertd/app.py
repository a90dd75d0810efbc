"""The composition root: builds every part, joins them, runs them, and takes them down in order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import web

from convertd.api.dialect import Dialect, Services
from convertd.api.dialects import dialects_of
from convertd.api.reception import Reception
from convertd.api.unpacking import Unpacker
from convertd.callbacks.dispatcher import Dispatcher
from convertd.config import Config
from convertd.engines.registry import Registry, discover
from convertd.errors import NotFound
from convertd.figures import executor_settings_of, policy_of, upload_limits_of
from convertd.host import allow_open_files, give_back_memory
from convertd.jobs import database
from convertd.jobs.deliveries import DeliveryService
from convertd.jobs.hints import LocalBus, Signal
from convertd.jobs.keyring import Keyring
from convertd.jobs.leases import Leases
from convertd.jobs.ledger import Ledger
from convertd.jobs.service import JobService
from convertd.jobs.sqlite import SqliteStore
from convertd.jobs.upkeep import Upkeep
from convertd.net.outbound import Gate, OutboundPolicy
from convertd.sandbox.runner import Sandbox
from convertd.storage.local import LocalStore
from convertd.web.auth import Authenticator, is_loopback, is_private, own_hosts
from convertd.web.connections import ErrorRenderer
from convertd.web.problems import Problem
from convertd.web.rates import RateLimiter
from convertd.web.readiness import Readiness
from convertd.web.server import Server
from convertd.web.signing import LinkSigner, load_or_create_secret
from convertd.web.uploads import Intake
from convertd.worker.executor import Executor
from convertd.worker.housekeeping import Duty, Housekeeping
from convertd.worker.pool import WorkerPool

log = logging.getLogger(__name__)

RESCUE_SECONDS = 5.0
"""How often lapsed leases and deadlines are looked for."""
CALLBACK_GRACE = 5.0
"""Seconds that a stop leaves to callbacks under way; they are sent again after the next start."""
USUAL_RETRY_DELAY = 5.0
"""``callbacks.retry_delay`` at which callbacks keep the waits that are written down."""
MINIMUM_FREE_BYTES = 64 * 1024**2
"""Below this the server is not ready."""


class CannotStart(Exception):
    """The server must not or cannot start; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """What the start-up lines tell of a server that answers."""

    address: str
    data_dir: Path
    workers: int
    layers: Mapping[str, bool]
    registry: Registry


def database_path(data_dir: Path) -> Path:
    """Where the rows are."""
    return data_dir / "convertd.sqlite3"


@contextlib.contextmanager
def open_keyring(data_dir: Path, *, create: bool = True) -> Iterator[Keyring]:
    """The API keys of a data directory, whether its server runs or not.

    Unless ``create``, raises :class:`NotFound` where no server or key has made a database yet.
    """
    if not (create or database_path(data_dir).exists()):
        raise NotFound(f"There is no database in {data_dir}; name its folder with --data-dir.")
    database.prepare(database_path(data_dir))
    keyring = Keyring(database_path(data_dir))
    try:
        yield keyring
    finally:
        keyring.close()


async def serve(config: Config, announce: Callable[[Running], None]) -> None:
    """Run until SIGTERM or SIGINT, then let jobs end within the grace time; a second signal ends it at once.

    Raises :class:`CannotStart`, or a :class:`ConvertdError` that names the part that is not well.
    """
    allow_open_files()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stopping.set)
    async with running(config) as started:
        announce(started)
        await stopping.wait()
        for number in signals:
            loop.remove_signal_handler(number)
        log.info("stopping; running jobs have %g s to end", config.jobs.grace)


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Running]:
    """A server that answers for as long as the context lasts."""
    async with contextlib.AsyncExitStack() as stack:
        data_dir = config.data_dir.absolute()
        stack.enter_context(_locked(data_dir))
        keyring = stack.enter_context(open_keyring(data_dir))
        loopback = is_private(config.host, config.links.base_url)
        _check_exposure(config, keyring, loopback=loopback)

        house = await _furnish(stack, config, data_dir)
        port = await _open_doors(stack, config, house, keyring, loopback=loopback)
        host = f"[{config.host}]" if ":" in config.host else config.host
        yield Running(
            address=f"http://{host}:{port}",
            data_dir=data_dir,
            workers=config.worker_count,
            layers=house.sandbox.layers,
            registry=house.registry,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _House:
    """What is there before anybody is let in."""

    sandbox: Sandbox
    registry: Registry
    blobs: LocalStore
    store: SqliteStore
    ledger: Ledger
    upkeep: Upkeep
    gate: Gate


async def _furnish(stack: contextlib.AsyncExitStack, config: Config, data_dir: Path) -> _House:
    """Start engines, storage and database, and put right what an earlier server left behind."""
    engines = discover(config.engines.modules)
    sandbox = Sandbox(engine_modules=config.engines.modules, require=config.sandbox.require)
    stack.push_async_callback(sandbox.close)
    await sandbox.start()
    registry = Registry(engines, sandbox.disabled)
    for name, reason in sandbox.disabled.items():
        log.info("engine %s cannot be used: %s", name, reason)
    blobs = LocalStore(data_dir / "files")
    await blobs.start()
    stack.push_async_callback(blobs.close)
    async with blobs.scratch() as scratch:
        await sandbox.try_out(scratch, executor_settings_of(config).budget)
    store = await SqliteStore.open(database_path(data_dir))
    stack.push_async_callback(store.close)
    ledger = Ledger(
        store=store,
        bus=LocalBus(),
        work=Signal(),
        owed=Signal(),
        policy=policy_of(config),
        clock=time.time,
    )
    upkeep = Upkeep(ledger, blobs)
    await upkeep.sweep_strays()
    await upkeep.rescue(all_running=True)
    return _House(
        sandbox=sandbox,
        registry=registry,
        blobs=blobs,
        store=store,
        ledger=ledger,
        upkeep=upkeep,
        gate=Gate(OutboundPolicy(allow=config.outbound.allow, fetch_seconds=config.outbound.fetch_time)),
    )


def _pool(config: Config, house: _House) -> WorkerPool:
    leases = Leases(house.ledger, jitter=random.random)
    executor = Executor(
        leases=leases,
        registry=house.registry,
        blobs=house.blobs,
        sandbox=house.sandbox,
        settings=executor_settings_of(config),
        clock=time.time,
    )
    return WorkerPool(
        leases=leases,
        executor=executor,
        dispatcher=house.ledger.work,
        workers=config.worker_count,
        clock=time.time,
    )


async def _open_doors(
    stack: contextlib.AsyncExitStack, config: Config, house: _House, keyring: Keyring, *, loopback: bool
) -> int:
    """Listen, then begin to work; the port. Undone in the order of a graceful stop."""
    rates = RateLimiter(config.limits.rate, time.time)
    services, pool = _services(config, house, rates), _pool(config, house)
    dialects = dialects_of(services, _readiness(house, pool))
    authenticator = Authenticator(keyring, loopback=loopback)
    server = Server(
        routes=[route for dialect in dialects for route in dialect.routes()],
        authenticator=authenticator,
        rates=rates,
        render_error=_error_renderer(dialects),
    )
    stack.push_async_callback(server.stop)
    port = await _listen(server, config)
    authenticator.own_hosts = own_hosts(config.host, port, config.links.base_url)
    housekeeping = Housekeeping(_duties(house.upkeep, config), clock=time.time)
    housekeeping.start()
    stack.push_async_callback(housekeeping.stop)
    dispatcher = _dispatcher(config, house, services.deliveries, dialects)
    dispatcher.start()
    stack.push_async_callback(dispatcher.stop, CALLBACK_GRACE)
    stack.callback(services.jobs.end_waits)
    pool.start()
    stack.push_async_callback(pool.stop, config.jobs.grace)
    stack.callback(server.drain)
    return port


def _services(config: Config, house: _House, rates: RateLimiter) -> Services:
    secrets = config.links.secrets or (_own_secret(config.data_dir.absolute()),)
    jobs = JobService(house.ledger, house.registry)
    settings = executor_settings_of(config)
    reception = Reception(
        jobs=jobs,
        intake=Intake(house.blobs, upload_limits_of(config)),
        gate=house.gate,
        unpacker=Unpacker(
            house.blobs,
            house.sandbox,
            limits=settings.limits,
            budget=settings.budget,
            at_once=config.worker_count,
        ),
    )
    return Services(
        jobs=jobs,
        registry=house.registry,
        blobs=house.blobs,
        reception=reception,
        deliveries=DeliveryService(house.ledger),
        gate=house.gate,
        signer=LinkSigner(secrets),
        rates=rates,
        clock=time.time,
        base_url=config.links.base_url,
        link_seconds=config.retention.links,
        max_tasks=config.limits.tasks,
    )


def _dispatcher(
    config: Config, house: _House, deliveries: DeliveryService, dialects: list[Dialect]
) -> Dispatcher:
    return Dispatcher(
        store=house.store,
        gate=house.gate,
        forms={each.name: each.callback_form for each in dialects if each.callback_form is not None},
        secrets=deliveries.secrets_for,
        wake=house.ledger.owed,
        clock=time.time,
        jitter=random.random,
        timeout=config.callbacks.timeout,
        pace=config.callbacks.retry_delay / USUAL_RETRY_DELAY,
    )


def _readiness(house: _House, pool: WorkerPool) -> Readiness:
    async def writable() -> bool:
        await house.store.probe()
        return True

    async def roomy() -> bool:
        return await house.blobs.free_bytes() >= MINIMUM_FREE_BYTES

    async def claiming() -> bool:
        return pool.well

    return Readiness(
        {"database": writable, "disk": roomy, "sandbox": house.sandbox.ready, "workers": claiming}
    )


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """One server a data directory: two would rescue each other's running jobs."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"The data directory {data_dir} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStart(
            f"Another convertd runs on the data directory {data_dir}; choose another with --data-dir."
        ) from None
    else:
        yield
    finally:
        os.close(descriptor)


def _check_exposure(config: Config, keyring: Keyring, *, loopback: bool) -> None:
    if not loopback and keyring.is_empty():
        by_address = is_loopback(config.host)
        way = f"The address {config.links.base_url}" if by_address else f"Listening on {config.host}"
        remedy = "leave links.base_url empty" if by_address else "listen on 127.0.0.1"
        raise CannotStart(
            f"{way} lets other machines in, and there is no API key yet. Make one with\n"
            f"  convertd keys create NAME --data-dir {config.data_dir}\n"
            f"and start again, or {remedy}."
        )


def _own_secret(data_dir: Path) -> str:
    try:
        return load_or_create_secret(data_dir)
    except ValueError as error:
        raise CannotStart(f"{error}.") from error


async def _listen(server: Server, config: Config) -> int:
    try:
        return await server.start(config.host, config.port)
    except OSError as error:
        raise CannotStart(
            f"Cannot listen on {config.host} port {config.port}: {error.strerror or error}. "
            "Choose another with --port (0 picks a free one)."
        ) from error


def _error_renderer(dialects: list[Dialect]) -> ErrorRenderer:
    def render(request: web.BaseRequest, problem: Problem) -> web.StreamResponse:
        dialect = next(dialect for dialect in dialects if dialect.owns(request.path))
        if problem.unrouted:
            problem = replace(problem, message=f"{problem.message} {dialect.guide}")
        return dialect.error(request, problem)

    return render


def _duties(upkeep: Upkeep, config: Config) -> list[Duty]:
    sweep = config.retention.sweep
    return [
        Duty(name="rescue", every=RESCUE_SECONDS, run=upkeep.rescue),
        Duty(name="deadlines", every=RESCUE_SECONDS, run=upkeep.expire_deadlines),
        Duty(name="file retention", every=sweep, run=upkeep.expire_files),
        Duty(name="row retention", every=sweep, run=upkeep.remove_rows),
        Duty(name="memory", every=sweep, run=give_back_memory),
    ]
