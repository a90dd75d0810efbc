"""What the settings come to for each part: the figures by which it works."""

from __future__ import annotations

import os

from convertd.config import Config
from convertd.engines.base import Limits
from convertd.jobs.ledger import Policy
from convertd.model.job import Retention
from convertd.sandbox.runner import Budget
from convertd.web.uploads import UploadLimits
from convertd.worker.executor import ExecutorSettings


def policy_of(config: Config) -> Policy:
    """By which jobs live."""
    return Policy(
        queue=config.limits.queue,
        attempts=config.jobs.attempts,
        deadline=config.jobs.deadline,
        lease=config.jobs.lease,
        retry_delay=config.jobs.retry_delay,
        retention=Retention(inputs=config.retention.inputs, outputs=config.retention.outputs),
        keep_rows=config.retention.rows,
        keep_keys=config.retention.idempotency,
    )


def upload_limits_of(config: Config) -> UploadLimits:
    """For what a request brings."""
    limits = config.limits
    return UploadLimits(
        file=limits.upload, request=limits.request, files=limits.files, seconds=limits.upload_time
    )


def executor_settings_of(config: Config) -> ExecutorSettings:
    """For each conversion; the processors are shared out among the workers."""
    cpus = len(os.sched_getaffinity(0))
    threads = config.sandbox.threads or max(1, cpus // config.worker_count)
    limits = Limits(
        pixels=config.limits.pixels,
        total_pixels=config.limits.total_pixels,
        frames=config.limits.frames,
        pages=config.limits.pages,
        seconds=config.limits.duration,
        streams=config.limits.streams,
        output_bytes=config.limits.output,
        threads=threads,
    )
    budget = Budget(
        wall_seconds=config.jobs.attempt_timeout,
        cpu_seconds=int(config.jobs.attempt_timeout * cpus) + 1,
        memory_bytes=config.sandbox.memory,
        file_bytes=config.limits.output,
        open_files=config.sandbox.open_files,
        processes=config.sandbox.processes,
    )
    return ExecutorSettings(limits=limits, budget=budget, heartbeat=config.jobs.heartbeat)
