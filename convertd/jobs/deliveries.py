"""What clients do with the deliveries of their callbacks: look, try, send again, and share a secret."""

from __future__ import annotations

from functools import partial
from typing import Final

from convertd.errors import NotFound
from convertd.jobs.ledger import Ledger
from convertd.model import callback as rules
from convertd.model.callback import Delivery, SigningSecrets
from convertd.model.job import Callback
from convertd.model.signatures import new_secret
from convertd.units import DAY

OLD_SECRET_SECONDS: Final = DAY
"""How long an account's replaced secret still signs callbacks that have room for two signatures: the native
ones."""


class DeliveryService:
    """An account's deliveries and the secrets that sign them."""

    def __init__(self, ledger: Ledger) -> None:
        """``ledger.owed`` is the signal on which the dispatcher of deliveries waits."""
        self._ledger = ledger

    async def of_job(self, account: str, job_id: str) -> list[Delivery]:
        """What the job's ends owed, oldest first; raises :class:`NotFound` for no job of the account."""
        store = self._ledger.store
        found = [each for each in await store.deliveries_of_job(job_id) if each.account == account]
        if not found:
            job = await store.brief(job_id)
            if job is None or job.account != account:
                raise NotFound("There is no such job; it may have been removed after its retention.")
        return found

    async def page(self, account: str, limit: int, dialect: str | None = None) -> list[Delivery]:
        """The account's deliveries, newest first, those of one dialect or all."""
        return await self._ledger.store.page_deliveries(account, dialect=dialect, limit=limit)

    async def redeliver(self, account: str, delivery_id: str, *, dialect: str | None = None) -> Delivery:
        """Have the account's delivery, only one of the ``dialect`` if that is given, sent again at once, with
        a new round of attempts; raises :class:`NotFound`."""
        delivery = await self._ledger.store.delivery(delivery_id)
        if delivery is None or delivery.account != account or dialect not in (delivery.dialect, None):
            raise NotFound("There is no such delivery; it may have been removed after its retention.")
        rule = partial(rules.redelivered, now=self._ledger.clock())
        changed = await self._ledger.store.update_delivery(delivery_id, rule)
        self._ledger.owed.announce()
        return changed if changed is not None else delivery

    async def send_test(self, account: str, dialect: str, callback: Callback) -> Delivery:
        """Have a test event sent to ``callback``."""
        delivery = rules.trial(account, dialect, callback, now=self._ledger.clock())
        await self._ledger.store.add_delivery(delivery)
        self._ledger.owed.announce()
        return delivery

    async def secret(self, account: str) -> str:
        """What callbacks of the account that bring no secret are signed with; made when first asked for."""
        return (await self._secrets(account)).current

    async def rotate(self, account: str) -> str:
        """A new secret; for :data:`OLD_SECRET_SECONDS` the one before signs too."""
        until = self._ledger.clock() + OLD_SECRET_SECONDS
        made = new_secret()

        def rule(present: SigningSecrets | None) -> SigningSecrets:
            if present is None:
                return SigningSecrets(current=made)
            return SigningSecrets(current=made, previous=present.current, previous_until=until)

        return (await self._ledger.store.update_signing_secrets(account, rule)).current

    async def secrets_for(self, delivery: Delivery, now: float) -> tuple[str, ...]:
        """What to sign the delivery with, newest first: its callback's own secret, or the account's."""
        if delivery.callback.secret is not None:
            return (delivery.callback.secret,)
        return (await self._secrets(delivery.account)).valid(now)

    async def _secrets(self, account: str) -> SigningSecrets:
        found = await self._ledger.store.signing_secrets(account)
        if found is not None:
            return found
        made = SigningSecrets(current=new_secret())
        return await self._ledger.store.update_signing_secrets(account, lambda present: present or made)
