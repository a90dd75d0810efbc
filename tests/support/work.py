"""A whole job service on nothing but memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from convertd.engines.registry import Registry
from convertd.jobs.hints import LocalBus, Signal
from convertd.jobs.leases import Leases
from convertd.jobs.ledger import Ledger, Policy
from convertd.jobs.memory import MemoryStore
from convertd.jobs.service import JobService
from convertd.jobs.store import IdempotencyKey, Store
from convertd.jobs.submission import Submission, TaskRequest
from convertd.jobs.upkeep import Upkeep
from convertd.model.ids import new_job_id
from convertd.model.job import Job
from tests.support.blobs import FakeBlobs
from tests.support.clock import FakeClock
from tests.support.fake_engines import small_registry
from tests.support.jobs import RETENTION, make_artifact

POLICY = Policy(
    queue=3,
    attempts=3,
    deadline=1000.0,
    lease=30.0,
    retry_delay=5.0,
    retention=RETENTION,
    keep_rows=500.0,
    keep_keys=86400.0,
)


@dataclass
class House:
    """The parts, joined as the composition root joins them."""

    policy: Policy = POLICY
    clock: FakeClock = field(default_factory=FakeClock)
    store: Store = field(default_factory=MemoryStore)
    bus: LocalBus = field(default_factory=LocalBus)
    dispatcher: Signal = field(default_factory=Signal)
    deliveries: Signal = field(default_factory=Signal)
    blobs: FakeBlobs = field(default_factory=FakeBlobs)
    registry: Registry = field(default_factory=small_registry)
    jitter: float = 0.0

    def __post_init__(self) -> None:
        self.ledger = Ledger(
            store=self.store,
            bus=self.bus,
            work=self.dispatcher,
            owed=self.deliveries,
            policy=self.policy,
            clock=self.clock,
        )
        self.service = JobService(self.ledger, self.registry)
        self.leases = Leases(self.ledger, jitter=lambda: self.jitter)
        self.upkeep = Upkeep(self.ledger, self.blobs)

    def submission(
        self, *requests: TaskRequest, formats: tuple[str, ...] = ("png",), **changes: Any
    ) -> Submission:
        """A request for one conversion to JPEG, unless ``requests`` say else; its inputs are stored."""
        job_id = new_job_id()
        inputs = tuple(
            make_artifact(f"{job_id}-in-{number}", name=f"file-{number}.{name}", format=name)
            for number, name in enumerate(formats)
        )
        self.blobs.stored |= {blob.key: b"input" for blob in inputs}
        made = Submission(
            job_id=job_id,
            account="local",
            dialect="native",
            operation="convert",
            inputs=inputs,
            tasks=requests or (TaskRequest(inputs=(0,), operation="convert", target="jpg"),),
        )
        return replace(made, **changes)

    async def submit(self, *requests: TaskRequest, key: IdempotencyKey | None = None, **changes: Any) -> Job:
        return await self.service.submit(self.submission(*requests, **changes), key)

    async def claimed(self, *requests: TaskRequest, **changes: Any) -> Job:
        """A job that is submitted and held by a worker."""
        submitted = await self.submit(*requests, **changes)
        job = await self.leases.claim()
        assert job is not None
        assert job.id == submitted.id
        return job

    async def current(self, job: Job) -> Job:
        found = await self.store.get(job.id)
        assert found is not None
        return found
