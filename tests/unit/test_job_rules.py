"""The rules by which jobs change: each alone, then all in any order."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from convertd.model import job as rules
from convertd.model.job import Failure, Job, State, Task
from tests.support.jobs import NOW, RETENTION, make_artifact, make_job

BAD_FILE = Failure("file_invalid", "The file is damaged.")
CRASH = Failure("worker_crash", "The converting process died.")
MAX_ATTEMPTS = 3


def held(tasks: int = 1, **changes: Any) -> Job:
    job = rules.claimed(make_job(tasks=tasks, **changes), now=NOW, token="mine", lease_until=NOW + 30)
    assert job is not None
    return job


def started(job: Job, index: int = 0) -> Job:
    changed = rules.task_started(job, token="mine", index=index)
    assert changed is not None
    return changed


def succeeded(job: Job, index: int = 0) -> Job:
    output = make_artifact(f"{job.id}-out-{index}", task=index)
    changed = rules.task_succeeded(started(job, index), token="mine", index=index, outputs=[output])
    assert changed is not None
    return changed


def failed(job: Job, failure: Failure = BAD_FILE, index: int = 0) -> Job:
    changed = rules.task_failed(
        started(job, index), token="mine", index=index, failure=failure, max_attempts=MAX_ATTEMPTS
    )
    assert changed is not None
    return changed


def settled(job: Job, now: float = NOW + 9, retry_at: float | None = None) -> Job:
    changed = rules.settled(job, token="mine", now=now, retention=RETENTION, retry_at=retry_at)
    assert changed is not None
    return changed


def advanced(job: Job) -> Job:
    changed = rules.advanced(job, token="mine", now=NOW + 9, retention=RETENTION, retry_at=NOW + 60)
    assert changed is not None
    return changed


def cancelled(job: Job) -> Job:
    changed = rules.cancelled(job, now=NOW + 5, retention=RETENTION)
    assert changed is not None
    return changed


# Claiming and holding


def test_a_claim_makes_the_job_the_workers() -> None:
    job = held()
    assert (job.state, job.attempt, job.token) == (State.RUNNING, 1, "mine")
    assert (job.lease_until, job.started_at) == (NOW + 30, NOW)


def test_a_job_is_not_claimed_before_its_time() -> None:
    waiting = make_job(run_after=NOW + 1)
    assert rules.claimed(waiting, now=NOW, token="t", lease_until=NOW) is None
    assert rules.claimed(waiting, now=NOW + 1, token="t", lease_until=NOW) is not None


def test_a_job_is_not_claimed_twice() -> None:
    assert rules.claimed(held(), now=NOW, token="other", lease_until=NOW) is None


def test_a_later_claim_keeps_when_the_job_first_began() -> None:
    again = settled(failed(held(), CRASH), retry_at=NOW + 50)
    job = rules.claimed(again, now=NOW + 50, token="t", lease_until=NOW + 80)
    assert job is not None
    assert (job.started_at, job.attempt) == (NOW, 2)


def test_a_beat_renews_the_lease_of_its_own_claim_only() -> None:
    job = rules.beaten(held(), token="mine", lease_until=NOW + 99)
    assert job is not None
    assert job.lease_until == NOW + 99
    assert rules.beaten(held(), token="other", lease_until=NOW + 99) is None
    assert rules.beaten(make_job(), token="mine", lease_until=NOW + 99) is None


@pytest.mark.parametrize("lost", ["other-token", "cancelled", "queued-again"])
def test_whoever_lost_the_job_can_report_nothing(lost: str) -> None:
    job = started(held(tasks=2))
    if lost == "cancelled":
        job = cancelled(job)
    elif lost == "queued-again":
        drained = rules.drained(job, token="mine", now=NOW)
        assert drained is not None
        job = drained
    token = "stale" if lost == "other-token" else "mine"
    assert rules.beaten(job, token=token, lease_until=NOW) is None
    assert rules.task_started(job, token=token, index=1) is None
    assert rules.task_progressed(job, token=token, index=0, progress=0.5) is None
    assert rules.task_succeeded(job, token=token, index=0, outputs=[make_artifact("k", task=0)]) is None
    assert rules.task_failed(job, token=token, index=0, failure=CRASH, max_attempts=3) is None
    assert rules.settled(job, token=token, now=NOW, retention=RETENTION) is None
    assert rules.drained(job, token=token, now=NOW) is None


# Tasks


def test_starting_a_task_counts_an_attempt() -> None:
    task = started(held()).tasks[0]
    assert (task.state, task.attempts, task.progress) == (State.RUNNING, 1, 0.0)


def test_a_running_task_is_not_started_again() -> None:
    assert rules.task_started(started(held()), token="mine", index=0) is None


def test_progress_rises_and_stays_below_one() -> None:
    job = rules.task_progressed(started(held()), token="mine", index=0, progress=0.5)
    assert job is not None
    assert job.progress == 0.5
    assert rules.task_progressed(job, token="mine", index=0, progress=0.5) is None
    assert rules.task_progressed(job, token="mine", index=0, progress=0.2) is None
    full = rules.task_progressed(job, token="mine", index=0, progress=7.0)
    assert full is not None
    assert full.tasks[0].progress == 1.0
    assert rules.task_progressed(full, token="mine", index=0, progress=8.0) is None


@pytest.mark.parametrize("progress", [float("nan"), float("-inf"), -1.0])
def test_progress_that_is_no_fraction_changes_nothing(progress: float) -> None:
    assert rules.task_progressed(started(held()), token="mine", index=0, progress=progress) is None


def test_a_job_that_failed_shows_how_far_it_came() -> None:
    half = rules.task_progressed(started(held(tasks=2)), token="mine", index=0, progress=0.5)
    assert half is not None
    one = rules.task_failed(half, token="mine", index=0, failure=BAD_FILE, max_attempts=3)
    assert one is not None
    assert (one.tasks[0].progress, one.progress) == (0.5, 0.25)
    assert settled(failed(one, BAD_FILE, 1)).progress == 0.25
    assert settled(succeeded(one, 1)).progress == 1.0
    again = rules.task_failed(half, token="mine", index=0, failure=CRASH, max_attempts=3)
    assert again is not None
    assert again.progress == 0.0


def test_a_job_that_was_cancelled_shows_how_far_it_came() -> None:
    half = rules.task_progressed(started(held(tasks=2)), token="mine", index=0, progress=0.5)
    assert half is not None
    job = rules.cancelled(half, now=NOW, retention=RETENTION)
    assert job is not None
    assert (job.state, job.progress) == (State.CANCELLED, 0.25)


def test_a_task_that_does_not_run_has_no_progress() -> None:
    assert rules.task_progressed(held(), token="mine", index=0, progress=0.5) is None


def test_outputs_become_visible_with_the_tasks_success() -> None:
    job = succeeded(held(tasks=2), 1)
    assert [output.task for output in job.outputs] == [1]
    assert job.outputs_of(1) == [0]
    assert job.outputs_of(0) == []
    assert (job.tasks[1].state, job.tasks[1].error) == (State.SUCCEEDED, None)
    assert job.state is State.RUNNING
    assert job.progress == 0.5


def test_outputs_are_in_the_order_of_their_tasks_whichever_ends_first() -> None:
    job = succeeded(held(tasks=3), 2)
    more = [make_artifact(f"page-{number}", task=0) for number in (1, 2)]
    job = rules.task_succeeded(started(job), token="mine", index=0, outputs=more) or job
    job = succeeded(job, 1)
    assert [output.key.rpartition("-")[2] for output in job.outputs] == ["1", "2", "1", "2"]
    assert [output.task for output in job.outputs] == [0, 0, 1, 2]


def test_progress_is_the_mean_over_tasks_that_run_at_once() -> None:
    job = started(started(held(tasks=2)), 1)
    for index, progress in ((0, 0.5), (1, 0.25)):
        job = rules.task_progressed(job, token="mine", index=index, progress=progress) or job
    assert (job.running_tasks, job.progress) == ([0, 1], 0.375)


def test_a_bad_file_fails_at_once() -> None:
    task = failed(held()).tasks[0]
    assert (task.state, task.attempts, task.error) == (State.FAILED, 1, BAD_FILE)


def test_a_crash_is_tried_again_until_the_attempts_are_used_up() -> None:
    job = held()
    for attempt in (1, 2):
        job = failed(job, CRASH)
        assert (job.tasks[0].state, job.tasks[0].attempts) == (State.QUEUED, attempt)
    assert failed(job, CRASH).tasks[0].state is State.FAILED


def test_a_success_after_a_failure_leaves_no_error() -> None:
    assert succeeded(failed(held(), CRASH)).tasks[0].error is None


# The end of an attempt


def test_the_next_task_starts_when_none_runs_any_more() -> None:
    job = advanced(held(tasks=4))
    assert (job.running_tasks, job.next_task) == ([0], 1)
    job = started(job, 1)
    job = rules.task_failed(job, token="mine", index=0, failure=BAD_FILE, max_attempts=3) or job
    assert advanced(job) == job, "another runs: the slot may be needed elsewhere"
    job = rules.task_failed(job, token="mine", index=1, failure=BAD_FILE, max_attempts=3) or job
    assert (advanced(job).state, advanced(job).running_tasks) == (State.RUNNING, [2])


def test_a_job_is_not_settled_while_a_task_runs() -> None:
    job = started(succeeded(held(tasks=2)), 1)
    assert job.next_task is None
    assert advanced(job) == job


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_task_that_is_to_be_tried_again_waits_for_the_jobs_next_attempt(order: tuple[int, int]) -> None:
    job = started(started(held(tasks=3)), 1)
    for index in order:
        job = rules.task_failed(job, token="mine", index=index, failure=CRASH, max_attempts=3) or job
    job = advanced(job)
    assert (job.running_tasks, job.next_task) == ([2], None)
    job = rules.task_failed(job, token="mine", index=2, failure=BAD_FILE, max_attempts=3) or job
    job = advanced(job)
    assert (job.state, job.run_after, job.tasks[0].error) == (State.QUEUED, NOW + 60, CRASH)
    again = rules.claimed(job, now=NOW + 60, token="mine", lease_until=NOW + 90)
    assert again is not None
    assert [task.error for task in again.tasks] == [None, None, BAD_FILE]
    assert advanced(again).running_tasks == [0]


def test_a_job_with_one_success_has_succeeded() -> None:
    job = settled(failed(succeeded(held(tasks=2)), BAD_FILE, 1))
    assert (job.state, job.finished_at, job.error) == (State.SUCCEEDED, NOW + 9, None)
    assert (job.token, job.lease_until) == (None, None)
    assert (job.inputs_expire_at, job.outputs_expire_at) == (NOW + 109, NOW + 209)


def test_a_job_without_success_has_failed_and_says_why() -> None:
    assert settled(failed(held())).error == BAD_FILE
    both = settled(failed(failed(held(tasks=2)), Failure("timeout", "Too slow."), 1))
    assert both.error == Failure("file_invalid", "All 2 tasks failed; the first: The file is damaged.")


def test_a_job_waits_while_a_task_is_to_be_tried_again() -> None:
    job = settled(failed(failed(held(tasks=2), CRASH), BAD_FILE, 1), retry_at=NOW + 60)
    assert (job.state, job.run_after, job.token, job.lease_until) == (State.QUEUED, NOW + 60, None, None)
    assert [task.state for task in job.tasks] == [State.QUEUED, State.FAILED]
    assert job.finished_at is None


def test_draining_costs_neither_job_nor_task_an_attempt() -> None:
    before = make_job(tasks=2)
    job = rules.claimed(before, now=NOW + 7, token="mine", lease_until=NOW + 37)
    assert job is not None
    drained = rules.drained(started(succeeded(job), 1), token="mine", now=NOW + 9)
    assert drained is not None
    assert (drained.state, drained.attempt, drained.run_after) == (State.QUEUED, 0, before.run_after)
    assert [task.state for task in drained.tasks] == [State.SUCCEEDED, State.QUEUED]
    assert [task.attempts for task in drained.tasks] == [1, 0]


def test_draining_gives_back_every_task_that_runs() -> None:
    job = started(started(failed(held(tasks=4), CRASH), 1), 2)
    drained = rules.drained(job, token="mine", now=NOW + 9)
    assert drained is not None
    assert {task.state for task in drained.tasks} == {State.QUEUED}
    assert [task.attempts for task in drained.tasks] == [1, 0, 0, 0]
    again = rules.claimed(drained, now=NOW + 9, token="t", lease_until=NOW + 39)
    assert again is not None
    assert again.next_task == 0, "nothing that failed before the drain is left out after it"


def orphan(job: Job, lapsed_before: float) -> Job | None:
    return rules.orphaned(
        job, now=NOW + 40, lapsed_before=lapsed_before, max_attempts=MAX_ATTEMPTS, retention=RETENTION
    )


def test_an_orphan_is_queued_again_once_its_lease_ran_out() -> None:
    job = started(held(tasks=2))
    assert orphan(job, NOW + 29) is None
    rescued = orphan(job, NOW + 30)
    assert rescued is not None
    assert (rescued.state, rescued.run_after, rescued.token) == (State.QUEUED, NOW + 40, None)
    assert [task.attempts for task in rescued.tasks] == [1, 0]
    both = orphan(started(job, 1), NOW + 30)
    assert both is not None
    assert [task.attempts for task in both.tasks] == [1, 1]


def test_a_file_that_kills_its_worker_every_time_fails() -> None:
    job: Job | None = make_job()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert job is not None
        job = rules.claimed(job, now=NOW + 40, token="mine", lease_until=NOW + 70)
        assert job is not None
        job = orphan(started(job), NOW + 70)
        assert job is not None
        assert job.attempt == attempt
    assert job is not None
    assert (job.state, job.error and job.error.code) == (State.FAILED, "worker_crash")


def test_only_what_runs_can_be_orphaned() -> None:
    assert orphan(make_job(), float("inf")) is None
    assert orphan(settled(succeeded(held())), float("inf")) is None


@pytest.mark.parametrize("running", [False, True])
def test_the_deadline_ends_what_has_not_ended(running: bool) -> None:
    job = started(held()) if running else make_job()
    assert rules.overdue(job, now=job.deadline - 1, retention=RETENTION) is None
    late = rules.overdue(job, now=job.deadline, retention=RETENTION)
    assert late is not None
    assert (late.state, late.error and late.error.code) == (State.FAILED, "timeout")
    assert late.token is None
    assert rules.overdue(late, now=job.deadline, retention=RETENTION) is None


def test_what_was_done_before_the_deadline_counts() -> None:
    job = started(succeeded(held(tasks=2)), 1)
    late = rules.overdue(job, now=job.deadline, retention=RETENTION)
    assert late is not None
    assert late.state is State.SUCCEEDED
    assert [task.state for task in late.tasks] == [State.SUCCEEDED, State.FAILED]


# What the owner does


@pytest.mark.parametrize("running", [False, True])
def test_the_owner_cancels(running: bool) -> None:
    job = cancelled(started(held()) if running else make_job())
    assert (job.state, job.error, job.token) == (State.CANCELLED, None, None)
    assert job.tasks[0].state is State.CANCELLED
    assert (job.finished_at, job.inputs_expire_at) == (NOW + 5, NOW + 105)
    assert rules.cancelled(job, now=NOW + 6, retention=RETENTION) is None


def test_a_retry_begins_anew_but_keeps_what_succeeded() -> None:
    job = cancelled(started(succeeded(held(tasks=2)), 1))
    again = rules.retried(job, now=NOW + 50, deadline=NOW + 2000)
    assert again is not None
    assert (again.state, again.attempt, again.run_after, again.deadline) == (
        State.QUEUED,
        0,
        NOW + 50,
        NOW + 2000,
    )
    assert (again.started_at, again.finished_at, again.error) == (None, None, None)
    assert (again.inputs_expire_at, again.outputs_expire_at) == (None, None)
    assert [(task.state, task.attempts) for task in again.tasks] == [(State.SUCCEEDED, 1), (State.QUEUED, 0)]


def test_only_failed_and_cancelled_jobs_are_retried() -> None:
    for job in (make_job(), held(), settled(succeeded(held()))):
        assert rules.retried(job, now=NOW, deadline=NOW + 1) is None
    assert rules.retried(settled(failed(held())), now=NOW, deadline=NOW + 1) is not None


@pytest.mark.parametrize("after", [150.0, 300.0], ids=["inputs gone", "all gone"])
def test_a_job_whose_files_are_gone_is_not_retried(after: float) -> None:
    job = rules.emptied(cancelled(started(succeeded(held(tasks=2)), 1)), now=NOW + after)
    assert job is not None
    assert rules.retried(job, now=NOW + after, deadline=NOW + 2000) is None


def test_a_success_whose_output_is_gone_is_not_kept_by_a_retry() -> None:
    """Or the job would end as succeeded with nothing to download."""
    job = cancelled(started(succeeded(held(tasks=2)), 1))
    emptied = rules.emptied(
        replace(job, inputs_expire_at=NOW + 900, outputs_expire_at=NOW + 10), now=NOW + 20
    )
    assert emptied is not None
    assert rules.retried(emptied, now=NOW + 20, deadline=NOW + 2000) is None


def test_a_job_tells_since_when_it_is_in_its_state() -> None:
    job, seen = make_job(), [NOW]
    for change in (
        partial(rules.claimed, now=NOW + 1, token="a", lease_until=NOW + 9),
        partial(rules.beaten, token="a", lease_until=NOW + 10),
        partial(rules.drained, token="a", now=NOW + 2),
        partial(rules.claimed, now=NOW + 3, token="b", lease_until=NOW + 9),
        partial(rules.orphaned, now=NOW + 20, lapsed_before=NOW + 9, max_attempts=3, retention=RETENTION),
        partial(rules.claimed, now=NOW + 21, token="c", lease_until=NOW + 30),
        partial(rules.settled, token="c", now=NOW + 22, retention=RETENTION, retry_at=NOW + 25),
        partial(rules.cancelled, now=NOW + 30, retention=RETENTION),
        partial(rules.retried, now=NOW + 40, deadline=NOW + 50),
        partial(rules.overdue, now=NOW + 60, retention=RETENTION),
        partial(rules.emptied, now=NOW + 500),
    ):
        changed = change(job)
        assert changed is not None
        job = changed
        seen.append(job.changed_at)
    assert [at - NOW for at in seen] == [0, 1, 1, 2, 3, 20, 21, 22, 30, 40, 60, 60]


def test_what_changed_before_that_was_kept_tells_what_it_knows() -> None:
    assert make_job(started_at=NOW + 1).changed_at == NOW + 1
    assert make_job(started_at=NOW + 1, finished_at=NOW + 2).changed_at == NOW + 2


# Retention


def test_files_go_when_their_own_time_has_come() -> None:
    job = settled(succeeded(held()), now=NOW)
    assert job.next_expiry == NOW + 100
    assert rules.emptied(job, now=NOW + 99) is None
    without_inputs = rules.emptied(job, now=NOW + 100)
    assert without_inputs is not None
    assert (without_inputs.inputs[0].gone, without_inputs.outputs[0].gone) == (True, False)
    assert without_inputs.next_expiry == NOW + 200
    empty = rules.emptied(without_inputs, now=NOW + 200)
    assert empty is not None
    assert empty.outputs[0].gone
    assert empty.next_expiry is None
    assert rules.emptied(empty, now=NOW + 999) is None


def test_files_of_a_job_that_has_not_ended_stay() -> None:
    assert make_job().next_expiry is None
    assert rules.emptied(started(succeeded(held(tasks=2)), 1), now=NOW + 10_000) is None


# All rules in any order


class AnyOrder(RuleBasedStateMachine):
    """Workers, the owner and the clock act on one job in any order, each with what they know."""

    job: Job

    @initialize(tasks=st.integers(1, 4))
    def submit(self, tasks: int) -> None:
        self.now = NOW
        self.job = make_job(tasks=tasks)
        self.tokens = ["never"]
        self.tried: set[int] = set()
        self.outputs = 0

    def apply(self, changed: Job | None) -> bool:
        before, self.job = self.job, changed if changed is not None else self.job
        if changed is not None:
            assert changed != before, "a rule that changes nothing returns None"
            self.compare(before, changed)
        return changed is not None

    def compare(self, before: Job, after: Job) -> None:
        retried = before.state.terminal and not after.state.terminal
        if before.state.terminal:
            assert len(after.outputs) == len(before.outputs), "an output appeared after the end"
            assert retried or after.state is before.state
        assert after.changed_at == (before.changed_at if after.state is before.state else self.now)
        assert {blob.key for blob in before.outputs} <= {blob.key for blob in after.outputs}
        for was, task in zip(before.tasks, after.tasks, strict=True):
            same_attempt = was.state is task.state is State.RUNNING and was.attempts == task.attempts
            assert not same_attempt or task.progress >= was.progress, "progress fell within an attempt"
            assert not was.state.terminal or retried or task.state is was.state
        begun = set(after.running_tasks) - set(before.running_tasks)
        assert not begun & self.tried, "a task was tried twice in one attempt"
        self.tried |= begun

    @rule(seconds=st.sampled_from([5.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def claim(self) -> None:
        token = f"token-{len(self.tokens)}"
        due = self.job.state is State.QUEUED and self.job.run_after <= self.now
        held = rules.claimed(self.job, now=self.now, token=token, lease_until=self.now + 30)
        assert (held is not None) == due
        if held is not None:
            self.tokens.append(token)
            self.tried = set()
            self.apply(self.advanced(held))

    def advanced(self, job: Job | None) -> Job | None:
        """As every report goes on, in the transaction that it is."""
        if job is None:
            return None
        again = self.now + 5
        return rules.advanced(job, token=self.tokens[-1], now=self.now, retention=RETENTION, retry_at=again)

    @precondition(lambda self: self.job.next_task is not None and self.job.state is State.RUNNING)
    @rule()
    def help(self) -> None:
        """Of a slot that nobody else needs."""
        index = self.job.next_task
        assert index is not None
        assert self.apply(rules.task_started(self.job, token=self.tokens[-1], index=index))

    @precondition(lambda self: self.job.state is State.RUNNING)
    @rule(data=st.data(), progress=st.floats(0, 1) | st.floats())
    def progress(self, data: st.DataObject, progress: float) -> None:
        index = self.index(data)
        self.apply(rules.task_progressed(self.job, token=self.tokens[-1], index=index, progress=progress))

    @precondition(lambda self: self.job.state is State.RUNNING)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        index = self.index(data)
        self.outputs += 1
        output = make_artifact(f"output-{self.outputs}", task=index)
        done = rules.task_succeeded(self.job, token=self.tokens[-1], index=index, outputs=[output])
        self.apply(self.advanced(done))

    @precondition(lambda self: self.job.state is State.RUNNING)
    @rule(data=st.data(), failure=st.sampled_from([BAD_FILE, CRASH]))
    def fail(self, data: st.DataObject, failure: Failure) -> None:
        index = self.index(data)
        ended = rules.task_failed(
            self.job, token=self.tokens[-1], index=index, failure=failure, max_attempts=MAX_ATTEMPTS
        )
        self.apply(self.advanced(ended))

    @precondition(lambda self: self.job.state is State.RUNNING)
    @rule()
    def drain(self) -> None:
        before = self.job
        assert self.apply(rules.drained(self.job, token=self.tokens[-1], now=self.now))
        assert self.job.attempt == before.attempt - 1
        for was, task in zip(before.tasks, self.job.tasks, strict=True):
            assert task.attempts == was.attempts - (was.state is State.RUNNING)

    @rule(data=st.data())
    def report_late(self, data: st.DataObject) -> None:
        """Of a worker that froze and wakes."""
        index = self.index(data)
        stale = self.tokens[:-1] if self.job.state is State.RUNNING else self.tokens
        token = data.draw(st.sampled_from(stale)) if stale else "never"
        job, output = self.job, make_artifact("late", task=index)
        assert rules.beaten(job, token=token, lease_until=self.now + 30) is None
        assert rules.task_started(job, token=token, index=index) is None
        assert rules.task_progressed(job, token=token, index=index, progress=1.0) is None
        assert rules.task_succeeded(job, token=token, index=index, outputs=[output]) is None
        assert rules.task_failed(job, token=token, index=index, failure=CRASH, max_attempts=9) is None
        assert rules.settled(job, token=token, now=self.now, retention=RETENTION) is None
        assert rules.drained(job, token=token, now=self.now) is None

    @rule()
    def rescue(self) -> None:
        lapsed = self.job.lease_until is not None and self.job.lease_until <= self.now
        rescued = rules.orphaned(
            self.job,
            now=self.now,
            lapsed_before=self.now,
            max_attempts=MAX_ATTEMPTS,
            retention=RETENTION,
        )
        assert self.apply(rescued) == lapsed

    @rule()
    def reach_deadline(self) -> None:
        due = self.now >= self.job.deadline and not self.job.state.terminal
        assert self.apply(rules.overdue(self.job, now=self.now, retention=RETENTION)) == due
        assert self.job.state.terminal or self.now < self.job.deadline

    @precondition(lambda self: self.now > NOW + 200)  # or most jobs end before anything happened
    @rule()
    def cancel(self) -> None:
        possible = not self.job.state.terminal
        assert self.apply(rules.cancelled(self.job, now=self.now, retention=RETENTION)) == possible

    @rule()
    def retry(self) -> None:
        self.apply(rules.retried(self.job, now=self.now, deadline=self.now + 1000))

    @rule()
    def expire(self) -> None:
        self.apply(rules.emptied(self.job, now=self.now))
        assert self.job.next_expiry is None or self.job.next_expiry > self.now

    def index(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.job.tasks) - 1))

    @invariant()
    def holds_together(self) -> None:
        job = self.job
        ended, running = job.state.terminal, job.state is State.RUNNING
        assert ended == (job.finished_at is not None)
        assert ended == (job.inputs_expire_at is not None) == (job.outputs_expire_at is not None)
        assert running == (job.token is not None) == (job.lease_until is not None)
        assert (job.state is State.FAILED) == (job.error is not None)
        assert 0.0 <= job.progress <= 1.0
        assert job.attempt >= 0

    @invariant()
    def tasks_fit_the_job(self) -> None:
        job = self.job
        for index, task in enumerate(job.tasks):
            self.task_is_sound(task)
            assert bool(job.outputs_of(index)) == (task.state is State.SUCCEEDED)
        states = {task.state for task in job.tasks}
        assert (State.RUNNING in states) == (job.state is State.RUNNING), "somebody is always at work on it"
        assert [output.task for output in job.outputs] == sorted(output.task or 0 for output in job.outputs)
        if job.state.terminal:
            assert all(state.terminal for state in states)
        if job.state in (State.SUCCEEDED, State.FAILED):
            assert (State.SUCCEEDED in states) == (job.state is State.SUCCEEDED)

    def task_is_sound(self, task: Task) -> None:
        assert 0 <= task.attempts <= MAX_ATTEMPTS
        assert 0.0 <= task.progress <= 1.0
        assert task.state is not State.FAILED or task.error is not None
        assert task.state is not State.SUCCEEDED or task.error is None


AnyOrder.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, derandomize=True
)
TestAnyOrder = AnyOrder.TestCase
